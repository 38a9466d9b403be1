"""Slices joined as channels, folded into the convolution behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.converters import onnx_edit
from edgecv.converters.onnx_focus import fold_into_convolutions
from edgecv.converters.steps.onnx_normalize import normalize
from tests.conversion.onnx_nets import Net, image, outputs, save

END = 2**63 - 1
YOLOX = [(0, 0), (1, 0), (0, 1), (1, 1)]
YOLOV5 = [(0, 0), (0, 1), (1, 0), (1, 1)]


def sliced(net: Net, source: str, target: str, axis: int, start: int, step: int) -> str:
    parts = (("starts", start), ("ends", END), ("axes", axis), ("steps", step))
    names = [net.hold(f"{target}_{part}", np.array([value])) for part, value in parts]
    net.add("Slice", [source, *names], target)
    return target


def focus(
    offsets: list[tuple[int, int]],
    step: tuple[int, int] = (2, 2),
    kernel: tuple[int, int] = (3, 3),
    **conv: object,
) -> Net:
    net = Net()
    parts = []
    for n, (dy, dx) in enumerate(offsets):
        rows = sliced(net, "x", f"rows{n}", 2, dy, step[0])
        parts.append(sliced(net, rows, f"part{n}", -1, dx, step[1]))
    net.add("Concat", parts, "joined", axis=1)
    shape = (5, 3 * len(offsets), *kernel)
    weights = net.rng.normal(0, 0.4, shape).astype(np.float32)
    net.add("Conv", ["joined", net.hold("weights", weights)], "y", name="stem", **conv)
    return net


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def folded(net: Net) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return fold(net.model(["y"]))


def fold(before: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    onnx_edit.name_nodes(before)
    after = onnx.ModelProto.FromString(before.SerializeToString())
    fold_into_convolutions(onnx_edit.Graph(after))
    return before, after


def same(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    feed = {"x": image()}
    np.testing.assert_allclose(outputs(after, feed)["y"], outputs(before, feed)["y"], atol=1e-4)


@pytest.mark.parametrize("offsets", [YOLOX, YOLOV5])
def test_the_stem_becomes_one_convolution(offsets: list[tuple[int, int]]) -> None:
    before, after = folded(focus(offsets, pads=[1, 1, 1, 1]))
    assert ops(after) == ["Conv"]
    said = onnx_edit.attributes(after.graph.node[0])
    assert (said["kernel_shape"], said["strides"], said["pads"]) == ([6, 6], [2, 2], [2, 2, 2, 2])
    same(before, after)


@settings(max_examples=30, deadline=None)
@given(
    step=st.sampled_from([(2, 2), (4, 2), (1, 2), (2, 1), (4, 4)]),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.lists(st.integers(1, 2), min_size=2, max_size=2),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    data=st.data(),
)
def test_it_computes_the_same(
    step: tuple[int, int],
    kernel: tuple[int, int],
    strides: list[int],
    pads: list[int],
    data: st.DataObject,
) -> None:
    every = [(y, x) for y in range(step[0]) for x in range(step[1])]
    offsets = data.draw(st.permutations(every))
    before, after = folded(focus(offsets, step, kernel, strides=strides, pads=pads))
    assert ops(after) == ["Conv"]
    same(before, after)


@pytest.mark.parametrize("offsets", [YOLOX[:3], [*YOLOX[:3], YOLOX[0]], [*YOLOX, YOLOX[0]]])
def test_what_is_not_each_pixel_once_stays(offsets: list[tuple[int, int]]) -> None:
    before, after = folded(focus(offsets))
    assert after == before


def test_slices_that_end_before_the_image_does_stay() -> None:
    net = focus(YOLOX)
    for n in range(4):
        net.weights[f"rows{n}_ends"] = np.array([10])
    before, after = folded(net)
    assert after == before


def test_slices_of_slices_are_followed() -> None:
    net = Net()
    parts = []
    for dy in range(4):
        half = sliced(net, "x", f"half{dy}", 2, dy % 2, 2)
        parts.append(sliced(net, half, f"quarter{dy}", 2, dy // 2, 2))
    net.add("Concat", parts, "joined", axis=1)
    weights = net.rng.normal(0, 0.4, (5, 12, 3, 3)).astype(np.float32)
    net.add("Conv", ["joined", net.hold("weights", weights)], "y", name="stem")
    before, after = folded(net)
    assert ops(after) == ["Conv"]
    same(before, after)


def test_what_others_take_stays_for_them() -> None:
    net = focus(YOLOX)
    net.add("Relu", ["joined"], "z")
    before, after = fold(net.model(["y", "z"]))
    assert after == before


@pytest.mark.parametrize("said", [{"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}])
def test_dilated_and_padded_by_size_stays(said: dict[str, object]) -> None:
    before, after = folded(focus(YOLOX, **said))
    assert after == before


def test_grouped_convolutions_stay() -> None:
    net = focus(YOLOX, group=2)
    net.weights["weights"] = net.rng.normal(0, 1, (4, 6, 3, 3)).astype(np.float32)
    before, after = folded(net)
    assert after == before


def test_slices_of_several_images_stay() -> None:
    net = focus(YOLOX)
    net.add("Relu", ["x"], "other")
    net.nodes.insert(0, net.nodes.pop())
    next(n for n in net.nodes if n.output[0] == "rows3").input[0] = "other"
    before, after = folded(net)
    assert after == before


def test_the_normal_form_has_it_folded(tmp_path: Path) -> None:
    before = focus(YOLOX, pads=[1, 1, 1, 1]).model(["y"])
    after = onnx.load(normalize(save(before, tmp_path), tmp_path).path)
    assert ops(after) == ["Conv"]
    same(before, after)
