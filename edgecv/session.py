"""What every backend does around its engine: find it, check what goes in, and word what fails."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from edgecv import host
from edgecv.errors import BackendMissingError, InferenceError, ModelLoadError, UsageError
from edgecv.gc_pause import import_module
from edgecv.types import (
    PRECISIONS,
    Array,
    ModelSource,
    Precision,
    Quantization,
    SessionInfo,
    SessionOptions,
    TensorSpec,
)

_REASON_LENGTH = 400
_MAX_THREADS = 1024
# What engines put before their reasons: error codes, and places in their own sources.
_NOISE = (
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : "
    r"|Exception from \S+:\d+:\s*|Check '.*?' failed at \S+:\s*"
)
_FOLDER = ".dist-info"


@cache
def installed(*distributions: str) -> tuple[str, str] | None:
    """Return name and version of the first distribution that is installed.

    The names of the ``.dist-info`` folders on the module path say it (see the packaging guide's
    "Recording installed projects"). Asking `importlib.metadata` takes 25 ms at its first import,
    so it is asked only where no folder is found, such as for a library inside an archive.
    """
    found: dict[str, str] = {}
    wanted = {name.replace("-", "_").lower(): name for name in distributions}
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")  # noqa: PTH208  # a Path each would cost more
        except OSError:
            continue
        for folder in names:
            if folder.endswith(_FOLDER):
                name, _, version = folder.removesuffix(_FOLDER).rpartition("-")
                name = name.lower().replace("-", "_")
                if name in wanted:
                    found.setdefault(wanted[name], version)
    for name in distributions:
        if name in found:
            return name, found[name]
    import importlib.metadata

    for name in distributions:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


class OpenSession:
    """What every backend's session offers besides running and closing.

    A subclass sets `_inputs`, `_outputs` and `_info`, and `_metadata` where a file carries any. If
    reading back takes time, it leaves `_info` None and has a `_tell` that makes it when it is asked
    for: before the first result nobody waits for it.
    """

    _inputs: tuple[TensorSpec, ...]
    _outputs: tuple[TensorSpec, ...]
    _info: SessionInfo | None = None
    _metadata: Mapping[str, str] = MappingProxyType({})

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the model's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the model's order."""
        return self._outputs

    @property
    def info(self) -> SessionInfo:
        """What was opened, with the precision read back."""
        if self._info is None:
            self._info = self._tell()
        return self._info

    def _tell(self) -> SessionInfo:
        raise InferenceError("the session does not say what it is", where=type(self).__name__)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Key-value pairs in the file itself; may be empty."""
        return self._metadata


class InputCheck:
    """Check names, dtypes and shapes of a run's inputs; costs about a microsecond."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = tuple(specs)
        self._names = {spec.name for spec in specs}
        self._exact = [(spec.name, np.dtype(spec.dtype), spec.shape) for spec in specs]

    def __call__(self, inputs: Mapping[str, Array]) -> None:
        """Check one run's inputs.

        Raises:
            InferenceError: the first one that does not fit, with what was expected.
        """
        if inputs.keys() != self._names:
            raise InferenceError(
                "wrong input names",
                expected=", ".join(spec.name for spec in self._specs),
                got=", ".join(map(str, inputs)) or "none",
            )
        for name, dtype, shape in self._exact:
            array = inputs[name]
            if isinstance(array, np.ndarray) and array.dtype == dtype:
                if array.shape == shape:
                    continue
                if len(array.shape) == len(shape) and all(
                    want in (None, have) for have, want in zip(array.shape, shape, strict=True)
                ):
                    continue
            raise self._misfit(name, array)

    def _misfit(self, name: str, array: object) -> InferenceError:
        spec = next(spec for spec in self._specs if spec.name == name)
        if isinstance(array, np.ndarray):
            got = f"{array.dtype}[{','.join(map(str, array.shape))}]"
        else:
            got = type(array).__name__
        return InferenceError(
            "an input does not fit", where=f"input {name}", expected=str(spec), got=got
        )


def unique(names: Sequence[str]) -> list[str]:
    """Make tensor names unique: a second tensor of a name gets its position, ``name:3``."""
    made: list[str] = []
    for i, name in enumerate(names):
        free = name
        while not free or free in made:
            free = f"{free}:{i}"
        made.append(free)
    return made


def quantization(scales: Sequence[float], zero_points: Sequence[int]) -> Quantization | None:
    """Return the per-tensor quantization of an integer tensor, or None where there is none."""
    if len(scales) != 1 or len(zero_points) != 1 or not float(scales[0]) > 0:
        return None
    return Quantization(float(scales[0]), int(zero_points[0]))


def check_source(source: ModelSource, engine: str, suffixes: tuple[str, ...]) -> None:
    """Refuse a file of another kind before an engine guesses at it.

    Raises:
        ModelLoadError: the suffix is not one of the backend's, or the file is not there.
    """
    if not source.name.endswith(suffixes):
        raise ModelLoadError(
            f"{engine} does not open this kind of file",
            where=str(source),
            expected=" or ".join(suffixes),
        )
    for part in source.parts.values():
        if not isinstance(part, memoryview) and not part.is_file():
            raise ModelLoadError("no such file", where=str(part))


def threads(options: SessionOptions) -> int:
    """Return the threads of one inference: those asked for, or every CPU this process may use.

    Raises:
        UsageError: not a whole number from 1 to 1024.
    """
    return host.usable_cpus() if options.threads is None else _count("threads", options.threads)


def streams(options: SessionOptions) -> int:
    """Return the runs that callers will make at the same time.

    Raises:
        UsageError: not a whole number from 1 to 1024.
    """
    return _count("streams", options.streams)


def _count(where: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_THREADS:
        expected = f"a whole number from 1 to {_MAX_THREADS}"
        raise UsageError("", where=where, expected=expected, got=repr(value))
    return value


def check_precision(options: SessionOptions) -> None:
    """Refuse a precision that does not exist.

    Raises:
        UsageError: it is neither ``auto`` nor one of `PRECISIONS`.
    """
    if options.precision not in ("auto", *PRECISIONS):
        raise UsageError(
            "no such precision",
            where="precision",
            expected=f"one of auto, {', '.join(PRECISIONS)}",
            got=repr(options.precision),
        )


def check_as_the_file_says(
    engine: str, options: SessionOptions, precision: Precision | None, remedy: str
) -> None:
    """Refuse a reduced float precision that neither the file has nor the engine can bring about.

    Raises:
        UsageError: ``fp16`` or ``bf16`` is asked for, and the file computes in another one.
    """
    check_precision(options)
    if options.precision in ("fp16", "bf16") and options.precision != precision:
        raise UsageError(
            f"{engine} computes in the precision of the file",
            where="precision",
            expected=f"{precision or 'fp32'} or auto",
            got=repr(options.precision),
            remedy=remedy,
        )


def check_extras(
    engine: str, options: SessionOptions, known: Mapping[str, Callable[[str], bool]]
) -> None:
    """Refuse engine options that a backend does not know, or whose value it cannot use.

    A bundle brings its own options, so only those are let through that cannot name a file.

    Raises:
        UsageError: the first such option.
    """
    for name, value in options.extra.items():
        if name not in known:
            raise UsageError(
                f"{engine} has no such option here",
                where=f"engine option {name}",
                expected=f"one of {', '.join(known)}" if known else "none",
            )
        if not known[name](value):
            raise UsageError(
                "a value that cannot be used", where=f"engine option {name}", got=repr(value)
            )


def tell_precision(
    layers: Mapping[Precision, int], asked: str
) -> tuple[Precision | None, tuple[str, ...]]:
    """Name the precision of a model from that of its convolutions and matrix products.

    One integer layer makes it ``int8`` (or ``int8-weights``), since it decides the accuracy; float
    precisions go by the majority. A mixture is spelled out in the notes, and so is a file that is
    not what the caller calls it.

    Args:
        layers: precision -> number of layers.
        asked: `SessionOptions.precision`.

    Returns:
        The precision, None without any such layer, and the notes.
    """
    counted = Counter({name: count for name, count in layers.items() if count})
    if not counted:
        return None, ("no convolution or matrix product that would tell the precision",)
    precision = next(
        (name for name in ("int8", "int8-weights") if name in counted),
        counted.most_common(1)[0][0],
    )
    notes = []
    if len(counted) > 1:
        mixture = ", ".join(f"{count} in {name}" for name, count in counted.most_common())
        notes.append(f"mixed precision: of {counted.total()} heavy layers {mixture}")
    if asked in ("int8", "int8-weights") and precision != asked:
        notes.append(f"called {asked}, but computes in {precision}")
    return precision, tuple(notes)


def closed(where: str) -> InferenceError:
    """Make the error of a run after `close`."""
    return InferenceError("the session is closed", where=where)


def import_engine(module: str, engine: str, extra: str | None) -> Any:
    """Import an engine's module.

    Raises:
        BackendMissingError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(engine, extra) from error


def missing(engine: str, extra: str | None) -> BackendMissingError:
    """Make the error of an engine that is not installed."""
    package = f"edgecv[{extra}]" if extra else "edgecv"
    return BackendMissingError(f"{engine} is not installed", remedy=f"pip install '{package}'")


def refused(
    source: ModelSource, engine: str, error: BaseException, remedy: str | None = None
) -> ModelLoadError:
    """Make the error of an engine that does not take a model, with its reason in one line."""
    return ModelLoadError(
        f"{engine} does not open it: {_reason(error)}", where=str(source), remedy=remedy
    )


def failed(where: str, error: BaseException) -> InferenceError:
    """Make the error of a run that the engine gave up, with its reason in one line."""
    return InferenceError(_reason(error), where=where)


def _reason(error: BaseException) -> str:
    text = " ".join(re.sub(_NOISE, "", " ".join(str(error).split())).split())
    # The text of a KeyError is the key alone, and some errors have none.
    if not text or isinstance(error, LookupError | AttributeError):
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 3] + "..."
