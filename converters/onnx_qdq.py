"""Insert QuantizeLinear and DequantizeLinear into an ONNX graph for ONNX Runtime's int8 kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit, onnx_graph
from edgecv.converters.quiet import quiet
from edgecv.errors import DependencyMissingError, StepError

if TYPE_CHECKING:
    import onnx

_COMPUTING = ("Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Concat",
              "AveragePool", "GlobalAveragePool")  # fmt: skip
_MOVING = ("MaxPool", "Resize", "Split", "Slice", "Pad", "Reshape", "Transpose", "Squeeze",
           "Unsqueeze", "Flatten")  # fmt: skip
_MARK = "onnx.infer"
"""What the tool adds to a file's metadata for itself."""

_LAYERS = ("Conv", "Gemm", "MatMul")
OPS: tuple[str, ...] = (*_LAYERS, *_COMPUTING, *_MOVING)
"""Operators that are quantized: those with an int8 kernel, which ConvTranspose has not."""


def quantizable(model: onnx.ModelProto, keep: Collection[str]) -> list[str]:
    """Name the nodes that are to be computed in int8, in the graph's order.

    Args:
        model: whose nodes have names.
        keep: names of nodes that stay in float.
    """
    layers = {layer.name for layer in onnx_graph.layers(model)}
    int8: set[str] = set()
    chosen = []
    for node in model.graph.node:
        if node.op_type not in OPS or node.domain or node.name in keep:
            continue
        if node.op_type in onnx_graph.LAYER_OPS and node.name not in layers:
            continue
        if node.name in layers or any(name in int8 for name in node.input):
            chosen.append(node.name)
            int8.update(node.output)
    return chosen


def insert(
    model: onnx.ModelProto,
    chosen: Sequence[str],
    ranges: Mapping[str, onnx_graph.Range],
    *,
    reduce_range: bool = False,
) -> onnx.ModelProto:
    """Quantize nodes: unsigned activations, signed weights with a scale for each channel.

    Args:
        model: opset 13 or later, without Constant nodes; it may be changed.
        chosen: names of the nodes; see `quantizable`.
        ranges: (low, high) of every tensor that they take or make, constants aside.
        reduce_range: weights of 7 bits.

    Raises:
        StepError: the tool failed.
        DependencyMissingError: it is not installed.
    """
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    except ImportError as error:
        raise DependencyMissingError(
            f"onnxruntime.quantization cannot be imported: {onnx_edit.reason(error)}",
            remedy="pip install 'edgecv[convert]'",
        ) from error

    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    try:
        with quiet():
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=reduce_range,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=TensorsData(CalibrationMethod.MinMax, data),
                nodes_to_quantize=list(chosen),
                nodes_to_exclude=[],
                op_types_to_quantize=list(OPS),
                extra_options={},
            )
            made: onnx.ModelProto = quantizer.quantize_model()
    except Exception as error:
        raise StepError(
            f"onnxruntime.quantization failed: {onnx_edit.reason(error)}",
            where="quantizer onnxruntime",
        ) from error
    for at in range(len(made.metadata_props) - 1, -1, -1):
        if made.metadata_props[at].key == _MARK:
            del made.metadata_props[at]
    return made


def keep_float(graph: onnx_edit.Graph, layers: Collection[str]) -> None:
    """Keep ONNX Runtime from quantizing float layers between int8 ones.

    Its optimizer (WeightBiasQuantization) makes int8 of a convolution or a Gemm between a
    DequantizeLinear of one scale and a QuantizeLinear, with one scale for all its weights at that.
    Behind a scale for each channel it does not: float layers get such a one, of equal scales.

    Args:
        graph: with its DequantizeLinear nodes; changed in place.
        layers: names of those that stay in float.
    """
    for node in graph.nodes:
        source = graph.producers.get(node.input[0]) if node.input else None
        if source is None or source.op_type != "DequantizeLinear" or node.name not in layers:
            continue
        if node.op_type == "MatMul":
            continue
        channels = _input_channels(graph, node)
        vectors = [graph.constant(name) for name in source.input[1:]]
        names = [
            graph.add_constant(f"{node.name}_input", np.full(channels, value))
            for value in vectors
            if value is not None and value.size == 1
        ]
        output = graph.fresh(f"{node.name}_input")
        graph.add(
            "DequantizeLinear", [source.input[0], *names], output, f"{node.name}_input", axis=1
        )
        node.input[0] = output


def _input_channels(graph: onnx_edit.Graph, node: onnx.NodeProto) -> int:
    attributes = onnx_edit.attributes(node)
    weights = graph.weights(node)
    assert weights is not None  # it is a layer
    if node.op_type == "Conv":
        return int(weights.shape[1]) * int(attributes.get("group", 1))
    if node.op_type == "ConvTranspose":
        return int(weights.shape[0])
    return int(weights.shape[1 if attributes.get("transB", 0) else 0])


def lift_constants(model: onnx.ModelProto) -> None:
    """Turn Constant nodes into initializers, the only constants that the tool knows."""
    for at in range(len(model.graph.node) - 1, -1, -1):
        node = model.graph.node[at]
        held = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and held:
            held[0].name = node.output[0]
            model.graph.initializer.append(held[0])
            del model.graph.node[at]
