"""Fold nodes of an ONNX graph into constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit
from edgecv.converters.onnx_edit import Graph

if TYPE_CHECKING:
    import onnx


def fold_batch_norms(graph: Graph) -> None:
    """Fold y = gamma (x - mean) / sqrt(var + eps) + beta into the layer that makes x.

    Onnxslim does so for convolutions alone.
    """
    for node in graph.nodes:
        if node.op_type != "BatchNormalization":
            continue
        said = onnx_edit.attributes(node)
        layer = graph.producers.get(node.input[0])
        if layer is None or said.get("training_mode", 0):
            continue
        axis = _output_axis(layer)
        if axis is None or graph.sole_consumer(node.input[0]) is None:
            continue
        weights, bias = graph.weights(layer), graph.weights(layer, 2)
        values = [graph.weights(node, at) for at in range(1, 5)]
        computed_bias = bias is None and len(layer.input) > 2 and bool(layer.input[2])
        if weights is None or computed_bias or any(value is None for value in values):
            continue
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
        scale = gamma / np.sqrt(variance + said.get("epsilon", 1e-5))
        moved = beta + scale * ((0.0 if bias is None else bias) - mean)
        by_output = scale.reshape([-1 if at == axis else 1 for at in range(weights.ndim)])
        graph.set_input(layer, 1, (weights * by_output).astype(weights.dtype))
        graph.set_input(layer, 2, moved.astype(weights.dtype))
        made = node.output[0]
        graph.model.graph.node.remove(node)
        layer.output[0] = made
        graph.index()


def _output_axis(layer: onnx.NodeProto) -> int | None:
    """Return the axis of a layer's weights that counts its outputs; None where none does."""
    said = onnx_edit.attributes(layer)
    if layer.op_type == "Conv":
        return 0
    if layer.op_type == "ConvTranspose":
        return 1 if said.get("group", 1) == 1 else None
    if layer.op_type == "Gemm" and said.get("alpha", 1.0) == said.get("beta", 1.0) == 1:
        return 0 if said.get("transB", 0) else 1
    return None


def hold_constants(graph: Graph) -> None:
    """Turn Constant nodes into initializers, where every tool looks for constants."""
    for node in graph.nodes:
        if node.op_type == "Constant" and node.output[0] in graph.constants:
            tensor = graph.constants[node.output[0]]
            made = graph.model.graph.initializer.add()
            made.CopyFrom(tensor)
            made.name = node.output[0]
            graph.model.graph.node.remove(node)
    graph.index()
