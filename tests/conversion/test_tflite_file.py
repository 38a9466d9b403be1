"""Reading, changing and writing TFLite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnx2tf")
pytest.importorskip("ai_edge_litert")

from edgecv.converters.artifact import Artifact
from edgecv.converters.layers import Fingerprint, find
from edgecv.converters.steps.onnx_tflite import to_tflite
from edgecv.converters.tail import tail
from edgecv.converters.tflite_file import Graph, layers
from edgecv.converters.tflite_layout import permute_output, undo_transpositions
from edgecv.converters.tflite_run import run_once
from edgecv.errors import StepError
from tests.conversion import tflite_models as tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("file")
    return to_tflite(tiny.detector(folder / "m.onnx"), folder)


def test_what_is_read_is_written_again(model: Artifact, tmp_path: Path) -> None:
    graph = Graph.read(model.path)
    graph.write(tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == model.path.read_bytes()


def test_constants_are_aligned_as_the_schema_asks(model: Artifact) -> None:
    data = model.path.read_bytes()
    graph = Graph.read(model.path)
    weights = [graph.weights(op) for op in graph.ops]
    found = [data.find(values.tobytes()) for values in weights if values is not None]
    assert len(found) == 7
    assert all(place > 0 and place % 16 == 0 for place in found)


def test_layers_have_the_values_of_the_onnx_file(model: Artifact) -> None:
    import onnx
    from onnx import numpy_helper

    source = onnx.load(str(model.path.with_name("m.onnx")))
    values = {t.name: numpy_helper.to_array(t) for t in source.graph.initializer}
    prints = [Fingerprint.of(values[n.input[1]]) for n in source.graph.node if n.op_type == "Conv"]
    listed = layers(model.path)
    assert sum(layer.op == "DEPTHWISE_CONV_2D" for layer in listed) == 1
    wanted = [type(listed[0])(f"conv{i}", "Conv", weights) for i, weights in enumerate(prints)]
    found = find(listed, wanted)
    assert list(found) == [f"conv{i}" for i in range(7)]
    assert sorted(found.values()) == sorted(layer.name for layer in listed)


def test_the_tail_joins_boxes_and_scores(model: Artifact) -> None:
    graph = Graph.read(model.path)
    names = {layer.name for layer in graph.layers()}
    words = {node.name: node.op for node in graph.nodes()}
    found = [words[n] for n in tail(graph.nodes(), graph.outputs, lambda node: node.name in names)]
    assert found.count("CONCATENATION") == 3
    assert found.count("LOGISTIC") == 2
    assert found.count("MUL") == 2
    assert "RESIZE_NEAREST_NEIGHBOR" not in found


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (1, 2, 0)])
def test_permutes_an_output(model: Artifact, axes: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, *tiny.SIZE_HW, 3)).astype(np.float32)
    before = Graph.read(model.path)
    values = run_once(before, [image])[before.outputs[0]]
    graph = Graph.read(model.path)
    permute_output(graph, 0, axes)
    found = run_once(graph, [image])[graph.outputs[0]]
    assert graph.shape(graph.outputs[0]) == found.shape
    np.testing.assert_array_equal(found, values.transpose(axes))


def test_sorts_ops_by_what_they_read(model: Artifact) -> None:
    graph = Graph.read(model.path)
    before = graph.nodes()
    graph.body.operators = graph.ops[::-1]
    graph.sort()
    made: set[Any] = {*graph.inputs}
    made |= {t for t in range(len(graph.body.tensors)) if graph.constant(t) is not None}
    for node in graph.nodes():
        assert made.issuperset(node.inputs)
        made.update(node.outputs)
    assert sorted(map(str, graph.nodes())) == sorted(map(str, before))


def test_undoes_a_way_through_channels_first(model: Artifact) -> None:
    """NHWC -> NCHW -> ReLU, pad and gather -> NHWC: the same without a transposition."""
    graph = Graph.read(model.path)
    image = np.random.default_rng(0).uniform(-1, 1, (1, *tiny.SIZE_HW, 3)).astype(np.float32)
    h, w = tiny.SIZE_HW
    first = graph.add_constant("first", np.asarray([0, 3, 1, 2], np.int32))
    last = graph.add_constant("last", np.asarray([0, 2, 3, 1], np.int32))
    pads = graph.add_constant("pads", np.asarray([[0, 0], [0, 0], [1, 2], [3, 4]], np.int32))
    picked = graph.add_constant("picked", np.asarray([2, 0], np.int32))
    (start,) = graph.inputs
    nchw = graph.add_tensor("nchw", (1, 3, h, w), start)
    relu = graph.add_tensor("relu", (1, 3, h, w), start)
    padded = graph.add_tensor("padded", (1, 3, h + 3, w + 7), start)
    two = graph.add_tensor("two", (1, 2, h + 3, w + 7), start)
    back = graph.add_tensor("back", (1, h + 3, w + 7, 2), start)
    end = graph.add_tensor("end", (1, h + 3, w + 7, 2), start)
    graph.body.operators = [
        graph.make_op("TRANSPOSE", [start, first], [nchw], "TransposeOptions"),
        graph.make_op("RELU", [nchw], [relu]),
        graph.make_op("PAD", [relu, pads], [padded], "PadOptions"),
        graph.make_op("GATHER", [padded, picked], [two], "GatherOptions"),
        graph.make_op("TRANSPOSE", [two, last], [back], "TransposeOptions"),
        graph.make_op("RELU", [back], [end]),
    ]
    graph.ops[3].builtinOptions.axis = 1
    graph.body.outputs = [end]
    graph.sign()
    before = run_once(graph, [image])[end]
    wanted = np.pad(np.maximum(image, 0), ((0, 0), (1, 2), (3, 4), (0, 0)))[..., [2, 0]]
    np.testing.assert_array_equal(before, wanted)
    undo_transpositions(graph)
    assert [graph.word(op) for op in graph.ops] == ["RELU", "PAD", "GATHER", "RELU"]
    np.testing.assert_array_equal(run_once(graph, [image])[end], wanted)


def test_renaming_moves_whoever_has_the_name(model: Artifact) -> None:
    graph = Graph.read(model.path)
    other = graph.name(int(graph.ops[0].outputs[0]))
    graph.rename(graph.outputs[0], other)
    names = [graph.name(tensor) for tensor in range(len(graph.body.tensors))]
    assert len(set(names)) == len(names)
    assert graph.name(graph.outputs[0]) == other


@pytest.mark.parametrize("data", [b"", b"\x1c\0\0\0TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 64, b"zip"])
def test_refuses_what_is_no_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(data)
    with pytest.raises(StepError, match=r"broken\.tflite"):
        Graph.read(path)
