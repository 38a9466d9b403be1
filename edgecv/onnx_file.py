"""Read from an ONNX file what it says about itself, without the onnx package.

A walk over the protobuf wire format (varint, 64-bit, length-delimited and 32-bit fields; see the
Protocol Buffers encoding guide) with the field numbers of ``onnx.proto3``. Tensor data is stepped
over, not read. Every length is checked against the bytes that are there, and the number of fields
is bounded, so a hostile file is refused within seconds.
"""

from __future__ import annotations

import mmap
from collections import Counter
from pathlib import Path

from edgecv.errors import ModelLoadError
from edgecv.types import Precision

# Field numbers of onnx.proto3.
MODEL_IR, MODEL_GRAPH, MODEL_OPSET, MODEL_FUNCTIONS = 1, 7, 8, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 11, 12, 15
VALUE_NAME = 1
NODE_INPUT, NODE_OUTPUT, NODE_OP, NODE_ATTRIBUTE = 1, 2, 4, 5
FUNCTION_NODE = 7
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH = 1, 3, 5, 6
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSE = 10, 11, (22, 23)
TENSOR_TYPE, TENSOR_NAME, TENSOR_EXTERNAL = 2, 8, 13
# float, int32, int64, raw, double and uint64 data: one of them holds the values.
TENSOR_DATA = (4, 5, 7, 9, 10, 11)
SPARSE_TENSORS = (1, 2)
ENTRY_KEY, ENTRY_VALUE = 1, 2
OPSET_DOMAIN, OPSET_VERSION = 1, 2

_FLOAT_TYPES: dict[int, Precision] = {1: "fp32", 10: "fp16", 16: "bf16"}
# Products of integers; DynamicQuantizeLinear feeds the second and third of them.
_INTEGER_OPS = {
    "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul", "QGemm",
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
}  # fmt: skip
_WEIGHT_ONLY_OPS = {"MatMulNBits"}
_HEAVY_OPS = {"Conv", "ConvTranspose", "MatMul", "Gemm"}
_PASSING_OPS = {"Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"}
_MAX_PASSING = 8
_MAX_DEPTH = 16
_MAX_FIELDS = 500_000


class _Node:
    __slots__ = ("inputs", "op", "outputs")

    def __init__(self) -> None:
        self.op = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []


class OnnxFile:
    """What an ONNX file says.

    Attributes:
        ir_version: of the format.
        opsets: domain ('' is ONNX's own) -> version.
        inputs: names of the graph's inputs (old files list initializers too).
        outputs: names of the graph's outputs.
        ops: op type -> how often it occurs, subgraphs and functions included.
        layers: precision -> number of convolutions and matrix products that compute in it:
            ``int8`` where both operands are quantized (QDQ, integer ops, also those whose input is
            quantized at run time), ``int8-weights`` where the weights alone are, else by the type
            of the weights. Products whose operands' type cannot be seen are not counted.
        external: locations of external data, as the file names them.
        weights_bytes: of the values of all tensors inside the file.
    """

    def __init__(self) -> None:
        """Make the description of a file that says nothing."""
        self.ir_version = 0
        self.opsets: dict[str, int] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.ops: Counter[str] = Counter()
        self.layers: Counter[Precision] = Counter()
        self.external: list[str] = []
        self.weights_bytes = 0


def read(source: Path | memoryview, name: str = "ONNX file") -> OnnxFile:
    """Read an ONNX file.

    Args:
        source: the file, or its bytes.
        name: of bytes, for messages.

    Raises:
        ModelLoadError: it is not a protobuf message of this kind, is cut short, or is absurdly
            large in structure.
    """
    where = str(source) if isinstance(source, Path) else name
    try:
        if isinstance(source, memoryview):
            found = _Walk(source).model()
        else:
            with source.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            # Closed with the last view of it; an error on its way up still holds some.
            found = _Walk(memoryview(mapped)).model()
    except (ValueError, OSError) as error:
        raise ModelLoadError(f"not a readable ONNX file: {error}", where=where) from None
    if not found.ops and not found.outputs:
        raise ModelLoadError("not an ONNX file: it holds no graph", where=where)
    return found


def read_text(value: int | memoryview) -> str:
    """Decode a string; names need not be UTF-8 in a file that a fuzzer made."""
    return str(value, "utf-8", "backslashreplace") if isinstance(value, memoryview) else ""


class Wire:
    """Reads the fields of messages, of one file no more than _MAX_FIELDS."""

    def __init__(self) -> None:
        self.fields_left = _MAX_FIELDS

    def fields(self, data: memoryview) -> list[tuple[int, int | memoryview]]:
        """List (field number, value): an int for varints, a view of the bytes for all others.

        The inner loop of everything here, hence the code of `read_varint` for numbers of one byte.
        """
        found: list[tuple[int, int | memoryview]] = []
        at, end, left = 0, len(data), self.fields_left
        while at < end:
            left -= 1
            if left < 0:
                raise ValueError(f"more than {_MAX_FIELDS} fields")
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = read_varint(data, at - 1)
            kind = tag & 7
            if kind in (0, 2):
                if at < end and data[at] < 0x80:
                    size = data[at]
                    at += 1
                else:
                    size, at = read_varint(data, at)
                if kind == 0:
                    found.append((tag >> 3, size))
                    continue
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise ValueError(f"unknown kind of field {kind}")
            start, at = at, at + size
            if at > end:
                raise ValueError("a field reaches beyond the end")
            found.append((tag >> 3, data[start:at]))
        self.fields_left = left
        return found

    def views(self, data: memoryview) -> list[tuple[int, memoryview]]:
        """List the fields that are no varints."""
        return [(n, value) for n, value in self.fields(data) if isinstance(value, memoryview)]


class _Walk(Wire):
    """One pass over a file."""

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self.data = data
        self.found = OnnxFile()
        self.nodes: list[_Node] = []
        self.types: dict[str, int] = {}

    def model(self) -> OnnxFile:
        for number, value in self.fields(self.data):
            if isinstance(value, int):
                if number == MODEL_IR:
                    self.found.ir_version = value
            elif number == MODEL_GRAPH:
                self.graph(value, 0)
            elif number == MODEL_OPSET:
                entry = dict(self.fields(value))
                version = entry.get(OPSET_VERSION, 0)
                if isinstance(version, int):
                    self.found.opsets[read_text(entry.get(OPSET_DOMAIN, 0))] = version
            elif number == MODEL_FUNCTIONS:
                for inner, content in self.views(value):
                    if inner == FUNCTION_NODE:
                        self.node(content, 1)
        self.found.ops.update(node.op for node in self.nodes)
        self.count_layers()
        return self.found

    def graph(self, data: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("graphs are nested too deeply")
        for number, value in self.views(data):
            if number == GRAPH_NODE:
                self.node(value, depth)
            elif number == GRAPH_INITIALIZER:
                self.tensor(value)
            elif number == GRAPH_SPARSE:
                self.sparse(value)
            elif depth == 0 and number in (GRAPH_INPUT, GRAPH_OUTPUT):
                names = self.found.inputs if number == GRAPH_INPUT else self.found.outputs
                names += [
                    read_text(name) for inner, name in self.views(value) if inner == VALUE_NAME
                ]

    def node(self, data: memoryview, depth: int) -> None:
        node = _Node()
        made: list[int] = []
        for number, value in self.views(data):
            if number == NODE_INPUT:
                node.inputs.append(read_text(value))
            elif number == NODE_OUTPUT:
                node.outputs.append(read_text(value))
            elif number == NODE_OP:
                node.op = read_text(value)
            elif number == NODE_ATTRIBUTE:
                made += self.attribute(value, depth)
        # Constant and Cast say what they make; other nodes' attributes say nothing about outputs.
        if made and node.op in ("Constant", "Cast"):
            self.types.update(dict.fromkeys(node.outputs, made[0]))
        self.nodes.append(node)

    def attribute(self, data: memoryview, depth: int) -> list[int]:
        """Walk tensors and graphs of an attribute; return the types that it names."""
        types: list[int] = []
        name, integer = "", 0
        for number, value in self.fields(data):
            if isinstance(value, int):
                integer = value if number == ATTRIBUTE_INT else integer
            elif number == ATTRIBUTE_NAME:
                name = read_text(value)
            elif number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                types.append(self.tensor(value))
            elif number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                self.graph(value, depth + 1)
            elif number in ATTRIBUTE_SPARSE:
                self.sparse(value)
        return [integer] if name == "to" else types

    def sparse(self, data: memoryview) -> None:
        for number, value in self.views(data):
            if number in SPARSE_TENSORS:
                self.tensor(value)

    def tensor(self, data: memoryview) -> int:
        """Note a tensor's type under its name and its external data; return the type."""
        kind, name = 0, ""
        for number, value in self.fields(data):
            if isinstance(value, int):
                kind = value if number == TENSOR_TYPE else kind
            elif number == TENSOR_NAME:
                name = read_text(value)
            elif number in TENSOR_DATA:
                self.found.weights_bytes += len(value)
            elif number == TENSOR_EXTERNAL:
                entry = dict(self.fields(value))
                location = read_text(entry.get(ENTRY_VALUE, 0))
                if read_text(entry.get(ENTRY_KEY, 0)) == "location":
                    self.found.external.append(location)
        self.types[name] = kind
        return kind

    def count_layers(self) -> None:
        self.found.external = list(dict.fromkeys(self.found.external))
        makers = {name: node for node in self.nodes for name in node.outputs}

        def origin(name: str) -> tuple[str, str]:
            """Return the tensor behind ops that only pass values on, and the op that made it."""
            for _ in range(_MAX_PASSING):
                node = makers.get(name)
                if node is None or node.op not in _PASSING_OPS or not node.inputs:
                    break
                name = node.inputs[0]
            return name, makers[name].op if name in makers else ""

        for node in self.nodes:
            if node.op in _INTEGER_OPS:
                self.found.layers["int8"] += 1
            elif node.op in _WEIGHT_ONLY_OPS:
                self.found.layers["int8-weights"] += 1
            elif node.op in _HEAVY_OPS and len(node.inputs) > 1:
                (data, data_op), (weight, weight_op) = map(origin, node.inputs[:2])
                if weight_op == "DequantizeLinear":
                    both = data_op == "DequantizeLinear"
                    self.found.layers["int8" if both else "int8-weights"] += 1
                    continue
                known = _FLOAT_TYPES.get(self.types.get(weight, self.types.get(data, 0)))
                if known is not None:
                    self.found.layers[known] += 1


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a number of the wire format: its value, and where the next byte is.

    Raises:
        ValueError: it is cut short, or longer than 64 bits.
    """
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
