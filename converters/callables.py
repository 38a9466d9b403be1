"""Call what ``package.module:function`` or ``path/file.py:function`` names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecv.converters.quiet import quiet
from edgecv.errors import SourceError

_NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_SPEC = re.compile(rf"(.+\.py|{_NAME}):({_NAME})")
_EXPECTED = "package.module:function or path/file.py:function"


@dataclass(frozen=True, slots=True)
class Called:
    """What a call gave.

    Attributes:
        value: that the function returned.
        name: of the function, without its module.
        files: name -> sha256 of the file that defines it, where there is one.
    """

    value: Any
    name: str
    files: dict[str, str]


def looks_callable(spec: object) -> bool:
    """Tell whether a text has the form of either spelling; nothing is imported."""
    return isinstance(spec, str) and _SPEC.fullmatch(spec) is not None


def call(spec: str, what: str) -> Called:
    """Import a function or class and call it without arguments.

    The current folder, and the folder of a named file, can be imported from while it runs. Random
    numbers of torch are seeded, so that what is built at random is the same every time.

    Args:
        spec: ``package.module:function`` or ``path/file.py:function``.
        what: the option or argument that holds it, for messages.

    Raises:
        SourceError: it cannot be found, imported or called; the error says what it raised.
    """
    if not looks_callable(spec):
        raise SourceError("cannot be read", where=what, expected=_EXPECTED, got=repr(spec))
    place, _, attribute = spec.rpartition(":")
    file = Path(place) if place.endswith(".py") else None
    folders = [Path.cwd()] if file is None else [file.absolute().parent, Path.cwd()]
    where = f"{what} {spec}"
    with _importable(folders):
        module = _import_name(place, where) if file is None else _import_file(file, where)
        function = _find(module, attribute, where)
        import torch

        try:
            with torch.random.fork_rng(devices=[]), quiet():
                torch.manual_seed(0)
                value = function()
        except Exception as error:
            raise SourceError(
                f"the call raised {type(error).__name__}: {error}",
                where=where,
                expected="a function that needs no arguments and returns a torch module",
            ) from error
    origin = getattr(module, "__file__", None)
    files = {} if origin is None else {Path(origin).name: file_sha256(Path(origin))}
    return Called(value, attribute.rpartition(".")[2], files)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _importable(folders: list[Path]) -> Iterator[None]:
    added = [str(folder) for folder in folders if str(folder) not in sys.path]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def _import_name(name: str, where: str) -> ModuleType:
    try:
        with quiet():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise SourceError(
                "no such module",
                where=where,
                got=repr(name),
                remedy="start from the folder that holds it, install it, or name the file: "
                "path/file.py:function",
            ) from None
        raise _failed(error, where) from error
    except Exception as error:
        raise _failed(error, where) from error


def _import_file(file: Path, where: str) -> ModuleType:
    if not file.is_file():
        raise SourceError("no such file", where=where, got=str(file))
    # A name of its own for each content: two files called model.py must not be one module.
    key = hashlib.sha256(str(file.absolute()).encode() + file.read_bytes()).hexdigest()[:12]
    name = f"_edgecv_{file.stem}_{key}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file.absolute())
    if found is None or found.loader is None:
        raise SourceError("not a Python file", where=where, got=str(file))
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        with quiet():
            found.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise _failed(error, where) from error
        raise
    return module


def _failed(error: Exception, where: str) -> SourceError:
    return SourceError(f"its import raised {type(error).__name__}: {error}", where=where)


def _find(module: ModuleType, attribute: str, where: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if found is None:
        public = [n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])]
        raise SourceError(
            f"it has no {attribute}",
            where=where,
            expected=f"one of {', '.join(sorted(public)[:20])}" if public else None,
        )
    if not callable(found):
        raise SourceError(
            "not a function", where=where, expected="a function or class", got=repr(found)[:80]
        )
    return found
