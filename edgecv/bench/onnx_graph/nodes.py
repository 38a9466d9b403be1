"""The nodes, constants and declared shapes of an ONNX graph, read without the onnx package."""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import onnx_file as wire
from edgecv.bench.graph import Shape, Untold, size_bytes
from edgecv.errors import ModelLoadError
from edgecv.record import Record, field
from edgecv.types import Array

# Field numbers of onnx.proto3 beside those of `onnx_file`.
_GRAPH_VALUE_INFO, _NODE_NAME, _NODE_DOMAIN = 13, 3, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_STRING, _ATTRIBUTE_FLOATS, _ATTRIBUTE_INTS = 2, 4, 7, 8
_TENSOR_DIMS, _TENSOR_INT32, _TENSOR_INT64, _TENSOR_RAW = 1, 5, 7, 9
_FUNCTION_NAME, _FUNCTION_DOMAIN = 1, 10
_VALUE_TYPE, _TYPE_TENSOR, _TENSOR_TYPE_ELEMENT, _TENSOR_TYPE_SHAPE = 2, 1, 1, 2
_SHAPE_DIM, _DIM_VALUE = 1, 1

FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9
"""Some of TensorProto.DataType."""
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
DTYPES = {1: "<f4", 2: "<u1", 3: "<i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
FEW = 1024
"""Values of a constant above which none is read: shapes, axes and scales have fewer."""
MOST_AXES = 64
"""Of a tensor; NumPy's own limit."""
MOST_LETTERS = 200
"""Of a name that is told; a damaged file has them as long as itself."""
_UNSIGNED = (1 << 64) - 1
_GRAPH = object()


class Constant(Record, kw_only=True):
    """A tensor that the file holds.

    Attributes:
        shape: of it.
        type: TensorProto.DataType.
        stored: bytes of its values.
        value: the values, where they are few and inside the file.
    """

    shape: Shape
    type: int
    stored: int
    value: Array | None = None


class Declared(Record, kw_only=True):
    """What a file says about a tensor.

    Attributes:
        sizes: one for each axis, None where it is free; None where the rank is not said.
        type: TensorProto.DataType, 0 if it is not said.
    """

    sizes: tuple[int | None, ...] | None = None
    type: int = 0


class Node(Record, kw_only=True):
    """An operator with its attributes; ``''`` among the inputs is one that is left out.

    `op`, `name` and `domain` are cut to `MOST_LETTERS`; `nested` where it runs a graph of its
    own: an attribute holds it, or it is a function of the file.
    """

    op: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    nested: bool = False


class Nodes(Record, kw_only=True):
    """The main graph of a file, in its order."""

    opset: int = 1
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    declared: dict[str, Declared] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def read(main: Path | memoryview, where: str) -> Nodes:
    """Read an ONNX file.

    Raises:
        ModelLoadError: it is not readable as one.
    """
    try:
        if isinstance(main, Path):
            with main.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            main = memoryview(mapped)
        found = _Reader().model(main)
    except (ValueError, OSError, Untold) as error:
        raise ModelLoadError(f"not a readable ONNX file: {error}", where=where) from None
    if not found.outputs:
        raise ModelLoadError("not an ONNX file: it holds no graph", where=where)
    return found


def integers(values: list[int | memoryview]) -> list[int]:
    """Read a repeated int64, packed or one by one.

    Raises:
        ValueError: it is cut short, or longer than any shape.
    """
    if not _few(values):
        raise ValueError("more numbers than a shape has")
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = wire.read_varint(value, at)
            found.append(number)
    return [(number & _UNSIGNED) - (number >> 63 & 1) * (_UNSIGNED + 1) for number in found]


def _few(values: list[int | memoryview]) -> bool:
    """Tell whether these are no more than the numbers of a shape; ten bytes hold the largest."""
    return sum(10 if isinstance(value, int) else len(value) for value in values) <= 10 * FEW


class _Reader(wire.Wire):
    def model(self, data: memoryview) -> Nodes:
        opset, graph = 1, None
        functions: set[tuple[str, str]] = set()
        for number, value in self.views(data):
            if number == wire.MODEL_GRAPH:
                graph = value
            elif number == wire.MODEL_OPSET:
                entry = dict(self.fields(value))
                version = entry.get(wire.OPSET_VERSION, 0)
                domain = wire.read_text(entry.get(wire.OPSET_DOMAIN, 0))
                if isinstance(version, int) and domain in ("", "ai.onnx"):
                    opset = version
            elif number == wire.MODEL_FUNCTIONS:
                entry = dict(self.fields(value))
                domain, name = (
                    wire.read_text(entry.get(n, 0)) for n in (_FUNCTION_DOMAIN, _FUNCTION_NAME)
                )
                functions.add((domain, name))
        found = Nodes(opset=opset)
        if graph is not None:
            self.graph(graph, found)
        found.nodes[:] = [
            one.replace(nested=True) if (one.domain, one.op) in functions else one
            for one in found.nodes
        ]
        return found

    def graph(self, data: memoryview, found: Nodes) -> None:
        for number, value in self.views(data):
            if number == wire.GRAPH_NODE:
                found.nodes.append(self.node(value))
            elif number == wire.GRAPH_INITIALIZER:
                name, constant = self.tensor(value)
                found.constants[name] = constant
            elif number == wire.GRAPH_SPARSE:
                raise ValueError("weights in a sparse form, whose work is not counted")
            elif number in (wire.GRAPH_INPUT, wire.GRAPH_OUTPUT, _GRAPH_VALUE_INFO):
                name, declared = self.value_info(value)
                found.declared[name] = declared
                if number == wire.GRAPH_INPUT:
                    found.inputs.append(name)
                elif number == wire.GRAPH_OUTPUT:
                    found.outputs.append(name)
        # Old files list constants among the inputs.
        found.inputs[:] = [name for name in found.inputs if name not in found.constants]

    def node(self, data: memoryview) -> Node:
        texts: dict[int, list[str]] = {}
        attributes: dict[str, Any] = {}
        nested = False
        for number, value in self.views(data):
            if number == wire.NODE_ATTRIBUTE:
                name, content = self.attribute(value)
                if content is _GRAPH:
                    nested = True
                    continue
                attributes[name] = content
            else:
                texts.setdefault(number, []).append(wire.read_text(value))
        op, name, domain = (
            texts.get(number, [""])[-1][:MOST_LETTERS]
            for number in (wire.NODE_OP, _NODE_NAME, _NODE_DOMAIN)
        )
        inputs, outputs = (tuple(texts.get(n, ())) for n in (wire.NODE_INPUT, wire.NODE_OUTPUT))
        return Node(
            op=op,
            name=name,
            domain=domain,
            inputs=inputs,
            outputs=outputs,
            attributes=attributes,
            nested=nested,
        )

    def attribute(self, data: memoryview) -> tuple[str, Any]:
        """Read a name with an int, float, text, tensor, or a short list of ints or floats.

        A graph is `_GRAPH`; what else there is is None.
        """
        name = ""
        content: Any = None
        ints: list[int | memoryview] = []
        floats: list[memoryview] = []
        for number, value in self.fields(data):
            if number == _ATTRIBUTE_INTS:
                ints.append(value)
            elif number == wire.ATTRIBUTE_INT and isinstance(value, int):
                (content,) = integers([value])
            elif isinstance(value, int):
                continue
            elif number == wire.ATTRIBUTE_NAME:
                name = wire.read_text(value)
            elif number == _ATTRIBUTE_FLOAT and len(value) == 4:
                (content,) = struct.unpack("<f", value)
            elif number == _ATTRIBUTE_FLOATS:
                floats.append(value)
            elif number == _ATTRIBUTE_STRING:
                content = wire.read_text(value)
            elif number in (wire.ATTRIBUTE_GRAPH, wire.ATTRIBUTE_GRAPHS):
                content = _GRAPH
            elif number == wire.ATTRIBUTE_TENSOR:
                content = self.tensor(value)[1]
        if ints:
            content = integers(ints) if _few(ints) else None
        size = sum(map(len, floats))
        if floats and size <= 4 * FEW and size % 4 == 0:
            content = list(struct.unpack(f"<{size // 4}f", b"".join(floats)))
        return name, content

    def tensor(self, data: memoryview) -> tuple[str, Constant]:
        kind, name = 0, ""
        dims: list[int | memoryview] = []
        parts: dict[int, list[int | memoryview]] = {}
        for number, value in self.fields(data):
            if number == _TENSOR_DIMS:
                dims.append(value)
            elif number == wire.TENSOR_TYPE and isinstance(value, int):
                kind = value
            elif number == wire.TENSOR_NAME:
                name = wire.read_text(value)
            elif number in wire.TENSOR_DATA:
                parts.setdefault(number, []).append(value)
        shape = tuple(integers(dims))
        if len(shape) > MOST_AXES:
            raise ValueError(f"a tensor of {len(shape)} axes")
        if kind not in BITS:
            raise ValueError(f"a tensor of type {kind}")
        stored = size_bytes(shape, BITS[kind])
        few = kind in DTYPES and math.prod(shape) <= FEW
        read = _values(kind, shape, parts) if few else None
        return name, Constant(shape=shape, type=kind, stored=stored, value=read)

    def value_info(self, data: memoryview) -> tuple[str, Declared]:
        entry = dict(self.views(data))
        name = wire.read_text(entry.get(wire.VALUE_NAME, 0))
        kind = dict(self.views(entry.get(_VALUE_TYPE, memoryview(b"")))).get(_TYPE_TENSOR)
        if kind is None:
            return name, Declared()
        tensor = dict(self.fields(kind))
        element, shape = tensor.get(_TENSOR_TYPE_ELEMENT, 0), tensor.get(_TENSOR_TYPE_SHAPE)
        sizes = None
        if isinstance(shape, memoryview):
            dims = [dict(self.fields(d)) for n, d in self.views(shape) if n == _SHAPE_DIM]
            sizes = tuple(_size(dim.get(_DIM_VALUE)) for dim in dims[:MOST_AXES])
        return name, Declared(sizes=sizes, type=element if isinstance(element, int) else 0)


def _size(value: int | memoryview | None) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 63 else None


def _values(kind: int, shape: Shape, parts: dict[int, list[int | memoryview]]) -> Array | None:
    """Read the values of a small tensor; None where they are elsewhere or do not fit the shape."""
    dtype = np.dtype(DTYPES[kind])
    if _TENSOR_INT64 in parts or _TENSOR_INT32 in parts:
        given = parts.get(_TENSOR_INT64, parts.get(_TENSOR_INT32, []))
        if dtype.kind == "f" or not _few(given):
            return None
        numbers = integers(given)
        values = np.array(numbers, np.int64).astype(dtype)
    else:
        fields = [value for one in parts.values() for value in one if isinstance(value, memoryview)]
        raw = b"".join(bytes(value) for value in fields)
        if len(raw) % dtype.itemsize or (_TENSOR_RAW not in parts and kind not in (1, 11)):
            return None
        values = np.frombuffer(raw, dtype)
    return values.reshape(shape) if values.size == math.prod(shape) else None
