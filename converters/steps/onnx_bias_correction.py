"""Biases moved by the mean error that rounding the weights to int8 makes.

Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and Bias
Correction, ICCV 2019, section 4.2: E[y'] - E[y] = (W' - W) E[x], which is subtracted from the bias
(eq. 17). E[x] is measured here on calibration images rather than derived.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.converters import onnx_edit
from edgecv.converters.artifact import Artifact
from edgecv.converters.feeds import Feeds
from edgecv.converters.onnx_edit import Graph
from edgecv.errors import StepError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx", "onnxruntime")

_STEP = "onnx_bias_correction"
_LEVELS = 127


def bias_correct(artifact: Artifact, folder: Path, *, feeds: Feeds) -> Artifact:
    """Write the graph with biases that make up for int8 weights.

    The weights stay as they are: the result is to be quantized with symmetric int8 weights, a scale
    for each output channel, and is a little wrong in float. A layer without a bias gets one.
    Transposed convolutions are left alone: their outputs do not all see the same weights.

    Args:
        artifact: a normal ONNX graph in float.
        folder: where to.
        feeds: calibration inputs of `artifact`; the means are summed up as they come.

    Raises:
        StepError: the file cannot be read, run or written, or there are no feeds.
    """
    graph = Graph.open(artifact.path)
    layers = {node.name: node for node in graph.nodes if _correctable(graph, node)}
    means = _input_means(graph, layers, feeds)
    for name, node in layers.items():
        _correct(graph, node, means[name])
    path = graph.save(folder)
    onnx_edit.session(graph.model)
    made = Artifact("onnx", (path,), artifact.precision, artifact.layout, artifact.in_graph)
    return made.noting(*artifact.notes, f"biases of {len(layers)} layers corrected")


def _correctable(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    weights = graph.weights(node)
    if weights is None or weights.dtype != np.float32 or graph.constant(node.input[0]) is not None:
        return False
    if node.op_type != "Conv" and weights.ndim != 2:
        return False
    if node.op_type == "Gemm" and onnx_edit.attributes(node).get("transA", 0):
        return False
    return not (len(node.input) > 2 and node.input[2] and graph.weights(node, 2) is None)


def _input_means(graph: Graph, layers: dict[str, onnx.NodeProto], feeds: Feeds) -> dict[str, Array]:
    """Measure the mean of each input channel of each layer, (C,) float64."""
    model = _with_means(graph, layers)
    opened = onnx_edit.session(model)
    total: dict[str, Array] = {}
    count = 0
    for feed in feeds:
        seen = onnx_edit.run(opened, feed)
        for at, name in enumerate(layers):
            value = np.asarray(seen[f"__mean_{at}"], np.float64).ravel()
            total[name] = total[name] + value if name in total else value
        count += 1
    if not count:
        raise StepError(
            "nothing to measure the means on", where=f"step {_STEP}", got="no calibration images"
        )
    return {name: value / count for name, value in total.items()}


def _with_means(graph: Graph, layers: dict[str, onnx.NodeProto]) -> onnx.ModelProto:
    """Copy the model with one output for each layer: the means of its input's channels."""
    import onnx
    from onnx import helper, numpy_helper

    shapes = graph.shapes()
    copy = onnx.ModelProto()
    copy.CopyFrom(graph.model)
    del copy.graph.output[:]
    op: str
    inputs: list[str]
    said: dict[str, Any]
    for at, node in enumerate(layers.values()):
        shape = shapes.get(node.input[0])
        if shape is None:
            raise StepError("a layer's input has no known rank", where=f"node {node.name}")
        channel = 1 if node.op_type == "Conv" else len(shape) - 1
        axes = [axis for axis in range(len(shape)) if axis != channel]
        made = f"__mean_{at}"
        # The axes are an attribute before opset 18, and an input since.
        if not axes:
            op, inputs, said = "Identity", [node.input[0]], {}
        elif graph.opset >= 18:
            copy.graph.initializer.append(
                numpy_helper.from_array(np.array(axes, np.int64), f"__axes_{at}")
            )
            op, inputs, said = "ReduceMean", [node.input[0], f"__axes_{at}"], {"keepdims": 0}
        else:
            op, inputs, said = "ReduceMean", [node.input[0]], {"keepdims": 0, "axes": axes}
        copy.graph.node.append(helper.make_node(op, inputs, [made], **said))
        copy.graph.output.append(
            helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, [shape[channel]])
        )
    return copy


def _correct(graph: Graph, node: onnx.NodeProto, mean: Array) -> None:
    weights = graph.weights(node)
    assert weights is not None
    said = onnx_edit.attributes(node)
    transposed = node.op_type == "MatMul" or (node.op_type == "Gemm" and not said.get("transB", 0))
    by_output = weights.T if transposed else weights
    error = _mean_error(by_output, mean, int(said.get("group", 1)))
    if node.op_type == "MatMul":
        _correct_product(graph, node, error)
        return
    alpha, beta = said.get("alpha", 1.0), said.get("beta", 1.0)
    bias = graph.weights(node, 2)
    if bias is None:
        for attribute in [a for a in node.attribute if a.name == "beta"]:
            attribute.f = beta = 1.0
        bias = np.zeros(len(error), np.float32)
    if beta:
        graph.set_input(node, 2, (bias - alpha * error / beta).astype(np.float32))


def _correct_product(graph: Graph, node: onnx.NodeProto, error: Array) -> None:
    """Correct the addition behind a matrix product, or put one there."""
    product = node.output[0]
    after = graph.sole_consumer(product)
    if after is not None and after.op_type == "Add":
        position = 1 if after.input[0] == product else 0
        bias = graph.weights(after, position)
        if bias is not None and bias.shape in ((len(error),), (1,), ()):
            graph.set_input(after, position, (bias - error).astype(np.float32))
            return
    moved = graph.fresh(f"{product}_product")
    node.output[0] = moved
    bias_name = graph.add_constant(f"{node.name}_bias", (-error).astype(np.float32))
    graph.add("Add", [moved, bias_name], product, f"{node.name}_bias")
    graph.index()


def _mean_error(weights: Array, mean: Array, group: int) -> Array:
    """Return what rounding adds to each output on average, (O,) float64.

    Args:
        weights: (O, I / group, ...) float32.
        mean: (I,) of the input channels.
        group: of the convolution.
    """
    outputs, inputs = weights.shape[:2]
    flat = weights.astype(np.float64).reshape(outputs, inputs, -1)
    scale = np.abs(flat).max(axis=(1, 2), keepdims=True) / _LEVELS
    scale[scale == 0] = 1
    rounded = np.clip(np.rint(flat / scale), -_LEVELS, _LEVELS) * scale
    by_channel = (rounded - flat).sum(axis=2).reshape(group, outputs // group, inputs)
    error: Array = np.einsum("goi,gi->go", by_channel, mean.reshape(group, inputs))
    return error.ravel()
