"""Bias correction: what rounding the weights adds on average is taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecv.converters.artifact import Artifact
from edgecv.converters.steps.onnx_bias_correction import bias_correct
from edgecv.errors import StepError
from edgecv.types import Array
from tests.conversion.onnx_nets import Net, Some, outputs, save


def rounded(artifact: Artifact, axes: dict[str, int]) -> onnx.ModelProto:
    """Round weights as a quantizer does, a scale for each index of the axis that counts outputs."""
    model = onnx.load(artifact.path)
    for tensor in model.graph.initializer:
        if tensor.name in axes:
            value = numpy_helper.to_array(tensor)
            others = tuple(i for i in range(value.ndim) if i != axes[tensor.name])
            scale = np.abs(value).max(axis=others, keepdims=True) / 127
            kept = tensor.name
            tensor.CopyFrom(numpy_helper.from_array((np.rint(value / scale) * scale), kept))
    return model


def mean_output(model: onnx.ModelProto | Artifact, feeds: Some, axis: int) -> Array:
    values = [outputs(model, feed)["y"] for feed in feeds]
    others = tuple(i for i in range(values[0].ndim) if i != axis)
    found: Array = np.mean([value.mean(axis=others) for value in values], axis=0)
    return found


def layer(op: str, bias: bool, group: int = 1, **more: Any) -> tuple[Net, str, int, int]:
    """Return a net of one layer, its weights' name, their output axis, and the outputs' axis."""
    net = Net(1)
    if op == "Conv":
        net.conv("x", "y", (3, 6), kernel=3, pads=[0] * 4, bias=bias, group=group)
        return net, "y_w", 0, 1
    net.add("Flatten", ["x"], "f")
    transposed = bool(more.get("transB"))
    value = net.rng.normal(size=(5, 576) if transposed else (576, 5)).astype(np.float32)
    inputs = ["f", net.hold("w", value)]
    shift = net.hold("b", net.rng.normal(size=5).astype(np.float32))
    if op == "Gemm":
        net.add("Gemm", inputs + [shift] * bias, "y", **more)
    elif bias:
        net.add("MatMul", inputs, "p")
        net.add("Add", [shift, "p"], "y")
    else:
        net.add("MatMul", inputs, "y")
    return net, "w", 0 if transposed else 1, 1


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("op", "more"),
    [
        ("Conv", {}),
        ("Conv", {"group": 3}),
        ("Gemm", {}),
        ("Gemm", {"transB": 1, "alpha": 2.0, "beta": 0.5}),
        ("MatMul", {}),
    ],
)
def test_the_mean_output_of_rounded_weights_is_right_again(
    tmp_path: Path, op: str, more: dict[str, Any], bias: bool, opset: int
) -> None:
    net, name, axis, made_axis = layer(op, bias, **more)
    # Coarse weights, so that rounding does harm: one large value sets each scale.
    value = net.weights[name]
    value[tuple(slice(None) if i == axis else 0 for i in range(value.ndim))] = 40
    source = save(net.model(["y"], opset=opset), tmp_path)
    (tmp_path / "out").mkdir()
    feeds = Some(5)
    corrected = bias_correct(source, tmp_path / "out", feeds=feeds)
    want = mean_output(source, feeds, made_axis)
    harm = np.abs(mean_output(rounded(source, {name: axis}), feeds, made_axis) - want).max()
    left = np.abs(mean_output(rounded(corrected, {name: axis}), feeds, made_axis) - want).max()
    assert harm > 1e-2
    # The mean over windows differs from the mean over pixels by the borders alone.
    assert left < harm * (0.1 if op == "Conv" else 1e-2)
    assert corrected.notes[-1] == "biases of 1 layers corrected"


def test_a_bias_that_two_layers_share_is_corrected_for_each(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", "a", (3, 3))
    other = net.hold("w", net.rng.normal(size=(3, 3, 1, 1)).astype(np.float32))
    net.add("Conv", ["a", other, "a_b"], "y", name="y")
    made = bias_correct(save(net.model(["y"]), tmp_path), tmp_path, feeds=Some())
    first, second = (n.input[2] for n in onnx.load(made.path).graph.node)
    assert first != second


def test_what_is_no_layer_stays(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", "a", (3, 4))
    up = net.hold("t", net.rng.normal(size=(4, 2, 2, 2)).astype(np.float32))
    net.add("ConvTranspose", ["a", up], "b", name="up")
    net.add("Transpose", ["b"], "c", perm=[0, 1, 3, 2])
    net.add("MatMul", ["b", "c"], "y")
    source = save(net.model(["y"]), tmp_path)
    (tmp_path / "out").mkdir()
    made = bias_correct(source, tmp_path / "out", feeds=Some())
    assert made.notes[-1] == "biases of 1 layers corrected"
    before, after = (onnx.load(a.path).graph for a in (source, made))
    assert len(before.node) == len(after.node)
    assert [len(node.input) for node in after.node] == [3, 2, 1, 2]


def test_no_images_is_an_error(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", "y", (3, 4))
    with pytest.raises(StepError, match="no calibration images"):
        bias_correct(save(net.model(["y"]), tmp_path), tmp_path, feeds=Some(0))
