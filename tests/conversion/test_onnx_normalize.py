"""The normal form of ONNX files: shapes, versions, names, and the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecv.converters import onnx_edit
from edgecv.converters.artifact import Artifact
from edgecv.converters.steps import onnx_normalize
from edgecv.converters.steps.onnx_normalize import normalize
from edgecv.engines import gather, load_backend
from edgecv.errors import (
    DependencyMissingError,
    ModelLoadError,
    ParityError,
    StepError,
    UsageError,
)
from edgecv.types import SessionOptions
from tests import models
from tests.conversion.onnx_nets import Net, image, ops, outputs, save


def plain(**options: object) -> onnx.ModelProto:
    net = Net()
    net.conv("x", "a", (3, 4), name="")
    net.add("Relu", ["a"], "b")
    net.conv("b", "y", (4, 2), name="")
    return net.model(["y"], **options)  # type: ignore[arg-type]


def sizes(values: object) -> list[tuple[int | None, ...] | None]:
    return [onnx_edit.shape_of(value) for value in values]  # type: ignore[attr-defined]


def test_an_old_file_gets_a_new_opset_and_computes_the_same(tmp_path: Path) -> None:
    before = plain(opset=9, ir_version=4, metadata={"names": "a b"})
    made = normalize(save(before, tmp_path), tmp_path / ".")
    after = onnx.load(made.path)
    assert onnx_edit.opset(after) == 17
    assert 8 <= after.ir_version <= 10
    assert {entry.key: entry.value for entry in after.metadata_props} == {"names": "a b"}
    assert any("opset raised from 9 to 17" in note for note in made.notes)
    feed = {"x": image()}
    np.testing.assert_allclose(outputs(after, feed)["y"], outputs(before, feed)["y"], atol=1e-5)


def test_a_newer_opset_stays_and_the_format_is_held_back(tmp_path: Path) -> None:
    made = normalize(save(plain(opset=19, ir_version=12), tmp_path), tmp_path)
    after = onnx.load(made.path)
    assert (onnx_edit.opset(after), after.ir_version) == (19, 10)


def test_an_opset_that_needs_a_newer_format_is_lowered(tmp_path: Path) -> None:
    made = normalize(save(plain(opset=23, ir_version=12), tmp_path), tmp_path)
    after = onnx.load(made.path)
    assert onnx_edit.opset(after) <= 22
    assert after.ir_version <= 10


def test_every_node_is_named_once_and_tensors_have_shapes(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", "a", (3, 4), name="same")
    net.conv("a", "b", (4, 4), name="same")
    net.conv("b", "y", (4, 4), name="")
    made = normalize(save(net.model(["y"]), tmp_path), tmp_path)
    graph = onnx.load(made.path).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == 3
    assert "" not in names
    assert "same" in names
    assert {value.name for value in graph.value_info} >= {"a", "b"}
    again = normalize(made, tmp_path)
    assert [node.name for node in onnx.load(again.path).graph.node] == names


def test_weights_are_no_inputs(tmp_path: Path) -> None:
    model = plain(ir_version=3, opset=8)
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        )
    made = normalize(save(model, tmp_path), tmp_path)
    assert [value.name for value in onnx.load(made.path).graph.input] == ["x"]


def test_a_free_batch_becomes_1_and_free_sides_are_asked_for(tmp_path: Path) -> None:
    source = save(plain(shape=("n", 3, "h", "w")), tmp_path)
    with pytest.raises(UsageError, match="dynamic shape: say --input HxW") as caught:
        normalize(source, tmp_path)
    assert caught.value.got == "[1,3,?,?]"
    (tmp_path / "out").mkdir()
    graph = onnx.load(normalize(source, tmp_path / "out", input_hw=(10, 14)).path).graph
    assert sizes(graph.input) == [(1, 3, 10, 14)]
    assert sizes(graph.output) == [(1, 2, 10, 14)]


def test_sides_of_an_nhwc_graph(tmp_path: Path) -> None:
    net = Net()
    net.add("Transpose", ["x"], "t", perm=[0, 3, 1, 2])
    net.conv("t", "y", (3, 2))
    saved = save(net.model(["y"], shape=("n", "h", "w", 3)), tmp_path)
    source = Artifact("onnx", saved.files, layout="NHWC")
    made = normalize(source, tmp_path, input_hw=(10, 14))
    assert made.layout == "NHWC"
    assert sizes(onnx.load(made.path).graph.input) == [(1, 10, 14, 3)]


def test_a_size_that_the_graph_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="size is fixed") as caught:
        normalize(save(plain(), tmp_path), tmp_path, input_hw=(32, 32))
    assert caught.value.expected == "12x16, or no --input"


def test_stale_shapes_of_outputs_are_forgotten(tmp_path: Path) -> None:
    model = plain(shape=("n", 3, "h", "w"))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 640, 640])
    )
    made = normalize(save(model, tmp_path), tmp_path, input_hw=(8, 8))
    assert sizes(onnx.load(made.path).graph.output) == [(1, 2, 8, 8)]


@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose", "Gemm"])
def test_batch_norms_are_folded(tmp_path: Path, layer: str) -> None:
    net = Net()
    rng = net.rng
    if layer == "Conv":
        net.conv("x", "a", (3, 4), bias=False)
    elif layer == "ConvTranspose":
        net.add("ConvTranspose", ["x", net.hold("w", rng.normal(size=(3, 4, 2, 2)))], "a")
    else:
        net.add("Flatten", ["x"], "f")
        net.add("Gemm", ["f", net.hold("w", rng.normal(size=(576, 4)))], "a")
    values = (rng.uniform(0.5, 2, 4), rng.normal(size=4), rng.normal(size=4), rng.uniform(1, 2, 4))
    names = [net.hold(f"bn{i}", value) for i, value in enumerate(values)]
    net.add("BatchNormalization", ["a", *names], "y", epsilon=1e-3)
    net.weights = {name: value.astype(np.float32) for name, value in net.weights.items()}
    before = net.model(["y"])
    made = normalize(save(before, tmp_path), tmp_path)
    assert layer in ops(made)
    assert "BatchNormalization" not in ops(made)
    feed = {"x": image()}
    want = outputs(before, feed)["y"]
    np.testing.assert_allclose(outputs(made, feed)["y"], want, atol=1e-4 * np.abs(want).max())


def test_a_batch_norm_whose_input_others_see_is_not_folded(tmp_path: Path) -> None:
    net = Net()
    net.add("ConvTranspose", ["x", net.hold("w", np.ones((3, 4, 2, 2), np.float32))], "a")
    names = [net.hold(f"bn{i}", np.full(4, 2, np.float32)) for i in range(4)]
    net.add("BatchNormalization", ["a", *names], "y")
    made = normalize(save(net.model(["y", "a"]), tmp_path), tmp_path)
    assert "BatchNormalization" in ops(made)


def test_corrupt_files(tmp_path: Path) -> None:
    good = plain().SerializeToString()
    for at, data in enumerate((b"", b"junk" * 50, good[: len(good) // 2])):
        path = tmp_path / f"{at}.onnx"
        path.write_bytes(data)
        with pytest.raises(StepError) as caught:
            normalize(Artifact("onnx", (path,)), tmp_path)
        assert str(path) in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("domain", "op", "told"),
    [("example", "Unheard", "example:Unheard"), ("", "Unheard", "no operator Unheard")],
)
def test_unknown_operators_are_named(tmp_path: Path, domain: str, op: str, told: str) -> None:
    node = helper.make_node(op, ["x"], ["y"], name="odd", domain=domain)
    model = plain()
    del model.graph.node[:]
    model.graph.node.append(node)
    model.opset_import.append(helper.make_opsetid("example", 1))
    with pytest.raises(StepError, match=told) as caught:
        normalize(save(model, tmp_path), tmp_path)
    assert "node odd" in str(caught.value)


def test_constants_become_initializers(tmp_path: Path) -> None:
    net = Net()
    value = numpy_helper.from_array(np.float32(3))
    net.nodes.append(helper.make_node("Constant", [], ["three"], value=value))
    net.add("Mul", ["x", "three"], "m")
    net.conv("m", "y", (3, 2))
    made = normalize(save(net.model(["y"]), tmp_path), tmp_path)
    assert "Constant" not in ops(made)


@pytest.mark.parametrize("kind", ["as wide", "narrow", "sliced"])
def test_what_is_gathered_is_cut_to_its_indices(tmp_path: Path, kind: str) -> None:
    source = models.onnx_classifier(tmp_path / "c.onnx", narrow=kind != "as wide")
    if kind == "sliced":  # OpenVINO 2026.4 takes such a Slice away, and then refuses the rest
        net = onnx_edit.Graph.open(source)
        (picking,) = (node for node in net.nodes if node.op_type == "GatherElements")
        limits = [net.add_constant(name, np.array([n])) for name, n in (("a", 0), ("b", 2))]
        net.add("Slice", ["wide", *limits, "last"], "cut", "cut")
        picking.input[0] = "cut"
        source = net.save(tmp_path)
    openvino = load_backend("openvino")
    if kind != "as wide":
        with pytest.raises(ModelLoadError, match="GatherElements"):
            openvino.open_session(gather(source, "openvino"), SessionOptions())
    made = normalize(Artifact("onnx", (source,)), tmp_path)
    session = openvino.open_session(gather(made.path, "openvino"), SessionOptions())
    pixels = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    logits = 4 * pixels.mean(axis=(2, 3))
    np.testing.assert_allclose(session.run({"x": pixels})["y"], logits, atol=1e-5)
    assert ("Split" in ops(made)) == (kind != "as wide")


def test_a_simplifier_that_breaks_the_graph_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: onnx.ModelProto) -> onnx.ModelProto:
        model.graph.node[1].op_type = "Sigmoid"
        return model

    monkeypatch.setattr(onnx_normalize, "_slim", broken)
    before = plain()
    made = normalize(save(before, tmp_path), tmp_path)
    assert "not simplified" in made.notes[-1]
    feed = {"x": image()}
    np.testing.assert_allclose(outputs(made, feed)["y"], outputs(before, feed)["y"], atol=1e-5)


def test_a_graph_that_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: onnx_edit.Graph) -> None:
        graph.set_input(graph.nodes[0], 2, np.full(4, 9, np.float32))

    monkeypatch.setattr("edgecv.converters.onnx_fold.fold_batch_norms", broken)
    with pytest.raises(ParityError, match="output y"):
        normalize(save(plain(), tmp_path), tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function(
        "mine", "Act", ["a"], ["b"], body, [helper.make_opsetid("", 17)]
    )
    model = plain()
    model.graph.node[1].op_type, model.graph.node[1].domain = "Act", "mine"
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert ops(normalize(save(model, tmp_path), tmp_path)) == ["Conv", "Relu", "Conv"]


def test_external_data_is_taken_in(tmp_path: Path) -> None:
    before = plain()
    path = tmp_path / "net.onnx"
    onnx.save(before, path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "out").mkdir()
    made = normalize(Artifact("onnx", (path, tmp_path / "net.data")), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.onnx"]
    feed = {"x": image()}
    np.testing.assert_allclose(outputs(made, feed)["y"], outputs(plain(), feed)["y"], atol=1e-5)


def test_missing_external_data(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(plain(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").unlink()
    with pytest.raises(StepError, match=r"net\.data"):
        normalize(Artifact("onnx", (path,)), tmp_path)


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxslim", None)
    with pytest.raises(DependencyMissingError, match="onnxslim") as caught:
        normalize(save(plain(), tmp_path), tmp_path)
    assert caught.value.remedy == "pip install 'edgecv[convert]'"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    normalize(save(plain(opset=11), tmp_path), tmp_path)
    assert capfd.readouterr() == ("", "")
