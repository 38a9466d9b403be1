"""A torch module: passed through the Python API, or made by a function that the user names.

``package.module:function`` and ``path/file.py:function`` are called without arguments and return
the module; a class will do, too. This runs the user's own code, as importing it does.
"""

from __future__ import annotations

import sys

from edgecv.converters import callables
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.source import Request, Source
from edgecv.errors import SourceError

RANK = 90
_PREFIXES = ("timm:", "hf:")


def accepts(request: Request) -> bool:
    """Accept a module, and texts of the two forms that name a function."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(request.spec, torch.nn.Module):
        return True
    return callables.looks_callable(request.spec) and not request.text.startswith(_PREFIXES)


def open_source(request: Request) -> Source:
    """Open it; a module that is passed is copied, not changed.

    Raises:
        SourceError: the function cannot be called, does not return a module, or the module cannot
            be run.
        DependencyMissingError: torch is not installed.
    """
    require_torch(request.text)
    import torch

    if isinstance(request.spec, torch.nn.Module):
        return module_source(
            request.spec, request, kind="torch_module", name=request.text, own=False
        )
    called = callables.call(request.text, "source")
    if not isinstance(called.value, torch.nn.Module):
        raise SourceError(
            "the function does not return a torch module",
            where=request.text,
            expected="torch.nn.Module",
            got=type(called.value).__name__,
        )
    return module_source(
        called.value, request, kind="torch_module", name=called.name, files=called.files, own=False
    )
