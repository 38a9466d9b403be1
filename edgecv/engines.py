"""Which engine opens a model file, and which files belong to it."""

from __future__ import annotations

from pathlib import Path

from edgecv import plugins
from edgecv.errors import BackendMissingError, UsageError
from edgecv.types import Backend, ModelSource


def load_backend(name: str) -> Backend:
    """Import a backend plug-in; the engine itself is imported when a model is opened."""
    return plugins.load("backends", name)


def why_not(name: str, precision: str = "fp32") -> str | None:
    """Say why a backend cannot run here, or not in a precision; None where it can.

    Args:
        name: as a manifest has it; one that this edgecv does not know is a reason, too.
        precision: that a variant is meant to run in.
    """
    if name not in plugins.names("backends"):
        return f"this edgecv has no backend {name}"
    backend = load_backend(name)
    if backend.version() is None:
        return f"{backend.ENGINE} is not installed"
    return backend.lacks(precision)


def _preference(name: str) -> tuple[int, str]:
    order = ("onnxruntime", "openvino", "litert")
    return (order.index(name) if name in order else len(order), name)


def backends_for(path: Path) -> tuple[str, ...]:
    """List the backends that open files of this suffix, the usual one first.

    Raises:
        UsageError: none does.
    """
    by_name = {name: load_backend(name).SUFFIXES for name in plugins.names("backends")}
    names = [name for name, suffixes in by_name.items() if path.name.endswith(suffixes)]
    if not names:
        known = sorted({suffix for suffixes in by_name.values() for suffix in suffixes})
        raise UsageError(
            "no backend opens this kind of file",
            where=str(path),
            expected=f"a bundle, or one of {', '.join(known)}",
            got=repr(path.suffix),
            remedy="make a bundle of it with edgecv pack" if _is_archive(path) else None,
        )
    return tuple(sorted(names, key=_preference))


def _is_archive(path: Path) -> bool:
    """Tell by its name whether a file is another tool's archive, which is packed, not opened."""
    formats = (plugins.load("foreign", name) for name in plugins.names("foreign"))
    suffixes = tuple(s for module in formats for s in getattr(module, "ARCHIVES", ()))
    return path.name.lower().endswith(suffixes)


def choose_backend(path: Path, wanted: str | None = None) -> str:
    """Choose the backend for a model file: the one asked for, or the first that is installed.

    Raises:
        UsageError: no backend opens the file, or the one asked for does not.
        BackendMissingError: none that opens the file is installed.
    """
    fitting = backends_for(path)
    if wanted is not None:
        plugins.load("backends", wanted)
        if wanted not in fitting:
            raise UsageError(
                f"{wanted} does not open this kind of file",
                where=str(path),
                expected=f"one of {', '.join(fitting)}",
            )
        return wanted
    for name in fitting:
        if load_backend(name).version():
            return name
    extra = load_backend(fitting[0]).EXTRA
    raise BackendMissingError(
        "no engine that opens it is installed",
        where=str(path),
        expected=" or ".join(fitting),
        remedy=f"pip install 'edgecv[{extra}]'" if extra else "pip install edgecv",
    )


def find_model_file(path: Path) -> Path:
    """Return the model file that a path means: itself, or the only one in a folder.

    Raises:
        UsageError: missing, or a folder without exactly one model.
    """
    if not path.exists():
        raise UsageError("no such file or folder", where=str(path))
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError("not a regular file", where=str(path), got="a pipe, socket or device")
    suffixes = {s for n in plugins.names("backends") for s in load_backend(n).SUFFIXES}
    found = sorted(item for item in path.iterdir() if item.name.endswith(tuple(suffixes)))
    if len(found) != 1:
        raise UsageError(
            "not a bundle, and not a folder with one model",
            where=str(path),
            expected=f"manifest.json, or one of {', '.join(sorted(suffixes))}",
            got=f"{len(found)} model files",
        )
    return found[0]


def gather(path: Path, backend: str) -> ModelSource:
    """Collect a model file and the companions that its backend says it needs.

    Raises:
        ModelLoadError: a companion is missing or lies outside the model's folder.
    """
    return ModelSource.from_paths(path, *load_backend(backend).companions(path))
