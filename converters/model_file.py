"""Open a model file as a `Source`: tried in a child process, then described as an artifact."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgecv import engines
from edgecv.converters.artifact import BACKENDS, Artifact, Format, Layout
from edgecv.converters.callables import file_sha256
from edgecv.converters.source import Request, Source
from edgecv.errors import BackendMissingError, ModelLoadError, SourceError
from edgecv.hints import Hints
from edgecv.probe import probe
from edgecv.types import Precision, SessionOptions, TensorSpec

_CHANNELS = (1, 3)


def has_suffix(request: Request, suffix: str) -> bool:
    """Tell whether the spec is an existing file with this suffix."""
    path = request.path
    return path is not None and path.is_file() and path.suffix.lower() == suffix


def open_model_file(request: Request, kind: str, form: Format) -> Source:
    """Open a file that an engine runs, with its companions.

    The precision is what the engine reads back from it: ``int8`` where its heavy layers are
    quantized.

    Raises:
        SourceError: the engine refuses it, or dies on it in a child process; it does not take one
            image; its input size is free and nobody gives one, or fixed and another one is given.
        BackendMissingError: its engine is not installed.
    """
    path = Path(request.text)
    backend = BACKENDS[form]
    try:
        report = probe(path, backend)
        source = engines.gather(path, backend)
        precision = _precision(path, backend)
    except BackendMissingError:
        raise
    except ModelLoadError as error:
        raise SourceError(
            error.what,
            where=error.where or str(path),
            expected=error.expected,
            got=error.got,
            remedy=error.remedy,
        ) from error
    layout, channels, own_hw, name = _image_input(report.inputs, path)
    files = tuple(Path(part) for part in source.parts.values() if isinstance(part, Path))
    hashes = {file.name: file_sha256(file) for file in files}
    input_hw = _size(request, own_hw, path)
    # The size decides what a free graph becomes, and the rest follows from the bytes.
    digest = hashlib.sha256(repr((form, input_hw, sorted(hashes.items()))).encode()).hexdigest()
    return Source(
        kind=kind,
        name=path.stem,
        hints=Hints(origin=f"{kind} file"),
        digest=digest,
        input_hw=input_hw,
        channels=channels,
        input_name=name,
        output_names=tuple(output.name for output in report.outputs),
        artifact=Artifact(form, files, precision, layout),
        files=hashes,
        metadata=dict(report.metadata),
    )


def _precision(path: Path, backend: str) -> Precision:
    module = engines.load_backend(backend)
    source = engines.gather(path, backend)
    session = module.open_session(source, SessionOptions(threads=1))
    try:
        return session.info.precision or "fp32"
    finally:
        session.close()


def _image_input(
    inputs: tuple[TensorSpec, ...], path: Path
) -> tuple[Layout, int, tuple[int | None, int | None], str]:
    """Return layout, channels, (height, width) and name of the only input."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] not in (1, None):
        raise SourceError(
            "only models that take one image can be converted",
            where=str(path),
            expected="one input [1,C,H,W] or [1,H,W,C]",
            got="; ".join(map(str, inputs)) or "none",
        )
    _, a, b, c = inputs[0].shape
    planar, packed = a in _CHANNELS, c in _CHANNELS
    if planar == packed:
        raise SourceError(
            "cannot tell which axis holds the channels",
            where=f"{path}: input {inputs[0].name}",
            expected="1 or 3 channels on axis 1 or on axis 3",
            got=str(inputs[0]),
        )
    if planar:
        return "NCHW", a or 3, (b, c), inputs[0].name
    return "NHWC", c or 3, (a, b), inputs[0].name


def _size(request: Request, own: tuple[int | None, int | None], path: Path) -> tuple[int, int]:
    """Join the file's size with the user's; they must not contradict each other."""
    wanted = request.input_hw or (None, None)
    height, width = own[0] or wanted[0], own[1] or wanted[1]
    if height is None or width is None:
        raise SourceError(
            "the model leaves its input size free",
            where=str(path),
            got="x".join("?" if side is None else str(side) for side in own),
            remedy="give it with --input SIDE or --input HEIGHTxWIDTH",
        )
    if request.input_hw is not None and (height, width) != tuple(request.input_hw):
        raise SourceError(
            "the model's input has another size than asked for",
            where=str(path),
            expected=f"{height}x{width}",
            got="x".join(map(str, request.input_hw)),
            remedy="leave --input away, or export the model anew for that size",
        )
    return height, width
