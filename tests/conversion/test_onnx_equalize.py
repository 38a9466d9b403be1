"""Cross-layer equalization: equal ranges, the same function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from edgecv.converters.artifact import Artifact
from edgecv.converters.steps.onnx_equalize import equalizable, equalize
from edgecv.types import Array
from tests.conversion.onnx_nets import Net, image, outputs, save


def chain(between: str | None = "Relu", spread: float = 3.0, **attributes: Any) -> Net:
    net = Net(2)
    tensor = net.conv("x", "a", (3, 6), spread=spread)
    if between is not None:
        tensor = net.add(between, [tensor], "act", **attributes)
    net.conv(tensor, "y", (6, 4), spread=spread)
    return net


def weights(artifact: Artifact, node: str) -> Array:
    graph = onnx.load(artifact.path).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    found = next(n for n in graph.node if n.name == node)
    return np.array(numpy_helper.to_array(held[found.input[1]]))


def unchanged(before: onnx.ModelProto, after: Artifact) -> None:
    feed = {"x": image()}
    want, got = outputs(before, feed), outputs(after, feed)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=1e-4 * np.abs(value).max())


def test_ranges_of_a_pair_become_equal(tmp_path: Path) -> None:
    before = chain().model(["y"])
    made = equalize(save(before, tmp_path), tmp_path)
    first, second = weights(made, "a"), weights(made, "y")
    r1 = np.abs(first).max(axis=(1, 2, 3))
    r2 = np.abs(second).max(axis=(0, 2, 3))
    np.testing.assert_allclose(r1, r2, rtol=1e-3)
    assert made.notes[-1] == "1 pairs of convolutions equalized"
    unchanged(before, made)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    depth=st.integers(2, 4),
    kinds=st.lists(st.sampled_from(["conv", "depthwise", "grouped"]), min_size=4, max_size=4),
    acts=st.lists(
        st.sampled_from(["Relu", "LeakyRelu", "MaxPool", "", "Sigmoid"]), min_size=4, max_size=4
    ),
    spread=st.floats(0, 4),
    bias=st.booleans(),
    seed=st.integers(0, 100),
)
def test_random_nets_compute_the_same(
    tmp_path: Path,
    depth: int,
    kinds: list[str],
    acts: list[str],
    spread: float,
    bias: bool,
    seed: int,
) -> None:
    net = Net(seed)
    tensor = net.conv("x", "c0", (3, 8), spread=spread, bias=bias)
    scales = 0
    for at in range(depth):
        if acts[at]:
            more = {"kernel_shape": [3, 3], "pads": [1] * 4} if acts[at] == "MaxPool" else {}
            tensor = net.add(acts[at], [tensor], f"a{at}", **more)
        group = {"conv": 1, "depthwise": 8, "grouped": 2}[kinds[at]]
        tensor = net.conv(tensor, f"c{at + 1}", (8, 8), spread=spread, group=group, bias=bias)
        scales += acts[at] != "Sigmoid"
    before = net.model([tensor])
    assert equalizable(before) == scales
    unchanged(before, equalize(save(before, tmp_path), tmp_path))


@pytest.mark.parametrize("between", ["Sigmoid", "HardSwish", "Elu"])
def test_what_does_not_scale_does_not_qualify(tmp_path: Path, between: str) -> None:
    assert equalizable(chain(between).model(["y"])) == 0


def test_relu6_and_silu_do_not_qualify(tmp_path: Path) -> None:
    net = chain(None)
    net.nodes.pop()
    net.add("Clip", ["a", net.hold("lo", np.float32(0)), net.hold("hi", np.float32(6))], "r6")
    net.conv("r6", "y", (6, 4))
    assert equalizable(net.model(["y"])) == 0
    silu = chain(None)
    silu.nodes.pop()
    silu.add("Sigmoid", ["a"], "s")
    silu.add("Mul", ["a", "s"], "silu")
    silu.conv("silu", "y", (6, 4))
    model = silu.model(["y"])
    assert equalizable(model) == 0
    unchanged(model, equalize(save(model, tmp_path), tmp_path))


def test_a_tensor_that_others_see_stays(tmp_path: Path) -> None:
    assert equalizable(chain().model(["y"])) == 1
    assert equalizable(chain().model(["y", "act"])) == 0
    assert equalizable(chain().model(["y", "a"])) == 0
    branched = chain()
    branched.add("Sigmoid", ["act"], "z")
    assert equalizable(branched.model(["y", "z"])) == 0


def test_shared_weights_do_not_qualify() -> None:
    net = Net()
    net.conv("x", "a", (3, 3))
    net.add("Conv", ["a", "a_w"], "y", pads=[1] * 4)
    assert equalizable(net.model(["y"])) == 0


def test_a_shared_bias_is_changed_for_one_layer_only(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", "a", (3, 4), spread=3)
    net.nodes.append(
        onnx.helper.make_node(
            "Conv", ["a", net.hold("w", net.rng.normal(size=(4, 4, 1, 1)).astype("f")), "a_b"],
            ["y"], name="y",
        )
    )  # fmt: skip
    before = net.model(["y"])
    assert equalizable(before) == 1
    unchanged(before, equalize(save(before, tmp_path), tmp_path))


def test_dead_channels_are_harmless(tmp_path: Path) -> None:
    net = chain()
    net.weights["a_w"][0] = 0
    net.weights["y_w"][:, 1] = 0
    net.weights["y_w"][:, 2] = 1e-12
    before = net.model(["y"])
    made = equalize(save(before, tmp_path), tmp_path)
    assert np.isfinite(weights(made, "a")).all()
    assert np.abs(weights(made, "a")).max() < 1e5
    unchanged(before, made)


def test_rounding_to_one_scale_a_layer_hurts_less(tmp_path: Path) -> None:
    """The purpose: with one scale for a whole tensor, equalized weights lose less."""

    def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for tensor in copy.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.ndim == 4:
                scale = np.abs(value).max() / 127
                name = tensor.name
                tensor.CopyFrom(
                    numpy_helper.from_array(np.rint(value / scale).astype("f") * scale, name)
                )
        return copy

    net = chain(spread=0)
    # One channel that is large, and is not used more than the others: as batch norms leave them.
    net.weights["a_w"][0] *= 500
    net.weights["a_b"][0] *= 500
    net.weights["y_w"][:, 0] /= 500
    before = net.model(["y"])
    made = equalize(save(before, tmp_path), tmp_path)
    feed = {"x": image()}
    want = outputs(before, feed)["y"]
    harm = [
        float(np.square(outputs(rounded(model), feed)["y"] - want).sum())
        for model in (before, onnx.load(made.path))
    ]
    assert harm[1] < harm[0] / 100
