"""TensorFlow Lite Metadata: a FlatBuffer "M001" inside the model, and label files zipped behind it.

Source: metadata_schema.fbs of TensorFlow Lite Support, version 1.1, and schema.fbs of TensorFlow
Lite; the numbers below are the fields' places in their tables.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.errors import DependencyMissingError, ModelLoadError
from edgecv.flatbuffer import Table
from edgecv.foreign import Export, with_zip, without_zip, write_files
from edgecv.hints import Hints

ORIGIN = "TFLite Metadata"
SUFFIXES = (".tflite",)

_ENTRY = "TFLITE_METADATA"
_IDENTIFIER, _MODEL_IDENTIFIER = b"M001", b"TFL3"
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_NAME, _DESCRIPTION, _VERSION, _SUBGRAPHS, _LICENSE = 0, 1, 2, 3, 5
_INPUTS, _OUTPUTS = 2, 3
_CONTENT, _UNITS, _FILES = 3, 4, 6
_IMAGE, _NORMALIZATION, _THRESHOLD = 2, 1, 3  # of the unions
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_RGB, _GREY = 1, 2
_MAX_LABELS_BYTES = 2**20
_LABELS = "labels.txt"
_PARSER_VERSION = "1.0.0"
_ALIGNMENT = 16
_ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, NotImplementedError)


def read(path: Path, metadata: Mapping[str, str]) -> Hints | None:
    """Read the metadata of a TFLite file.

    Args:
        path: the model file.
        metadata: not used: engines do not report it.

    Returns:
        Statements, or None where the file has no such metadata.

    Raises:
        ModelLoadError: it has, and they are broken.
    """
    del metadata
    if path.suffix != ".tflite":
        return None
    data = path.read_bytes()
    if data[4:8] != _MODEL_IDENTIFIER or _ENTRY.encode() not in data:
        return None
    try:
        buffer = _metadata_buffer(data)
        return None if buffer is None else _hints(Table.root(buffer, _IDENTIFIER), path)
    except ValueError as error:
        raise ModelLoadError(f"the TFLite Metadata are broken: {error}", where=str(path)) from None


def _metadata_buffer(data: bytes) -> memoryview | None:
    model = Table.root(data, _MODEL_IDENTIFIER)
    for entry in model.tables(_MODEL_METADATA):
        if entry.text(0) == _ENTRY:
            buffers, number = model.tables(_MODEL_BUFFERS), int(entry.scalar(1, "I"))
            if number >= len(buffers):
                raise ValueError(f"buffer {number} of {len(buffers)}")
            return buffers[number].data(0)
    return None


def _hints(model: Table, path: Path) -> Hints:
    graphs = model.tables(_SUBGRAPHS)
    inputs = graphs[0].tables(_INPUTS) if graphs else []
    outputs = graphs[0].tables(_OUTPUTS) if graphs else []
    said: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if inputs:
        said = _pixels(inputs[0])
    for tensor in outputs:
        for file in tensor.tables(_FILES):
            if file.scalar(2, "b") in (_AXIS_LABELS, _VALUE_LABELS) and "labels" not in said:
                said["labels"] = _read_labels(path, file.text(0))
        for unit in tensor.tables(_UNITS):
            options_table = unit.table(1)
            if unit.scalar(0, "B") == _THRESHOLD and options_table is not None:
                options["confidence"] = options_table.scalar(0, "f")
    # Classifiers have no threshold here; only detectors take the option.
    boxes = len(outputs) > 1
    return Hints(
        origin=ORIGIN,
        name=model.text(_NAME) or path.stem,
        description=model.text(_DESCRIPTION) or None,
        license=model.text(_LICENSE) or None,
        head_options=options if boxes else None,
        **said,
    )


def _pixels(tensor: Table) -> dict[str, Any]:
    said: dict[str, Any] = {}
    content = tensor.table(_CONTENT)
    image = content.table(1) if content is not None and content.scalar(0, "B") == _IMAGE else None
    if image is not None:
        color = image.scalar(0, "b")
        said |= (
            {"color": {_RGB: "rgb", _GREY: "grey"}[int(color)]} if color in (_RGB, _GREY) else {}
        )
    for unit in tensor.tables(_UNITS):
        options = unit.table(1)
        if unit.scalar(0, "B") == _NORMALIZATION and options is not None:
            mean, std = options.floats(0), options.floats(1)
            if mean and std:
                said |= {"mean": mean, "std": std}
    return said


def _read_labels(path: Path, name: str) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(name)
            if info.file_size > _MAX_LABELS_BYTES:
                raise ValueError(f"{name} has {info.file_size} bytes")
            text = archive.read(info).decode("utf-8", "replace")
    except (*_ZIP_FAULTS, KeyError, RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"label file {name!r}: {error}") from None
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)


def write(export: Export, folder: Path) -> Path:
    """Write the model with metadata and labels.

    Raises:
        DependencyMissingError: LiteRT's schema classes are not installed.
        ModelLoadError: the file is no TFLite model.
    """
    data = _with_buffer(export.files[export.main], _metadata(export), export.main)
    if export.labels:
        data = with_zip(data, _LABELS, "".join(f"{label}\n" for label in export.labels))
    return write_files(export, folder, {export.main: data})


def _with_buffer(data: bytes, metadata: bytes, name: str) -> bytes:
    """Put the metadata into the model, in the place of older ones."""
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        raise DependencyMissingError(
            "writing TFLite files needs ai-edge-litert", remedy="pip install 'edgecv[litert]'"
        ) from None
    if data[4:8] != _MODEL_IDENTIFIER:
        raise ModelLoadError("not a TFLite file", where=name)

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # comes without types
        """Aligns byte vectors as the schema asks for; the generated classes do not."""

        def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
            return super().StartVector(size, count, _ALIGNMENT if size == 1 else alignment)

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(without_zip(data)), 0))
    buffer = schema.BufferT()
    buffer.data = list(metadata)
    entries = [e for e in model.metadata or [] if _plain(e.name) != _ENTRY]
    entry = schema.MetadataT()
    entry.name, entry.buffer = _ENTRY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*entries, entry]
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), _MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _plain(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name or "")


def _metadata(export: Export) -> bytes:
    """Build the FlatBuffer: leaves first, as its builder wants."""
    import flatbuffers

    builder: Any = flatbuffers.Builder(1024)

    def table(fields: Mapping[int, Any], kinds: Mapping[int, str] | None = None) -> int:
        builder.StartObject(8)
        for field, value in fields.items():
            kind = (kinds or {}).get(field, "offset")
            if kind == "byte":
                builder.PrependInt8Slot(field, value, 0)
            elif kind == "float":
                builder.PrependFloat32Slot(field, value, 0.0)
            else:
                builder.PrependUOffsetTRelativeSlot(field, value, 0)
        return int(builder.EndObject())

    def vector(items: list[int]) -> int:
        builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item)
        return int(builder.EndVector())

    def floats(values: tuple[float, ...]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return int(builder.EndVector())

    spec, text = export.input, builder.CreateString
    channels = 1 if spec.color == "grey" else 3
    normalization = table({0: floats(spec.mean[:channels]), 1: floats(spec.std[:channels])})
    units = vector([table({0: _NORMALIZATION, 1: normalization}, {0: "byte"})])
    color = _GREY if spec.color == "grey" else _RGB if spec.color == "rgb" else 0
    image = table({0: color}, {0: "byte"})
    content = table({0: _IMAGE, 1: image}, {0: "byte"})
    first = table({_NAME: text("image"), _CONTENT: content, _UNITS: units})
    outputs = []
    kind = _AXIS_LABELS if export.task == "classify" else _VALUE_LABELS
    for place, spec_out in enumerate(export.outputs):
        fields: dict[int, Any] = {_NAME: text(spec_out.name)}
        if export.labels and place == 0:
            file = table({0: text(_LABELS), 2: kind}, {2: "byte"})
            fields[_FILES] = vector([file])
        confidence = export.head.options.get("confidence")
        if confidence is not None and place == 0:
            threshold = table({0: float(confidence)}, {0: "float"})
            fields[_UNITS] = vector([table({0: _THRESHOLD, 1: threshold}, {0: "byte"})])
        outputs.append(table(fields))
    graph = table({_INPUTS: vector([first]), _OUTPUTS: vector(outputs)})
    root = {
        _NAME: text(export.name),
        _DESCRIPTION: text(export.description),
        _VERSION: text(export.version),
        _SUBGRAPHS: vector([graph]),
        _LICENSE: text(export.license),
        7: text(_PARSER_VERSION),
    }
    builder.Finish(table(root), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
