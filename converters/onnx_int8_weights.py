"""Weights stored as int8, one scale for each output channel, that are restored at load."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit, onnx_graph
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

LEVELS = 127


def store_int8(graph: onnx_edit.Graph, keep: Container[str]) -> int:
    """Replace the weights of layers by int8 and nodes that restore them.

    Cast and Mul restore them: ONNX Runtime computes these once, when it loads the file, while it
    would compute DequantizeLinear in every run (yolox_nano: 22 ms rather than 15).

    Args:
        graph: changed in place.
        keep: names of the layers that stay as they are.

    Returns:
        The number of weight tensors that were replaced.
    """
    import onnx

    names = {layer.name for layer in onnx_graph.layers(graph.model)}
    restored: dict[tuple[str, int], str] = {}
    for node in graph.nodes:
        if node.name not in names or node.name in keep:
            continue
        position = 1 if graph.weights(node) is not None else 0
        weights = graph.weights(node, position)
        if weights is None or weights.dtype != np.float32:
            continue
        source, axis = node.input[position], output_axis(node, position, weights.ndim)
        if (source, axis) not in restored:
            integers, scales = rounded(weights, axis)
            held = graph.add_constant(f"{source}_int8", integers)
            scale = graph.add_constant(f"{source}_scale", scales)
            cast = graph.fresh(f"{source}_cast")
            graph.add("Cast", [held], cast, f"{node.name}_cast", to=onnx.TensorProto.FLOAT)
            restored[source, axis] = graph.fresh(f"{source}_float")
            graph.add("Mul", [cast, scale], restored[source, axis], f"{node.name}_scale")
        node.input[position] = restored[source, axis]
    return len(restored)


def rounded(weights: Array, axis: int) -> tuple[Array, Array]:
    """Round weights to int8, symmetric around 0.

    Args:
        weights: of a layer, floats.
        axis: along which the output channels lie.

    Returns:
        int8 of the same shape, -127..127; and the scales, float32 of the same rank with size 1 on
        all other axes, never 0: weight = integer * scale.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scales = np.abs(weights).max(axis=others, keepdims=True) / LEVELS
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.clip(np.rint(weights / scales), -LEVELS, LEVELS).astype(np.int8), scales


def output_axis(node: onnx.NodeProto, position: int, rank: int) -> int:
    """Return the axis of the weights along which a layer's output channels lie.

    Args:
        node: the layer.
        position: of the weights among its inputs.
        rank: of the weights.
    """
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if onnx_edit.attributes(node).get("transB", 0) else 1
    return rank - 1 if position == 1 else rank - 2
