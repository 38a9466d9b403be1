"""Weights alone, for an architecture that the user names: safetensors, or ``torch.save``.

The architecture is ``module:function`` or ``file.py:function``, called without arguments. A file
that ``torch.save`` wrote is read with ``weights_only=True``: tensors and plain containers. Where it
holds more, it is executed only if the user trusts it; then it may also hold a whole module, which
needs no architecture.
"""

from __future__ import annotations

from pathlib import Path

from edgecv.converters import callables, pickles, weights
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.source import Request, Source
from edgecv.errors import SourceError

RANK = 50


def accepts(request: Request) -> bool:
    """Accept ``.safetensors`` files, the suffixes of torch's files, and pickles by content."""
    path = request.path
    if path is None or not path.is_file():
        return False
    return path.suffix in (".safetensors", *pickles.SUFFIXES) or pickles.kind_of(path) == "pickle"


def open_source(request: Request) -> Source:
    """Make the architecture and put the weights into it.

    Raises:
        SourceError: no architecture is named, it does not fit the weights, or the file is broken.
        UntrustedPickleError: the file holds more than weights, and pickles are not trusted.
        DependencyMissingError: torch or safetensors is not installed.
    """
    path = Path(request.text)
    require_torch(request.text)
    import torch

    found = weights.read(path, request.trust_pickle)
    files = {path.name: callables.file_sha256(path)}
    module, notes = found.module, found.notes
    if module is None:
        if request.architecture is None:
            raise SourceError(
                "a state dict needs the architecture that its weights are for",
                where=request.text,
                got=f"{len(found.state or {})} tensors, and no code",
                remedy="name the function or class that makes the module: "
                "--arch package.module:function or --arch path/file.py:function",
            )
        called = callables.call(request.architecture, "--arch")
        module = called.value
        if not isinstance(module, torch.nn.Module):
            raise SourceError(
                "the function does not return a torch module",
                where=f"--arch {request.architecture}",
                expected="torch.nn.Module",
                got=type(module).__name__,
            )
        weights.load_into(module, found.state or {}, request.text)
        files |= called.files
    return module_source(
        module, request, kind="state_dict", name=path.stem, files=files, notes=notes
    )
