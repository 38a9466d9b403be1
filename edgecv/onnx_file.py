"""Read from an ONNX file what it says about itself, without the onnx package.

A walk over the protobuf wire format (varint, 64-bit, length-delimited, 32-bit fields; see the
Protocol Buffers encoding guide) with the field numbers of ``onnx.proto3``. Tensor data is stepped
over, not read. Every length is checked against the bytes that are there.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgecv.errors import ModelLoadError

# Field numbers of onnx.proto3.
_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTIONS = 1, 7, 8, 25
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_OP, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 6, 11
_TENSOR_TYPE, _TENSOR_EXTERNAL = 2, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2

_FLOAT, _FLOAT16, _BFLOAT16 = 1, 10, 16
_QUANTIZED_OPS = {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm"}
_WEIGHT_ONLY_OPS = {"MatMulNBits", "GatherBlockQuantized"}
_MAX_DEPTH = 16

OnnxPrecision = Literal["fp32", "fp16", "bf16", "int8", "int8-weights"]


@dataclass(slots=True)
class OnnxFile:
    """What an ONNX file says.

    Attributes:
        ir_version: of the format.
        opsets: domain ('' is ONNX's own) -> version.
        ops: op type -> how often it occurs, subgraphs included.
        initializer_types: ONNX data type number -> number of initializers.
        external: locations of external data, as the file names them.
    """

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    ops: Counter[str] = field(default_factory=Counter)
    initializer_types: Counter[int] = field(default_factory=Counter)
    external: list[str] = field(default_factory=list)

    @property
    def precision(self) -> OnnxPrecision:
        """The arithmetic that the file asks for.

        ``int8`` where activations are quantized (QuantizeLinear or DynamicQuantizeLinear, or
        integer convolutions); ``int8-weights`` where only weights are; else by the type of most
        floating-point initializers.
        """
        activations = {"QuantizeLinear", "DynamicQuantizeLinear"} | _QUANTIZED_OPS
        if activations & self.ops.keys():
            return "int8"
        if self.ops.keys() & (_WEIGHT_ONLY_OPS | {"DequantizeLinear"}):
            return "int8-weights"
        floats = {kind: self.initializer_types[kind] for kind in (_FLOAT, _FLOAT16, _BFLOAT16)}
        most = max(floats, key=lambda kind: floats[kind])
        if most == _FLOAT16 and floats[most]:
            return "fp16"
        return "bf16" if most == _BFLOAT16 and floats[most] else "fp32"


def read(source: Path | memoryview) -> OnnxFile:
    """Read an ONNX file.

    Raises:
        ModelLoadError: it is not a protobuf message of this kind, or is cut short.
    """
    where = str(source) if isinstance(source, Path) else "ONNX file"
    found = OnnxFile()
    try:
        if isinstance(source, memoryview):
            _model(source, found)
        else:
            with source.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with mapped:
                view = memoryview(mapped)
                try:
                    _model(view, found)
                finally:
                    view.release()
    except (ValueError, OSError, UnicodeDecodeError, BufferError) as error:
        raise ModelLoadError(f"not a readable ONNX file: {error}", where=where) from None
    if not found.ops and not found.ir_version:
        raise ModelLoadError("not an ONNX file: it holds no graph", where=where)
    return found


def external_data(path: Path) -> tuple[Path, ...]:
    """List the files with external data that an ONNX file names.

    Raises:
        ModelLoadError: one is missing, or lies outside the model's folder.
    """
    files = []
    for location in read(path).external:
        file = path.parent / plain_name(location, str(path))
        if not file.is_file():
            raise ModelLoadError("the model's external data are missing", where=str(file))
        files.append(file)
    return tuple(files)


def plain_name(location: str, where: str) -> str:
    """Return the location of external data if it is a plain file name.

    Raises:
        ModelLoadError: it leads out of the model's folder.
    """
    if location in ("", ".", "..") or "/" in location or "\\" in location:
        raise ModelLoadError(
            "its external data lie outside of its folder",
            where=where,
            expected="a plain file name",
            got=repr(location),
        )
    return location


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value): an int for numbers, a view for everything with a length."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown kind of field {kind}")
        if at + size > len(data):
            raise ValueError("a field reaches beyond the end")
        if kind == 2:
            yield number, data[at : at + size]
        at += size


def _text(value: int | memoryview) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""


def _model(data: memoryview, found: OnnxFile) -> None:
    for number, value in _fields(data):
        if number == _MODEL_IR and isinstance(value, int):
            found.ir_version = value
        elif isinstance(value, int):
            continue
        elif number == _MODEL_GRAPH:
            _graph(value, found, 0)
        elif number == _MODEL_OPSET:
            entry = dict(_fields(value))
            version = entry.get(_OPSET_VERSION, 0)
            if isinstance(version, int):
                found.opsets[_text(entry.get(_OPSET_DOMAIN, 0))] = version
        elif number == _MODEL_FUNCTIONS:
            _function(value, found)


def _function(data: memoryview, found: OnnxFile) -> None:
    nodes = 7  # FunctionProto.node
    for number, value in _fields(data):
        if number == nodes and isinstance(value, memoryview):
            _node(value, found, 1)


def _graph(data: memoryview, found: OnnxFile, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("graphs are nested too deeply")
    for number, value in _fields(data):
        if isinstance(value, int):
            continue
        if number == _GRAPH_NODE:
            _node(value, found, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(value, found)


def _node(data: memoryview, found: OnnxFile, depth: int) -> None:
    for number, value in _fields(data):
        if isinstance(value, int):
            continue
        if number == _NODE_OP:
            found.ops[_text(value)] += 1
        elif number == _NODE_ATTRIBUTE:
            for inner, content in _fields(value):
                if isinstance(content, int):
                    continue
                if inner == _ATTRIBUTE_TENSOR:
                    _tensor(content, found)
                elif inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    _graph(content, found, depth + 1)


def _tensor(data: memoryview, found: OnnxFile) -> None:
    for number, value in _fields(data):
        if number == _TENSOR_TYPE and isinstance(value, int):
            found.initializer_types[value] += 1
        elif number == _TENSOR_EXTERNAL and isinstance(value, memoryview):
            entry = dict(_fields(value))
            if _text(entry.get(_ENTRY_KEY, 0)) == "location":
                location = _text(entry.get(_ENTRY_VALUE, 0))
                if location not in found.external:
                    found.external.append(location)
