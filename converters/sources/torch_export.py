"""A program of ``torch.export.save`` (``.pt2``), told by its content.

Its archive is first checked to hold tensors and known operators alone, and then read with
``TORCH_FORCE_WEIGHTS_ONLY_LOAD``, torch's documented way to forbid pickles to ``torch.load``
everywhere. What does not pass can run code, and is read only if the user trusts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecv.converters import pickles
from edgecv.converters.callables import file_sha256
from edgecv.converters.exported_program import code_in
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request, Source
from edgecv.errors import SourceError, UntrustedPickleError

RANK = 20
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def accepts(request: Request) -> bool:
    """Accept zip archives with an exported program."""
    path = request.path
    return path is not None and path.is_file() and pickles.kind_of(path) == "torch-export"


def open_source(request: Request) -> Source:
    """Open it. The input size is the one that it was exported for, where that is fixed.

    Raises:
        SourceError: torch cannot read it, it does not take one image, or it cannot be run.
        UntrustedPickleError: it could run code, and pickles are not trusted.
        DependencyMissingError: torch is not installed.
    """
    path = Path(request.text)
    require_torch(request.text)
    import torch

    if not request.trust_pickle:
        reason = code_in(path)
        if reason is not None:
            raise UntrustedPickleError(
                "this program can run any code when it is opened, as a pickle can",
                where=str(path),
                expected="tensors, and operators of torch.ops.aten",
                got=reason,
                remedy="if you made it yourself or trust whoever did, say --trust-pickle "
                "(trust_pickle=True)",
            )
    try:
        with quiet(), _weights_only(not request.trust_pickle), path.open("rb") as file:
            program = torch.export.load(file)
            module = program.module()
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(
            f"torch.export.load cannot read it: {type(error).__name__}: {reason}",
            where=str(path),
            remedy=f"export it with the torch that is installed here: {torch.__version__}",
        ) from None
    size = _input_hw(program, path)
    if request.input_hw is not None and size is not None and size != tuple(request.input_hw):
        raise SourceError(
            "the program was exported for another input size",
            where=str(path),
            expected="x".join(map(str, size)),
            got="x".join(map(str, request.input_hw)),
            remedy="leave --input away, or export it anew",
        )
    return module_source(
        module,
        request,
        kind="torch_export",
        name=path.stem,
        input_hw=size,
        files={path.name: file_sha256(path)},
    )


@contextmanager
def _weights_only(wanted: bool) -> Iterator[None]:
    """Forbid every pickle that torch.load would execute."""
    before = os.environ.get(_FORCE)
    if wanted:
        os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_FORCE, None)
        else:
            os.environ[_FORCE] = before


def _input_hw(program: Any, path: Path) -> tuple[int, int] | None:
    """Read (height, width) of the only input, or None where it is free."""
    names = list(program.graph_signature.user_inputs)
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    shapes = [tuple(getattr(values.get(name), "shape", ())) for name in names]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise SourceError(
            "the program does not take one image",
            where=str(path),
            expected="one input [1, C, H, W]",
            got=", ".join(f"{n} {list(s)}" for n, s in zip(names, shapes, strict=True)) or "none",
        )
    height, width = shapes[0][2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
