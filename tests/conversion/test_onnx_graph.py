"""What is found in an ONNX graph: layers, tail, ranges and mixed joins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from edgecv.converters import onnx_graph
from edgecv.converters.layers import Fingerprint, find
from edgecv.converters.tail import Node, tail
from edgecv.types import Array
from tests.conversion.onnx_nets import Net, image, outputs


def detector(box: float = 100.0) -> onnx.ModelProto:
    """Two heads behind one trunk: boxes in pixels and scores, joined."""
    net = Net()
    net.conv("x", "trunk", (3, 4))
    net.add("Relu", ["trunk"], "act")
    net.conv("act", "box", (4, 4))
    net.conv("act", "cls", (4, 2))
    net.add("Mul", ["box", net.hold("stride", np.float32(box))], "pixels", name="scaled")
    net.add("Sigmoid", ["cls"], "score", name="sigmoid")
    net.add("Concat", ["pixels", "score"], "y", name="join", axis=1)
    return net.model(["y"])


def test_layers_in_order_with_fingerprints() -> None:
    net = Net()
    net.conv("x", "a", (3, 4))
    net.add("ConvTranspose", ["a", net.hold("t", np.ones((4, 2, 2, 2), np.float32))], "b", name="b")
    net.add("Mul", ["b", "b"], "c")
    net.add("Flatten", ["c"], "f")
    wide = net.hold("g", np.ones((2 * 13 * 17, 3), np.float32))
    net.add("Gemm", ["f", wide], "d", name="d")
    net.add("MatMul", ["d", net.hold("m", np.eye(3, dtype=np.float32))], "e", name="e")
    net.add("MatMul", ["e", "c2"], "y", name="product of two activations")
    net.add("Reshape", ["e", net.hold("s", np.array([3, 1]))], "c2")
    found = onnx_graph.layers(net.model(["y"]))
    assert [(layer.name, layer.op) for layer in found] == [
        ("a", "Conv"), ("b", "ConvTranspose"), ("d", "Gemm"), ("e", "MatMul")
    ]  # fmt: skip
    assert found[0].weights == Fingerprint.of(net.weights["a_w"])
    assert find(found, found) == {layer.name: layer.name for layer in found}


def test_the_tail_is_what_follows_the_last_layers() -> None:
    assert onnx_graph.tail(detector()) == ("scaled", "sigmoid", "join")


def test_the_tail_leaves_out_what_a_later_layer_needs() -> None:
    nodes = [
        Node("conv", "Conv", ["x"], ["a"]),
        Node("act", "Relu", ["a"], ["b"]),
        Node("late", "Conv", ["b"], ["c"]),
        Node("early score", "Sigmoid", ["b"], ["d"]),
        Node("join", "Concat", ["c", "d", "grid"], ["y"]),
        Node("grid", "Range", [], ["grid"]),
        Node("dead", "Relu", ["c"], ["nothing"]),
    ]
    found = tail(nodes, ["y"], lambda node: node.op == "Conv")
    assert found == ("early score", "join", "grid")


def test_tensors_may_be_numbers_and_a_layer_may_end_the_graph() -> None:
    nodes = [Node("0", "CONV_2D", [0, 1], [2]), Node("1", "RELU", [2], [3])]
    assert tail(nodes, [3], lambda node: node.op == "CONV_2D") == ("1",)
    assert tail(nodes[:1], [2], lambda node: node.op == "CONV_2D") == ()
    assert tail(nodes, [3], lambda node: False) == ()


def test_ranges_are_those_of_the_tensors_over_all_feeds() -> None:
    model = detector()
    before = model.SerializeToString()
    feeds = [{"x": image(seed=seed)} for seed in range(3)]
    found = onnx_graph.activation_ranges(model, feeds)
    assert set(found) == {"x", "trunk", "act", "box", "cls", "pixels", "score", "y"}
    values = [outputs(model, feed)["y"] for feed in feeds]
    assert found["y"] == pytest.approx((np.min(values), np.max(values)), rel=1e-5)
    assert found["x"] == (min(f["x"].min() for f in feeds), max(f["x"].max() for f in feeds))
    assert found["act"][0] == 0
    assert model.SerializeToString() == before


def test_ranges_of_some_tensors_read_the_feeds_once() -> None:
    def once() -> Iterator[dict[str, Array]]:
        yield {"x": image()}

    found = onnx_graph.activation_ranges(detector(), once(), ["score", "unheard"])
    assert list(found) == ["score"]
    assert onnx_graph.activation_ranges(detector(), [], ["score"]) == {}


def test_integers_have_no_range() -> None:
    net = Net()
    net.conv("x", "a", (3, 2))
    net.add("Shape", ["a"], "n")
    net.add("ReduceSum", ["a"], "y")
    found = onnx_graph.activation_ranges(net.model(["y"]), [{"x": image()}])
    assert set(found) == {"x", "a", "y"}


def test_a_join_of_pixels_and_scores_is_found() -> None:
    (join,) = onnx_graph.mixed_joins(detector(), [{"x": image()}])
    assert (join.name, join.op) == ("join", "Concat")
    assert join.low[0] == "score"
    assert join.high[0] == "pixels"
    assert 0 <= join.low[1][0] < join.low[1][1] <= 1
    assert join.high[1][1] > 100
    assert str(join).startswith("score in ")
    assert str(join).endswith("(Concat join)")


@pytest.mark.parametrize(
    ("pixels", "score", "mixed"),
    [
        ((-1.0, 3.9), (0.1, 0.9), False),  # alike
        ((-1.0, 4.1), (0.1, 0.9), True),  # a score beside what lies beyond 4
        ((-4.1, 0.0), (0.1, 0.9), True),
        ((-4.1, 0.0), (-0.1, 0.9), False),  # that is no score
        ((0.0, 8.0), (0.0, 1.1), False),
        ((0.0, 8.8), (0.0, 1.1), True),  # eight times as large
        ((0.0, 100.0), (0.0, 0.0), False),  # nothing was seen
    ],
)
def test_what_counts_as_mixed(
    pixels: tuple[float, float], score: tuple[float, float], mixed: bool
) -> None:
    ranges = {"pixels": pixels, "score": score}
    assert bool(onnx_graph.mixed_outputs(detector(), ranges)) == mixed


def test_a_join_within_the_net_is_not_in_the_tail() -> None:
    net = Net()
    net.conv("x", "a", (3, 2))
    net.add("Concat", ["a", "x"], "c", axis=1)
    net.conv("c", "y", (5, 2))
    ranges = {"a": (0.0, 1.0), "x": (0.0, 255.0)}
    assert onnx_graph.mixed_outputs(net.model(["y"]), ranges) == ()


def test_constants_and_scatters_join_too() -> None:
    net = Net()
    net.conv("x", "a", (3, 2))
    net.add("Sigmoid", ["a"], "s")
    net.hold("anchors", np.full((1, 2, 12, 16), 300, np.float32))
    net.add("Concat", ["s", "anchors"], "y", name="join", axis=1)
    (join,) = onnx_graph.mixed_outputs(net.model(["y"]), {"s": (0.0, 1.0)})
    assert join.high == ("anchors", (300.0, 300.0))
    net.hold("at", np.zeros((1, 1), np.int64))
    net.add("ScatterND", ["anchors", "at", "s"], "z", name="written")
    found = onnx_graph.mixed_outputs(net.model(["y", "z"]), {"s": (0.0, 1.0)})
    assert [join.name for join in found] == ["join", "written"]
