"""What every backend's session does around its engine: check inputs, and refuse after close."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgecv.errors import BackendMissingError, InferenceError, ModelLoadError, UsageError
from edgecv.types import Array, ModelSource, SessionOptions, TensorSpec


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, Array]) -> None:
    """Check names, dtypes and shapes of a run's inputs.

    Raises:
        InferenceError: the first one that does not fit.
    """
    if inputs.keys() != {spec.name for spec in specs}:
        raise InferenceError(
            "wrong input names",
            expected=", ".join(spec.name for spec in specs),
            got=", ".join(inputs) or "none",
        )
    for spec in specs:
        array = inputs[spec.name]
        if array.dtype == spec.dtype and array.shape == spec.shape:
            continue
        fits = array.dtype == spec.dtype and len(array.shape) == len(spec.shape)
        if not fits or any(
            want not in (None, have) for have, want in zip(array.shape, spec.shape, strict=True)
        ):
            raise InferenceError(
                "an input does not fit",
                where=f"input {spec.name}",
                expected=str(spec),
                got=f"{array.dtype}{list(array.shape)}",
            )


def closed(where: str) -> InferenceError:
    """Make the error of a run after `close`."""
    return InferenceError("the session is closed", where=where)


def missing(engine: str, extra: str | None) -> BackendMissingError:
    """Make the error of an engine that is not installed."""
    package = f"edgecv[{extra}]" if extra else "edgecv"
    return BackendMissingError(f"{engine} is not installed", remedy=f"pip install '{package}'")


def refused(source: ModelSource, engine: str, error: BaseException) -> ModelLoadError:
    """Make the error of an engine that does not take a model, with its reason in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines) or type(error).__name__
    reason = reason if len(reason) <= 400 else reason[:397] + "..."
    return ModelLoadError(f"{engine} does not open it: {reason}", where=str(source))


def failed(where: str, error: BaseException) -> InferenceError:
    """Make the error of a run that the engine gave up, with its reason in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return InferenceError(reason[:400], where=where)


def only_as_the_file_says(engine: str, options: SessionOptions, remedy: str) -> None:
    """Refuse a precision that an engine cannot bring about by itself.

    Raises:
        UsageError: it is ``fp16`` or ``bf16``.
    """
    if options.precision in ("fp16", "bf16"):
        raise UsageError(
            f"{engine} computes in the precision of the file",
            where="precision",
            expected="fp32 or auto",
            got=repr(options.precision),
            remedy=remedy,
        )


def only_extras(
    engine: str, options: SessionOptions, known: Mapping[str, Callable[[str], bool]]
) -> None:
    """Refuse engine options that a backend does not know, or whose value it cannot use.

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
