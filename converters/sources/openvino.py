"""OpenVINO IR: an ``.xml`` with the ``.bin`` beside it."""

from __future__ import annotations

from edgecv.converters.model_file import has_suffix, open_model_file
from edgecv.converters.source import Request, Source

RANK = 10


def accepts(request: Request) -> bool:
    """Accept existing ``.xml`` files."""
    return has_suffix(request, ".xml")


def open_source(request: Request) -> Source:
    """Open it; see `edgecv.converters.model_file`."""
    return open_model_file(request, "openvino", "openvino")
