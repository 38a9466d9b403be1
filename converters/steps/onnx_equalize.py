"""Cross-layer equalization: channels of neighbouring convolutions brought to equal ranges.

Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and Bias
Correction, ICCV 2019, section 4.1. For f with f(s x) = s f(x), s > 0, the output channel i of the
first layer may be divided by s_i and the input channel i of the second multiplied by it; with
s_i = sqrt(r1_i r2_i) / r2_i both have the same range (eq. 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit, onnx_parity
from edgecv.converters.artifact import Artifact
from edgecv.converters.onnx_edit import Graph
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx",)

_STEP = "onnx_equalize"
_ROUNDS = 40
_STILL = 1e-3
_LARGEST = 1e4
# Positively homogeneous, a channel at a time; their padding is 0 or minus infinity.
_BETWEEN = {
    "Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    "Identity",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Pair:
    first: str
    second: str


def equalizable(model: onnx.ModelProto) -> int:
    """Count the pairs of convolutions that can be equalized; 0 where the step does not apply.

    Between two of a pair there is nothing but what scales with its input (ReLU, leaky ReLU,
    pooling), and nothing else takes the tensors between them. ReLU6 and SiLU do not scale.
    """
    return len(_pairs(Graph(model)))


def equalize(artifact: Artifact, folder: Path) -> Artifact:
    """Write the graph with the channels of its neighbouring convolutions equalized.

    Args:
        artifact: a normal ONNX graph in float.
        folder: where to.

    Returns:
        The graph, which computes the same; a note says how many pairs there are.

    Raises:
        StepError: the file cannot be read or written as ONNX.
        ParityError: the result does not compute the same.
    """
    before = onnx_edit.load(artifact.path)
    graph = Graph.open(artifact.path)
    pairs = _pairs(graph)
    nodes = {node.name: node for node in graph.nodes}
    named = dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second))
    weights = {name: _float64(graph.weights(nodes[name])) for name in named}
    divisors = _settle(pairs, weights, {name: _group(nodes[name]) for name in named})
    for name, value in weights.items():
        old = graph.weights(nodes[name])
        assert old is not None
        graph.set_input(nodes[name], 1, value.astype(old.dtype))
        bias = graph.weights(nodes[name], 2)
        if bias is not None and name in divisors:
            graph.set_input(nodes[name], 2, (bias / divisors[name]).astype(bias.dtype))
    path = graph.save(folder)
    feed = onnx_parity.random_feed(before)
    onnx_parity.check_same(before, graph.model, [(feed, feed)], step=_STEP)
    made = Artifact("onnx", (path,), artifact.precision, artifact.layout, artifact.in_graph)
    return made.noting(*artifact.notes, f"{len(pairs)} pairs of convolutions equalized")


def _settle(
    pairs: list[_Pair], weights: dict[str, Array], groups: dict[str, int]
) -> dict[str, Array]:
    """Equalize all pairs in place, again and again, until nothing moves.

    Returns:
        First layer of a pair -> what its output channels were divided by in all.
    """
    divisors = {pair.first: np.ones(len(weights[pair.first])) for pair in pairs}
    for _ in range(_ROUNDS):
        moved = 0.0
        for pair in pairs:
            first, second = weights[pair.first], weights[pair.second]
            r1 = np.abs(first).reshape(len(first), -1).max(axis=1)
            r2 = _input_ranges(second, groups[pair.second])
            alive = (r1 > 0) & (r2 > 0)
            scale = np.ones(len(r1))
            scale[alive] = np.sqrt(r1[alive] / r2[alive])
            # A channel that is nearly dead must not be blown up until it drowns in rounding.
            total = np.clip(divisors[pair.first] * scale, 1 / _LARGEST, _LARGEST)
            scale = total / divisors[pair.first]
            divisors[pair.first] = total
            weights[pair.first] = first / scale.reshape(-1, *[1] * (first.ndim - 1))
            weights[pair.second] = _scale_inputs(second, scale, groups[pair.second])
            moved = max(moved, float(np.abs(np.log(scale)).max()))
        if moved < _STILL:
            break
    return divisors


def _input_ranges(weights: Array, group: int) -> Array:
    """Return the largest magnitude for each input channel of weights (O, I / group, ...)."""
    outputs, inputs = weights.shape[:2]
    split = np.abs(weights).reshape(group, outputs // group, inputs, -1)
    ranges: Array = split.max(axis=(1, 3)).reshape(group * inputs)
    return ranges


def _scale_inputs(weights: Array, scale: Array, group: int) -> Array:
    """Multiply the input channels of weights (O, I / group, ...) by scale (I,)."""
    outputs, inputs = weights.shape[:2]
    split = weights.reshape(group, outputs // group, inputs, -1)
    scaled: Array = (split * scale.reshape(group, 1, inputs, 1)).reshape(weights.shape)
    return scaled


def _pairs(graph: Graph) -> list[_Pair]:
    found = []
    for node in graph.nodes:
        if not _own_weights(graph, node):
            continue
        at = graph.sole_consumer(node.output[0])
        tensor = node.output[0]
        while at is not None and _passes(graph, at, tensor):
            tensor = at.output[0]
            at = graph.sole_consumer(tensor)
        if at is not None and _own_weights(graph, at) and at.input[0] == tensor:
            found.append(_Pair(node.name, at.name))
    return found


def _passes(graph: Graph, node: onnx.NodeProto, tensor: str) -> bool:
    if node.op_type not in _BETWEEN or node.input[0] != tensor:
        return False
    if node.op_type == "PRelu" and graph.weights(node) is None:
        return False
    return len([name for name in node.output if name]) == 1


def _own_weights(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a node is a convolution whose constants can be changed for it alone."""
    if node.op_type != "Conv" or graph.weights(node) is None:
        return False
    shared = len(graph.consumers[node.input[1]]) > 1
    computed_bias = len(node.input) > 2 and node.input[2] and graph.weights(node, 2) is None
    return not shared and not computed_bias


def _group(node: onnx.NodeProto) -> int:
    return int(onnx_edit.attributes(node).get("group", 1))


def _float64(weights: Array | None) -> Array:
    return np.asarray(weights, np.float64)
