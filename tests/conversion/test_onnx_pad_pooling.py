"""Max pooling with explicit padding: exactly the same values, or left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecv.converters.artifact import Artifact
from edgecv.converters.steps.onnx_pad_pooling import pad_pooling
from tests.conversion.onnx_nets import Net, image, ops, outputs, save

POOL: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def pooled(act: str | None = "Relu", **attributes: Any) -> onnx.ModelProto:
    net = Net()
    tensor = net.conv("x", "c", (3, 4))
    if act:
        tensor = net.add(act, [tensor], "a")
    net.add("MaxPool", [tensor], "y", **{**POOL, **attributes})
    return net.model(["y"])


def same(model: onnx.ModelProto, made: Artifact) -> None:
    for seed in range(3):
        feed = {"x": image(seed=seed)}
        want, got = outputs(model, feed), outputs(made, feed)
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value)


def mode(made: Artifact) -> str:
    pad = next(node for node in onnx.load(made.path).graph.node if node.op_type == "Pad")
    return next(a.s.decode() for a in pad.attribute if a.name == "mode")


def pads(made: Artifact) -> list[int]:
    model = onnx.load(made.path)
    pad = next(node for node in model.graph.node if node.op_type == "Pad")
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    return [int(size) for size in held[pad.input[1]]]


def test_zeros_where_nothing_is_negative(tmp_path: Path) -> None:
    model = pooled()
    made = pad_pooling(save(model, tmp_path), tmp_path)
    assert ops(made) == ["Conv", "Relu", "Pad", "MaxPool"]
    assert mode(made) == "constant"
    same(model, made)


@pytest.mark.parametrize("act", [None, "LeakyRelu"])
def test_a_mirrored_border_where_values_may_be_negative(tmp_path: Path, act: str | None) -> None:
    model = pooled(act)
    made = pad_pooling(save(model, tmp_path), tmp_path)
    assert mode(made) == "reflect"
    # An even side, a stride of 2: no window reaches beyond the end.
    assert pads(made) == [0, 0, 1, 1, 0, 0, 0, 0]
    same(model, made)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    act=st.sampled_from(["Relu", "LeakyRelu", "Sigmoid"]),
    kernel=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    share=st.tuples(*[st.floats(0, 0.999)] * 4),
)
def test_any_window_gives_the_same(
    tmp_path: Path, act: str, kernel: Any, strides: Any, share: Any
) -> None:
    sides = [int(s * kernel[at % 2]) for at, s in enumerate(share)]
    model = pooled(act, kernel_shape=list(kernel), strides=list(strides), pads=sides)
    made = pad_pooling(save(model, tmp_path), tmp_path)
    same(model, made)
    if act != "LeakyRelu" and any(sides) and strides != (1, 1):
        assert any("made explicit" in note for note in made.notes)


def test_too_much_padding_for_a_mirror_is_left_alone(tmp_path: Path) -> None:
    model = pooled("LeakyRelu", pads=[2, 2, 2, 2])
    made = pad_pooling(save(model, tmp_path), tmp_path)
    assert "Pad" not in ops(made)
    assert made.notes[-1].startswith("max poolings that keep their padding: MaxPool")


@pytest.mark.parametrize(
    "odd",
    [{"ceil_mode": 1}, {"dilations": [2, 2]}, {"auto_pad": "SAME_LOWER", "pads": [0] * 4}],
)
def test_what_is_not_plain_is_left_alone(tmp_path: Path, odd: dict[str, Any]) -> None:
    if "auto_pad" in odd:
        net = Net()
        net.conv("x", "c", (3, 4))
        net.add("MaxPool", ["c"], "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")
        model = net.model(["y"])
    else:
        model = pooled(**odd)
    made = pad_pooling(save(model, tmp_path), tmp_path)
    assert "Pad" not in ops(made)
    assert "keep their padding" in made.notes[-1]
    same(model, made)


@pytest.mark.parametrize("options", [{"pads": [0] * 4}, {"strides": [1, 1]}])
def test_what_tflite_can_do_itself_is_left_alone(tmp_path: Path, options: Any) -> None:
    model = pooled(**options)
    made = pad_pooling(save(model, tmp_path), tmp_path)
    assert made.notes == ()
    assert ops(made) == ["Conv", "Relu", "MaxPool"]


def not_negative(net: Net, case: str) -> str:
    net.conv("x", "c", (3, 4))
    zero, six = net.hold("zero", np.float32(0)), net.hold("six", np.float32(6))
    low = net.hold("low", np.float32(-1))
    if case == "clip":
        return net.add("Clip", ["c", zero, six], "a")
    if case == "clip below":
        return net.add("Clip", ["c", low, six], "a")
    net.add("Relu", ["c"], "r")
    if case == "concat":
        net.add("Sigmoid", ["c"], "s")
        return net.add("Concat", ["r", "s"], "a", axis=1)
    if case == "concat with the raw":
        return net.add("Concat", ["r", "c"], "a", axis=1)
    if case == "shuffle":
        net.add("Reshape", ["r", net.hold("n", np.array([1, 2, 2, 12, 16]))], "q")
        net.add("Transpose", ["q"], "t", perm=[0, 2, 1, 3, 4])
        return net.add("Reshape", ["t", net.hold("m", np.array([1, 4, 12, 16]))], "a")
    if case == "pooled":
        return net.add("MaxPool", ["r"], "a", kernel_shape=[2, 2])
    net.add("Mul", ["r", low], "a")
    return "a"


@pytest.mark.parametrize(
    ("case", "proven"),
    [
        ("clip", True), ("clip below", False), ("concat", True), ("concat with the raw", False),
        ("shuffle", True), ("pooled", True), ("times -1", False),
    ],
)  # fmt: skip
def test_the_proof_of_signs(tmp_path: Path, case: str, proven: bool) -> None:
    net = Net()
    net.add("MaxPool", [not_negative(net, case)], "y", **POOL)
    model = net.model(["y"])
    made = pad_pooling(save(model, tmp_path), tmp_path)
    assert mode(made) == ("constant" if proven else "reflect")
    same(model, made)
