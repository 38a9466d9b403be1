"""What can be known of an ONNX graph: its layers, its tail, its activations' ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import float_islands, onnx_edit
from edgecv.converters import tail as tails
from edgecv.converters.layers import Fingerprint, Layer
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

Range = tuple[float, float]

LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
JOIN_OPS = ("Concat", "ScatterND", "ScatterElements")
"""Ops that put tensors side by side into one; of the scatters, the data and the updates."""

_RATIO = 8.0
_BEYOND = 4.0
_REDUCED = {1: "float32", 10: "float16", 11: "float64"}


@dataclass(frozen=True, slots=True)
class Join:
    """A node that joins tensors whose ranges have nothing in common.

    Attributes:
        name: of the node.
        op: of the node.
        low: tensor with the smaller range, and the range.
        high: tensor with the larger range, and the range.
    """

    name: str
    op: str
    low: tuple[str, Range]
    high: tuple[str, Range]

    def __str__(self) -> str:
        (small, (a, b)), (large, (c, d)) = self.low, self.high
        return (
            f"{small} in {a:.4g}..{b:.4g} and {large} in {c:.4g}..{d:.4g} ({self.op} {self.name})"
        )


def layers(model: onnx.ModelProto) -> list[Layer]:
    """List the convolutions and matrix products with constant weights, in the graph's order."""
    graph = onnx_edit.Graph(model)
    found = []
    for node in graph.nodes:
        weights = layer_weights(graph, node)
        if weights is not None:
            found.append(Layer(node.name, node.op_type, Fingerprint.of(weights)))
    return found


def layer_weights(graph: onnx_edit.Graph, node: onnx.NodeProto) -> Array | None:
    """Return the constant weights of a layer; None where a node is no layer."""
    if node.op_type not in LAYER_OPS or node.domain:
        return None
    weights = graph.weights(node)
    if weights is None and node.op_type == "MatMul":
        weights = graph.weights(node, 0)
    # A matrix product with a vector or a scalar is no layer that a quantizer knows.
    return weights if weights is not None and weights.ndim >= 2 else None


def tail(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name the nodes behind the last layers, in the graph's order; see `edgecv.converters.tail`."""
    named = {layer.name for layer in layers(model)}
    outputs = onnx_edit.Graph(model).outputs
    return tails.tail(nodes(model), outputs, lambda node: node.name in named)


def nodes(model: onnx.ModelProto) -> list[tails.Node]:
    """List the nodes in the form that format-neutral analyses take; without constants."""
    return [
        tails.Node(node.name, node.op_type, tuple(onnx_edit.taken(node)), tuple(node.output))
        for node in onnx_edit.Graph(model).nodes
        if node.op_type != "Constant"
    ]


def feeding(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Find the layers right before each layer; see `edgecv.converters.float_islands.feeding`."""
    named = {layer.name for layer in layers(model)}
    return float_islands.feeding(nodes(model), lambda node: node.name in named)


def joined(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Return the joins in the tail: name of the node -> the tensors that it joins."""
    inside = set(tail(model))
    return {
        node.name: _parts(node)
        for node in model.graph.node
        if node.op_type in JOIN_OPS and node.name in inside
    }


def mixed_outputs(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> tuple[Join, ...]:
    """Find the joins in the tail whose parts have nothing in common.

    With one scale for all, the parts with small values would be rounded to nothing: a class score
    beside a pixel coordinate becomes 0.

    Args:
        model: the graph.
        ranges: measured (lowest, highest) of tensors; `joined` names those that are needed. A
            constant's is read from the graph; a part without one is not judged, nor is one that
            was 0 throughout.
    """
    graph = onnx_edit.Graph(model)
    ops = {node.name: node.op_type for node in graph.nodes}
    found = []
    for name, parts in joined(model).items():
        known = {}
        for part in dict.fromkeys(parts):
            measured = _range(graph, part, ranges)
            if measured is not None and _magnitude(measured) > 0:
                known[part] = measured
        pairs = [
            sorted(pair, key=lambda item: _magnitude(item[1]))
            for pair in combinations(known.items(), 2)
        ]
        mixed = [pair for pair in pairs if _differ(pair[0][1], pair[1][1])]
        if mixed:
            low, high = max(mixed, key=lambda pair: _ratio(pair[0][1], pair[1][1]))
            found.append(Join(name, ops[name], low, high))
    return tuple(found)


def mixed_joins(model: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]]) -> tuple[Join, ...]:
    """Measure the ranges that `mixed_outputs` needs, and find such joins."""
    parts = dict.fromkeys(part for names in joined(model).values() for part in names)
    return mixed_outputs(model, activation_ranges(model, feeds, list(parts)) if parts else {})


def activation_ranges(
    model: onnx.ModelProto,
    feeds: Iterable[Mapping[str, Array]],
    tensors: Sequence[str] | None = None,
) -> dict[str, Range]:
    """Measure the lowest and highest value of tensors over all feeds.

    The graph itself reduces each tensor to two numbers, so memory does not grow with their number
    or size, nor with the number of feeds.

    Args:
        model: not changed.
        feeds: input name -> array.
        tensors: names; None means the inputs and all floats that nodes make.

    Returns:
        (lowest, highest) of each; without those that are no floats, or empty without feeds.

    Raises:
        StepError: ONNX Runtime cannot run the graph.
    """
    import onnx
    from onnx import helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kinds = _float_tensors(copy)
    wanted = [name for name in (kinds if tensors is None else tensors) if name in kinds]
    inputs = {value.name for value in onnx_edit.Graph(copy).inputs}
    reduced = [name for name in wanted if name not in inputs]
    del copy.graph.output[:]
    for at, name in enumerate(reduced):
        for op, end in (("ReduceMin", "low"), ("ReduceMax", "high")):
            made = f"__{end}_{at}"
            copy.graph.node.append(helper.make_node(op, [name], [made], keepdims=0))
            copy.graph.output.append(helper.make_tensor_value_info(made, kinds[name], []))
    opened = onnx_edit.session(copy) if reduced else None
    found: dict[str, Range] = {}
    for feed in feeds:
        for name in wanted:
            if name in inputs:
                _widen(found, name, feed[name].min(), feed[name].max())
        if opened is not None:
            seen = onnx_edit.run(opened, feed)
            for at, name in enumerate(reduced):
                _widen(found, name, seen[f"__low_{at}"], seen[f"__high_{at}"])
    return {name: found[name] for name in wanted if name in found}


def _float_tensors(model: onnx.ModelProto) -> dict[str, int]:
    """Return the inputs and computed tensors of a float type, with ONNX's number of it."""
    import onnx

    graph = onnx_edit.Graph(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {
        value.name: int(value.type.tensor_type.elem_type)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    names = [value.name for value in graph.inputs]
    for node in graph.nodes:
        if node.op_type != "Constant":
            names += [name for name in node.output if name]
    return {name: kinds[name] for name in names if kinds.get(name) in _REDUCED}


def _widen(found: dict[str, Range], name: str, low: Array, high: Array) -> None:
    before = found.get(name, (float("inf"), float("-inf")))
    found[name] = (min(before[0], float(low)), max(before[1], float(high)))


def _parts(node: onnx.NodeProto) -> tuple[str, ...]:
    if node.op_type == "Concat":
        return tuple(node.input)
    return (node.input[0], node.input[2])


def _range(graph: onnx_edit.Graph, name: str, ranges: Mapping[str, Range]) -> Range | None:
    constant = graph.constant(name)
    if constant is not None and constant.size:
        return float(np.min(constant)), float(np.max(constant))
    return ranges.get(name)


def _magnitude(measured: Range) -> float:
    return max(abs(measured[0]), abs(measured[1]))


def _ratio(low: Range, high: Range) -> float:
    return _magnitude(high) / _magnitude(low)


def _differ(low: Range, high: Range) -> bool:
    """Tell whether two ranges, the smaller first, have nothing in common."""
    score = low[0] >= 0 and low[1] <= 1
    return _ratio(low, high) >= _RATIO or (score and _magnitude(high) > _BEYOND)
