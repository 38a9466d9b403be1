"""Which layer suffers: planted outliers are found, and the graph is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecv.converters import sensitivity

RANDOM = np.random.default_rng(0)


class Feeds:
    digest = "x"

    def __init__(self, count: int = 6, outlier: float = 0.0) -> None:
        self._count, self._outlier = count, outlier

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for seed in range(self._count):
            image = np.random.default_rng(seed).normal(size=(1, 3, 8, 8)).astype(np.float32)
            image[0, 0, 0, 0] += self._outlier
            yield {"x": image}


def net(path: Path, spread: float) -> Path:
    """Three convolutions and a matrix product; `spread` scales one channel between the first two.

    What the first one multiplies the second one divides by, so that the result stays the same.
    """
    shapes = [(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 1, 1)]
    weights = [RANDOM.normal(size=shape).astype(np.float32) for shape in shapes]
    weights[0][0] *= spread
    weights[1][:, 0] /= spread
    nodes, last = [], "x"
    for i, _ in enumerate(weights):
        pads = [1, 1, 1, 1] if i < 2 else [0, 0, 0, 0]
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], f"conv{i}", pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        last = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["p"], "pool"))
    nodes.append(helper.make_node("Flatten", ["p"], ["f"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["f", "w3"], ["y"], "gemm", transB=1))
    weights.append(RANDOM.normal(size=(2, 4)).astype(np.float32))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def test_every_layer_is_measured_and_a_plain_net_suffers_little(tmp_path: Path) -> None:
    found = sensitivity.measure(net(tmp_path / "m.onnx", 1.0), Feeds(), "minmax")
    assert {(d.layer, d.op) for d in found} == {
        *((f"conv{i}", "Conv") for i in range(3)),
        ("gemm", "Gemm"),
    }
    assert [d.value for d in found] == sorted((d.value for d in found), reverse=True)
    assert all(0 < d.value < 0.01 for d in found)


def test_the_layer_behind_an_outlier_channel_is_the_worst(tmp_path: Path) -> None:
    found = sensitivity.measure(net(tmp_path / "m.onnx", 300.0), Feeds(), "minmax")
    assert found[0].layer == "conv1"
    assert found[0].value > 10 * found[1].value


def test_the_calibrator_decides_about_ranges(tmp_path: Path) -> None:
    path = net(tmp_path / "m.onnx", 1.0)
    wide = sensitivity.measure(path, Feeds(outlier=500.0), "minmax")
    first = {d.layer: d.value for d in wide}["conv0"]
    tight = sensitivity.measure(path, Feeds(), "minmax")
    assert first > 5 * {d.layer: d.value for d in tight}["conv0"]


def test_the_file_is_not_changed_and_it_says_how_far_it_is(tmp_path: Path) -> None:
    path = net(tmp_path / "m.onnx", 1.0)
    before = path.read_bytes()
    sensitivity.measure(path, Feeds(), "mse", images=1)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 14, 720), 14), ((1, 3549, 85), 85), ((1, 85, 22, 22), 85), ((5, 80), 80), ((7,), 1)],
)
def test_channels_of_an_output(shape: tuple[int, ...], channels: int) -> None:
    array = np.zeros(shape)
    assert sensitivity._channels(array).shape == (array.size // channels, channels)
