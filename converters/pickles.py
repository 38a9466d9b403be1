"""Look at files that may hold pickles, without unpickling anything.

A pickle is a program: unpickling calls whatever functions it names. ``torch.save`` writes pickles,
in a zip archive or bare; TorchScript and ``torch.export`` archives are zip files, too. What a file
is, is told from its content here, since ``.pt`` is used for all of them.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Literal

from edgecv.errors import SourceError, UntrustedPickleError

Kind = Literal["torchscript", "torch-export", "pickle"]

SUFFIXES = (".pt", ".pth", ".pt2", ".ckpt", ".torchscript")
"""Of files that are taken for torch's even where they are broken."""

_MAX_BYTES = 64 * 2**20
_MAX_NAMES = 1000
_EXPORT_MEMBERS = ("archive_format", "serialized_exported_program.json")
_FAULTS = (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, RuntimeError, EOFError)


def kind_of(path: Path) -> Kind | None:
    """Tell what a file holds; None for anything that torch does not write.

    Returns:
        ``torchscript`` for an archive with TorchScript code, ``torch-export`` for an exported
        program, ``pickle`` for a zip archive with a pickle, or a bare one.
    """
    try:
        if zipfile.is_zipfile(path):
            members = [name.partition("/")[2] or name for name in member_names(path)]
            if "constants.pkl" in members and any(name.startswith("code/") for name in members):
                return "torchscript"
            if any(name in _EXPORT_MEMBERS for name in members):
                return "torch-export"
            return "pickle" if "data.pkl" in members else None
        with path.open("rb") as file:
            start = file.read(2)
    except (*_FAULTS, ValueError):
        return None
    # The PROTO opcode with a version that exists.
    return "pickle" if len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5 else None


def member_names(path: Path) -> list[str]:
    """List the members of a zip archive, as written.

    Raises:
        SourceError: it is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (*_FAULTS, ValueError) as error:
        raise SourceError(f"a broken zip archive: {error}", where=str(path)) from None


def imports_of(path: Path) -> tuple[str, ...]:
    """List the functions and classes that the pickle in a file names, in the order of their use.

    It is read opcode by opcode and not executed. For messages and for telling files apart: a
    hostile pickle can hide names from this.
    """
    found: dict[str, None] = {}
    try:
        stream = io.BytesIO(_pickle_bytes(path))
        while stream.read(1):
            stream.seek(-1, io.SEEK_CUR)
            _scan(stream, found)
    except (*_FAULTS, ValueError, KeyError, IndexError, UnicodeError):
        pass  # the end of the pickles, or damage: what was found until there counts
    return tuple(found)


def untrusted(path: Path, why: str = "") -> UntrustedPickleError:
    """Make the error for a file that can only be read by executing its pickle."""
    named = [name for name in imports_of(path) if not _plain(name)]
    shown = ", ".join(named[:6]) + (", ..." if len(named) > 6 else "")
    return UntrustedPickleError(
        "this file is a pickle, and reading it runs whatever code it holds"
        + (f"; {why}" if why else ""),
        where=str(path),
        expected="weights alone: a .safetensors file, or a state dict saved with torch.save",
        got=f"a pickle that names {shown}" if shown else "a pickle",
        remedy="if you made it yourself or trust whoever did, say --trust-pickle "
        "(trust_pickle=True); otherwise ask for its weights as .safetensors, with --arch",
    )


def _plain(name: str) -> bool:
    """Tell whether a name is in every file of weights, and says nothing about this one."""
    return (
        name.startswith(("torch._utils._rebuild", "torch.nn.modules."))
        or name == "collections.OrderedDict"
        or (name.startswith("torch.") and name.endswith("Storage"))
    )


def _pickle_bytes(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.rpartition("/")[2] == "data.pkl":
                with archive.open(info) as member:
                    return member.read(_MAX_BYTES)
    return b""


def _scan(stream: io.BytesIO, found: dict[str, None]) -> None:
    """Read one pickle; note what its GLOBAL and STACK_GLOBAL opcodes name."""
    recent: list[str] = []
    memo: dict[int, str] = {}
    for op, value, _ in pickletools.genops(stream):
        if len(found) >= _MAX_NAMES:
            return
        if op.name in ("GLOBAL", "INST"):
            found[str(value).replace(" ", ".")] = None
        elif op.name == "STACK_GLOBAL" and len(recent) > 1:
            found[f"{recent[-2]}.{recent[-1]}"] = None
        elif "UNICODE" in op.name or "STRING" in op.name:
            recent.append(str(value))
        elif op.name == "MEMOIZE":
            memo[len(memo)] = recent[-1] if recent else ""
        elif op.name in ("BINGET", "LONG_BINGET") and isinstance(value, int) and value in memo:
            recent.append(memo[value])
        del recent[:-2]
