"""A TorchScript archive, as ``torch.jit.save`` writes it, told by its content.

``torch.jit.load`` does not use Python's pickle: its own reader builds TorchScript types only, so
opening one runs no Python code. Its methods are TorchScript, a language of its own, and they do run
when the module is tried and exported: hostile ones can waste time and memory, and call any operator
of torch, some of which read files.
"""

from __future__ import annotations

from pathlib import Path

from edgecv.converters import pickles
from edgecv.converters.callables import file_sha256
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request, Source
from edgecv.errors import SourceError

RANK = 20


def accepts(request: Request) -> bool:
    """Accept zip archives with TorchScript code."""
    path = request.path
    return path is not None and path.is_file() and pickles.kind_of(path) == "torchscript"


def open_source(request: Request) -> Source:
    """Open it.

    Raises:
        SourceError: torch cannot read it, or the module cannot be run.
        DependencyMissingError: torch is not installed.
    """
    path = Path(request.text)
    require_torch(request.text)
    import torch

    try:
        with quiet():
            module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:  # torch words its faults as RuntimeError, ValueError and others
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"torch.jit.load cannot read it: {reason}", where=str(path)) from None
    return module_source(
        module,
        request,
        kind="torchscript",
        name=path.stem,
        files={path.name: file_sha256(path)},
        notes=("a TorchScript module: only torch's older ONNX exporter takes it",),
    )
