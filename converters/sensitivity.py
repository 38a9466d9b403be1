"""How much each layer alone suffers from eight bits, measured on calibration images.

One layer at a time is quantized and everything else stays in float, so what changes at the outputs
is that layer's doing. It is measured on the ONNX graph, from which every format is made, and holds
for all of them: which layers have outliers is a property of the network, not of an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.converters import onnx_graph
from edgecv.converters.calibrator import load_calibrator
from edgecv.converters.feeds import Feeds
from edgecv.converters.statistics import collect
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx", "onnxruntime")
_IMAGES = 6
_LEVELS = 255
_WEIGHT_LEVELS = 127


@dataclass(frozen=True, slots=True)
class Damage:
    """What quantizing one layer does.

    Attributes:
        layer: name of the node in the ONNX graph.
        op: its kind.
        value: mean over output channels of the squared error, in parts of the channel's variance.
    """

    layer: str
    op: str
    value: float


def measure(
    path: Path,
    feeds: Feeds,
    calibrator: str,
    *,
    images: int = _IMAGES,
    progress: Callable[[str], None] | None = None,
) -> list[Damage]:
    """Measure every layer of an ONNX graph, worst first.

    Args:
        path: a float ONNX file.
        feeds: its calibration inputs.
        calibrator: chooses the range of each layer's input, as it will in the quantized file.
        images: of `feeds` that the outputs are compared on; the ranges come from all of them.
        progress: called with a line every now and then.
    """
    import onnx

    model = onnx.load(str(path))
    layers = onnx_graph.layers(model)
    nodes = {node.name: node for node in model.graph.node}
    data = {layer.name: nodes[layer.name].input[0] for layer in layers}
    ranges = _ranges(model, sorted(set(data.values())), feeds, calibrator)
    used = [dict(feed) for feed in islice(feeds, images)]
    expected = _run(model, used)
    variances = [_variance([run[i] for run in expected]) for i in range(len(expected[0]))]
    found: list[Damage] = []
    for count, layer in enumerate(layers, 1):
        node, tensor = nodes[layer.name], data[layer.name]
        if tensor not in ranges:  # an input that is no float activation
            continue
        with _QuantizedLayer(model, node, ranges[tensor]):
            got = _run(model, used)
        errors = [
            _error([run[i] for run in expected], [run[i] for run in got], variance)
            for i, variance in enumerate(variances)
        ]
        found.append(Damage(layer.name, layer.op, float(np.mean(errors))))
        if progress is not None and count % 10 == 0:
            progress(f"sensitivity: {count} of {len(layers)} layers")
    return sorted(found, key=lambda damage: -damage.value)


def _ranges(
    model: onnx.ModelProto, tensors: list[str], feeds: Feeds, calibrator: str
) -> dict[str, tuple[float, float]]:
    """Choose the range of each layer's input by all calibration images."""
    choose = load_calibrator(calibrator).choose
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in tensors if name not in inputs]
    session = _session(model, inner)

    def runs() -> Iterable[Mapping[str, Array]]:
        for feed in feeds:
            values = session.run(inner, dict(feed)) if inner else []
            yield {**dict(zip(inner, values, strict=True)), **feed}

    return {name: choose(histogram) for name, histogram in collect(runs()).items()}


def _session(model: onnx.ModelProto, outputs: Iterable[str] = ()) -> Any:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # What is inserted here is gone after one comparison: optimizing would take longer than running.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    present = {value.name for value in model.graph.output}
    wanted = [name for name in outputs if name not in present]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    finally:
        for _ in wanted:
            model.graph.output.pop()


def _run(model: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]]) -> list[list[Array]]:
    session = _session(model)
    names = [value.name for value in model.graph.output]
    return [[np.asarray(a, np.float64) for a in session.run(names, dict(feed))] for feed in feeds]


def _channels(array: Array) -> Array:
    """Lay an output out as (values, channels).

    Channels are axis 1 of feature maps, and of [B, a, b] the shorter of a and b: a detector has
    more cells than it has numbers for each.
    """
    if array.ndim < 3:
        return array.reshape(-1, array.shape[-1]) if array.ndim == 2 else array.reshape(-1, 1)
    axis = 2 if array.ndim == 3 and array.shape[1] > array.shape[2] else 1
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def _variance(runs: list[Array]) -> Array:
    """Compute each channel's variance over all images; never 0."""
    variance: Array = np.concatenate([_channels(run) for run in runs]).var(axis=0)
    return np.maximum(variance, max(float(variance.max()) * 1e-6, 1e-30))


def _error(expected: list[Array], got: list[Array], variance: Array) -> float:
    pairs = zip(expected, got, strict=True)
    errors = [np.square(_channels(b) - _channels(a)).mean(axis=0) for a, b in pairs]
    value = float((np.mean(errors, axis=0) / variance).mean())
    return value if np.isfinite(value) else float("inf")


class _QuantizedLayer:
    """A graph in which one layer's input and weights are rounded to eight bits, for a while."""

    def __init__(
        self, model: onnx.ModelProto, node: onnx.NodeProto, limits: tuple[float, float]
    ) -> None:
        self._graph = model.graph
        self._node = node
        self._limits = limits

    def __enter__(self) -> None:
        from onnx import helper, numpy_helper

        graph, node = self._graph, self._node
        low, high = self._limits
        scale = max(high - low, 1e-12) / _LEVELS
        zero = int(np.clip(np.rint(-low / scale), 0, 255))
        self._data, self._weights = node.input[0], node.input[1]
        place = next(i for i, other in enumerate(graph.node) if other.name == node.name)
        prefix = "edgecv_sensitivity"
        constants = [
            numpy_helper.from_array(np.array(scale, np.float32), f"{prefix}_scale"),
            numpy_helper.from_array(np.array(zero, np.uint8), f"{prefix}_zero"),
        ]
        names = [constant.name for constant in constants]
        ends = [f"{prefix}_q", f"{prefix}_dq"]
        inserted = [
            helper.make_node("QuantizeLinear", [self._data, *names], ends[:1], f"{prefix}_q"),
            helper.make_node("DequantizeLinear", [ends[0], *names], ends[1:], f"{prefix}_dq"),
        ]
        graph.node.insert(place, inserted[1])
        graph.node.insert(place, inserted[0])
        self._place = place
        node.input[0] = ends[1]
        stored = [item for item in graph.initializer if item.name == self._weights]
        if stored:
            values = _round_weights(numpy_helper.to_array(stored[0]), node)
            constants.append(numpy_helper.from_array(values, f"{prefix}_weights"))
            node.input[1] = f"{prefix}_weights"
        graph.initializer.extend(constants)
        self._constants = len(constants)

    def __exit__(self, *error: object) -> None:
        graph = self._graph
        node = graph.node[self._place + 2]
        node.input[0], node.input[1] = self._data, self._weights
        del graph.node[self._place : self._place + 2]
        for _ in range(self._constants):
            graph.initializer.pop()


def _round_weights(weights: Array, node: onnx.NodeProto) -> Array:
    """Round weights to symmetric eight bits per output channel and back."""
    axis = _output_axis(weights, node)
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scale = np.abs(weights).max(axis=others, keepdims=True) / _WEIGHT_LEVELS
    scale = np.where(scale == 0, 1, scale)
    return np.asarray(np.rint(weights / scale) * scale, weights.dtype)


def _output_axis(weights: Array, node: onnx.NodeProto) -> int:
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "MatMul":
        return weights.ndim - 1
    if node.op_type == "Gemm":
        swapped = any(item.name == "transB" and item.i for item in node.attribute)
        return 0 if swapped else 1
    return 0
