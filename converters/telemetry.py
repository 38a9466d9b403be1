"""Keep OpenVINO's tools from reporting what they are called with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "CI"


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Do not let ``openvino.convert_model`` and NNCF send usage data to Intel.

    They do so by default, without asking, where ``openvino-telemetry`` is installed. It declines
    for the rest of the process where it finds itself in a CI job when it is first used.
    """
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
