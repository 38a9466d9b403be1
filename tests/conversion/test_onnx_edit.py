"""Editing ONNX graphs: order, names and subgraphs, and how two models are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecv.converters.onnx_edit import Graph
from edgecv.converters.onnx_parity import check_same, difference, random_feed
from edgecv.errors import ParityError, StepError
from tests.conversion.onnx_nets import Net, image, outputs


def branching() -> onnx.ModelProto:
    """An If whose branches take a tensor of the main graph."""
    net = Net()
    net.add("Relu", ["x"], "r")
    net.add("Cast", [net.hold("yes", np.float32(1))], "condition", to=TensorProto.BOOL)
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["r"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }
    net.add("If", ["condition"], "y", **branches)
    return net.model(["y"])


def test_tensors_that_inner_graphs_take_have_consumers() -> None:
    graph = Graph(branching())
    assert [node.op_type for node in graph.consumers["r"]] == ["If"]
    graph.rename("r", "other")
    graph.producers["r"].output[0] = "other"
    feed = {"x": image()}
    want = outputs(branching(), feed)["y"]
    np.testing.assert_array_equal(outputs(graph.model, feed)["y"], want)


def test_added_nodes_are_sorted_and_unused_constants_dropped(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", "y", (3, 4))
    net.hold("unused", np.zeros(9, np.float32))
    graph = Graph(net.model(["y"]))
    graph.producers["y"].input[0] = graph.fresh("x")
    graph.add("Relu", ["x"], "x_1", "y")
    saved = onnx.load(graph.save(tmp_path)).graph
    assert [(node.name, node.op_type) for node in saved.node] == [("y_1", "Relu"), ("y", "Conv")]
    assert {tensor.name for tensor in saved.initializer} == {"y_w", "y_b"}


def test_an_invalid_result_is_not_written(tmp_path: Path) -> None:
    graph = Graph(branching())
    graph.producers["r"].input[0] = "nothing"
    with pytest.raises(StepError, match="not valid ONNX"):
        graph.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("want", "got", "found"),
    [
        ([1.0, 200.0], [1.0, 201.0], 0.005),
        ([np.inf, 2.0], [np.inf, 2.0], 0),
        ([np.nan, 2.0], [1.0, 2.0], np.inf),
        ([0.0, 0.0], [0.0, 1e-3], 1e9),
        ([1, 2], [1, 2], 0),
        ([1, 2], [1, 3], 1),
    ],
)
def test_differences(want: list[float], got: list[float], found: float) -> None:
    kind = np.int64 if isinstance(want[0], int) else np.float32
    assert difference(np.array(want, kind), np.array(got, kind)) == pytest.approx(found, rel=1e-3)


def test_a_difference_and_a_lost_output_are_told() -> None:
    one, two = Net(), Net()
    one.add("Relu", ["x"], "y")
    two.add("Abs", ["x"], "y")
    two.add("Abs", ["x"], "z")
    feed = {"x": image()}
    with pytest.raises(ParityError, match="step some: output y: the outputs changed"):
        check_same(one.model(["y"]), two.model(["y"]), [(feed, feed)], step="some")
    with pytest.raises(ParityError, match="output y: an output got lost"):
        check_same(one.model(["y"]), two.model(["z"]), [(feed, feed)], step="some")
    positive = random_feed(one.model(["y"]))
    assert positive["x"].shape == (1, 3, 12, 16)
    check_same(one.model(["y"]), two.model(["y"]), [(positive, positive)], step="some")
