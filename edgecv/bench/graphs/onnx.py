"""ONNX: shapes and types follow from the inputs', operator by operator.

What the file declares (``value_info``) stands in only where an operator's own rule cannot tell. A
free batch is 1; free sides of an image are those that the caller names.
"""

from __future__ import annotations

import numpy as np

from edgecv.bench.graph import LARGEST, Graph, Operation, Role, Shape, Tensor, Untold
from edgecv.bench.onnx_graph import nodes as onnx_nodes
from edgecv.bench.onnx_graph import shapes as onnx_shapes
from edgecv.bench.onnx_graph import values as onnx_values
from edgecv.bench.onnx_graph.call import Call
from edgecv.bench.onnx_graph.nodes import (
    BITS,
    BOOL,
    FLOAT,
    INT32,
    INT64,
    UINT8,
    Constant,
    Declared,
    Node,
)
from edgecv.bench.onnx_graph.windows import FACTORS, WEIGHTS, macs
from edgecv.types import Array, ModelSource

SUFFIXES = (".onnx",)

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_MULTIPLYING = {*WEIGHTS, *FACTORS, "MatMulNBits"}
_TRUTHS = {
    "And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not",
    "Or", "Xor",
}  # fmt: skip
_COUNTS = {"ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "Shape", "Size"}
# Operator -> the input whose type the result has, where it is not the first.
_TYPE_FROM = {
    "DequantizeLinear": 1, "MatMulIntegerToFloat": 2, "OneHot": 2, "QLinearAdd": 7,
    "QLinearConcat": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QLinearMul": 7, "Where": 1,
}  # fmt: skip


def read(source: ModelSource, size_hw: tuple[int, int] | None) -> Graph:
    """Read a graph.

    Raises:
        ModelLoadError: it is no such file.
    """
    return _Propagation(onnx_nodes.read(source.main, str(source)), size_hw).graph()


class _Propagation:
    """One walk over the nodes, in the file's order, which the format demands to be that of time."""

    def __init__(self, file: onnx_nodes.Nodes, size_hw: tuple[int, int] | None) -> None:
        self.file = file
        self.tensors: dict[str, Tensor] = {}
        self.types: dict[str, int] = {}
        self.values: dict[str, Array] = {}
        for name, constant in file.constants.items():
            self.keep(name, constant)
        for name in file.inputs:
            declared = file.declared[name]
            self.types[name] = declared.type
            shape = _input_shape(declared, size_hw)
            why = f"input {_short(name)} leaves its size free"
            self.tensors[name] = Tensor(shape=shape, bits=BITS.get(declared.type), why=why)

    def keep(self, name: str, constant: Constant) -> None:
        self.types[name] = constant.type
        bits = BITS.get(constant.type)
        self.tensors[name] = Tensor(shape=constant.shape, bits=bits, stored=constant.stored)
        if constant.value is not None:
            self.values[name] = constant.value

    def graph(self) -> Graph:
        operations = [one for node in self.file.nodes if (one := self.node(node)) is not None]
        for name in self.file.outputs:
            self.tensors.setdefault(name, Tensor(why=f"nothing makes {_short(name)}"))
        return Graph(
            tensors=self.tensors,
            operations=tuple(operations),
            inputs=tuple(self.file.inputs),
            outputs=tuple(self.file.outputs),
        )

    def node(self, node: Node) -> Operation | None:
        """Take up what a node makes; None for one that reads nothing in an inference."""
        if node.op == "Constant":
            constant = _constant(node)
            if constant is not None and node.outputs:
                self.keep(node.outputs[0], constant)
                return None
        for name in node.inputs:
            # Behind it in the file, in an outer graph, or nowhere.
            why = f"nothing before {node.op} makes {_short(name)}"
            self.tensors.setdefault(name, Tensor(why=why))
        call = Call(
            node=node,
            opset=self.file.opset,
            shapes=[self.tensors[name].shape if name else None for name in node.inputs],
            values=[self.values.get(name) for name in node.inputs],
        )
        shapes, why = self.shapes(call)
        values = _fold(call, shapes)
        for i, name in enumerate(node.outputs):
            self.take(node, i, name, shapes[i], values[i], why)
        outputs = tuple(filter(None, node.outputs))
        known = bool(outputs) and all(name in self.values for name in outputs)
        # These read nothing. What else is known follows from constants, whose bytes count.
        if known and node.op in ("Shape", "Size"):
            return None
        count, reason = self.macs(call, shapes)
        role: Role = "plain"
        if len(outputs) == 1:
            if node.op in onnx_shapes.VIEWS:
                role = "view"
            elif node.op in onnx_shapes.ELEMENTWISE:
                role = "elementwise"
        return Operation(
            kind=node.op,
            inputs=tuple(filter(None, node.inputs)),
            outputs=outputs,
            macs=count,
            role=role,
            why=reason or why,
            nested=node.nested,
        )

    def shapes(self, call: Call) -> tuple[list[Shape | None], str]:
        """Return the shape of each result, and why one is not told."""
        node = call.node
        count = len(node.outputs)
        try:
            if node.domain not in _DOMAINS or node.op not in onnx_shapes.RULES:
                raise Untold("no rule for its shape")
            if call.get("channels_last"):
                raise Untold("channels_last")
            made = onnx_shapes.RULES[node.op](call)
            found: list[Shape | None] = [*made] if isinstance(made, list) else [made]
            if any(not 0 <= size <= LARGEST for shape in found for size in shape or ()):
                raise Untold("its result would have no size, or none within reason")
            if any(len(shape or ()) > onnx_nodes.MOST_AXES for shape in found):
                raise Untold("its result has more axes than any engine allows")
            return (found + [None] * count)[:count], "only its first result has a rule"
        except Untold as reason:
            why = str(reason)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            why = "its inputs and attributes do not fit together"
        # The first cause says more than what follows from it.
        unknown = [self.tensors[name] for name in node.inputs if name]
        earlier = next((t.why for t in unknown if t.shape is None), "")
        label = node.name or _short(next(iter(node.outputs), ""))
        return [None] * count, earlier or f"{node.op} {label}: {why}"

    def take(
        self, node: Node, at: int, name: str, shape: Shape | None, value: Array | None, why: str
    ) -> None:
        """Note what is known of a result."""
        if not name:
            return
        declared = self.file.declared.get(name, Declared())
        kind = self.type(node, at) or declared.type
        if shape is None and declared.sizes is not None:
            sizes = tuple(size for size in declared.sizes if size is not None)
            shape = sizes if len(sizes) == len(declared.sizes) else None
        self.types[name] = kind
        if value is not None:
            self.values[name] = value
        self.tensors[name] = Tensor(
            shape=shape, bits=BITS.get(kind), stored=0 if value is not None else None, why=why
        )

    def type(self, node: Node, output: int) -> int:
        """Return the type of a result, 0 where it is not known."""
        op, attributes = node.op, node.attributes
        given = [self.types.get(name, 0) for name in node.inputs]
        if op == "Cast":
            return int(attributes.get("to") or 0)
        if op == "QuantizeLinear":
            named = attributes.get("output_dtype") or UINT8
            return given[2] if len(given) > 2 and given[2] else int(named)
        if op == "DynamicQuantizeLinear":
            return (UINT8, FLOAT, UINT8)[output] if output < 3 else 0
        if op in ("ConvInteger", "MatMulInteger"):
            return INT32
        if op in _TRUTHS:
            return BOOL
        if op in _COUNTS or (op in ("TopK", "MaxPool") and output == 1):
            return INT64
        if op == "Dropout" and output == 1:
            return BOOL
        if op == "ConstantOfShape":
            filler = attributes.get("value")
            return FLOAT if filler is None else int(filler.type)
        if op == "QGemm":
            return given[8] if len(given) > 8 and given[8] else FLOAT
        at = _TYPE_FROM.get(op, 0)
        known = op in onnx_shapes.RULES and node.domain in _DOMAINS
        return given[at] if known and at < len(given) else 0

    def macs(self, call: Call, shapes: list[Shape | None]) -> tuple[int | None, str]:
        """Count the work of a node, or say why it cannot be."""
        node = call.node
        if node.nested:
            return None, "its work is not counted"
        if node.domain in _DOMAINS and node.op in _MULTIPLYING:
            try:
                return (
                    (macs(call, shapes[0]), "") if shapes and shapes[0] is not None else (None, "")
                )
            except Untold as reason:
                return None, str(reason)
        known = node.op in onnx_shapes.RULES or node.op in onnx_shapes.DEPENDENT
        if node.domain in _DOMAINS and known:
            return 0, ""
        return None, "its work is not counted"


def _short(name: str) -> str:
    return name[: onnx_nodes.MOST_LETTERS]


def _input_shape(declared: Declared, size_hw: tuple[int, int] | None) -> Shape | None:
    if declared.sizes is None:
        return None
    sizes = list(declared.sizes)
    if sizes and sizes[0] is None:
        sizes[0] = 1
    # Two neighbouring free axes beside a fixed number of channels are height and width.
    if size_hw is not None and len(sizes) == 4:
        for first, channels in ((2, 1), (1, 3)):
            if sizes[first] is sizes[first + 1] is None and sizes[channels] is not None:
                sizes[first : first + 2] = size_hw
    shape = tuple(size for size in sizes if size is not None)
    return shape if len(shape) == len(sizes) else None


def _constant(node: Node) -> Constant | None:
    """Read a Constant; None for one in a form that holds no numbers."""
    for name, kind in (("value_int", INT64), ("value_ints", INT64), ("value_float", FLOAT),
                       ("value_floats", FLOAT)):  # fmt: skip
        if node.attributes.get(name) is not None:
            value = np.array(node.attributes[name], onnx_nodes.DTYPES[kind])
            return Constant(shape=value.shape, type=kind, stored=value.nbytes, value=value)
    tensor = node.attributes.get("value")
    return tensor if isinstance(tensor, Constant) else None


def _fold(call: Call, shapes: list[Shape | None]) -> list[Array | None]:
    try:
        return onnx_values.fold(call, shapes)
    except (ArithmeticError, LookupError, TypeError, ValueError, Untold):
        return [None] * len(shapes)
