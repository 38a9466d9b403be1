"""ONNX and torch to TFLite: names, order, shapes, layout and values stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnx2tf")
pytest.importorskip("ai_edge_litert")

from onnx import TensorProto

from edgecv.converters.artifact import Artifact
from edgecv.converters.steps import onnx_tflite
from edgecv.converters.tflite_file import SIGNATURE, Graph
from edgecv.converters.tflite_layout import drop_unused_tensors
from edgecv.errors import DependencyMissingError, ParityError, StepError
from tests.conversion import tflite_models as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tflite")


def convert(make: Any, folder: Path) -> tuple[Artifact, Artifact]:
    before = make(folder / f"{make.__name__}.onnx")
    made = folder / make.__name__
    made.mkdir()
    return before, onnx_tflite.to_tflite(before, made)


@pytest.fixture(scope="module")
def detector(folder: Path) -> tuple[Artifact, Artifact]:
    return convert(tiny.detector, folder)


@pytest.fixture(scope="module")
def raw_heads(folder: Path) -> tuple[Artifact, Artifact]:
    return convert(tiny.raw_heads, folder)


@pytest.fixture(scope="module")
def fused(folder: Path) -> tuple[Artifact, Artifact]:
    return convert(tiny.fused, folder)


def check_values(before: Artifact, after: Artifact) -> None:
    rng = np.random.default_rng(7)
    image = rng.uniform(0, 1, (1, *tiny.SIZE_HW, 3)).astype(np.float32)
    wanted = tiny.run_onnx(before, np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    found = tiny.run_tflite(after, image)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert found[name].shape == values.shape
        assert values.std() > 1e-3
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4 * abs(values).max())


def test_keeps_a_transposed_output(detector: tuple[Artifact, Artifact]) -> None:
    check_values(*detector)


def test_keeps_names_and_order_of_several_outputs(raw_heads: tuple[Artifact, Artifact]) -> None:
    check_values(*raw_heads)


def test_takes_nhwc_floats_and_tells(detector: tuple[Artifact, Artifact]) -> None:
    _, after = detector
    assert (after.format, after.precision, after.layout) == ("tflite", "fp32", "NHWC")
    session = tiny.open_tflite(after)
    assert [str(spec) for spec in session.inputs] == ["images float32[1,32,48,3]"]
    session.close()


def test_signature_agrees_with_the_graph(raw_heads: tuple[Artifact, Artifact]) -> None:
    graph = Graph.read(raw_heads[1].path)
    (signature,) = graph.model.signatureDefs
    assert signature.signatureKey == SIGNATURE.encode()
    assert [entry.name for entry in signature.outputs] == [b"mean", b"stem", b"late"]
    assert [entry.tensorIndex for entry in signature.outputs] == graph.outputs
    assert [entry.name for entry in signature.inputs] == [b"images"]


def test_undoes_a_transposition_instead_of_adding_one(
    detector: tuple[Artifact, Artifact],
) -> None:
    graph = Graph.read(detector[1].path)
    assert "TRANSPOSE" not in [graph.word(op) for op in graph.ops]


def test_shuffles_channels_without_picking_single_ones(folder: Path) -> None:
    before, after = convert(tiny.shuffled, folder)
    check_values(before, after)
    graph = Graph.read(after.path)
    words = [graph.word(op) for op in graph.ops]
    assert "GATHER" not in words
    # The shuffle's, and the output's.
    assert words.count("TRANSPOSE") == 2


def test_a_fused_graph_keeps_its_bytes(fused: tuple[Artifact, Artifact]) -> None:
    before, after = fused
    assert after.layout == "NHWC"
    assert after.in_graph == ("color", "normalize")
    graph = Graph.read(after.path)
    words = [graph.word(op) for op in graph.ops]
    assert words[0] == "CAST"
    assert words.count("TRANSPOSE") == 1  # the output's; none at the input
    image = np.random.default_rng(3).integers(0, 256, (1, *tiny.SIZE_HW, 3), np.uint8)
    wanted = tiny.run_onnx(before, image)["map"]
    np.testing.assert_allclose(tiny.run_tflite(after, image)["map"], wanted, rtol=1e-3, atol=1e-2)


def test_leaves_the_source_alone_and_nothing_about(
    folder: Path, raw_heads: tuple[Artifact, Artifact]
) -> None:
    before, after = raw_heads
    again = tiny.raw_heads(folder / "again.onnx")
    assert again.path.read_bytes() == before.path.read_bytes()
    assert [path.name for path in after.path.parent.iterdir()] == ["model.tflite"]


def test_prints_nothing(
    tmp_path: Path, raw_heads: tuple[Artifact, Artifact], capsys: pytest.CaptureFixture[str]
) -> None:
    onnx_tflite.to_tflite(raw_heads[0], tmp_path)
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "model.tflite").read_bytes() == raw_heads[1].path.read_bytes()


def test_names_an_op_that_tflite_has_not(tmp_path: Path) -> None:
    net = tiny.Net()
    data = net.op("Relu", "x")
    net.op("Det", data, out="y")
    path = net.save(tmp_path / "det.onnx", {"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, {"y": [1, 3]})
    with pytest.raises(StepError, match=r"node node/y: TFLite has no op for Det"):
        onnx_tflite.to_tflite(Artifact("onnx", (path,)), tmp_path)
    assert not (tmp_path / "model.tflite").exists()


def test_refuses_free_axes(tmp_path: Path) -> None:
    net = tiny.Net()
    net.op("Relu", "x", out="y")
    shape: Any = [1, 3, "h", "w"]
    path = net.save(tmp_path / "free.onnx", {"x": (TensorProto.FLOAT, shape)}, {"y": shape})
    with pytest.raises(StepError, match="free axes") as caught:
        onnx_tflite.to_tflite(Artifact("onnx", (path,)), tmp_path)
    assert caught.value.remedy is not None
    assert "--input" in caught.value.remedy


def test_a_missing_tool_is_named(
    detector: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyMissingError) as caught:
        onnx_tflite.to_tflite(detector[0], tmp_path)
    assert caught.value.remedy is not None
    assert "--ignore-requires-python onnx2tf==2.6.9" in caught.value.remedy


def test_a_wrong_file_does_not_pass(
    raw_heads: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What onnx2tf wrote is compared with ONNX Runtime: other weights are found out."""
    written = tmp_path / "other.tflite"
    graph = Graph.read(raw_heads[1].path)
    op = next(op for op in graph.ops if graph.word(op) == "CONV_2D")
    weights = graph.constant(int(op.inputs[1]))
    assert weights is not None
    op.inputs = [op.inputs[0], graph.add_constant("weights", weights[::-1].copy()), op.inputs[2]]
    graph.write(written)
    monkeypatch.setattr(onnx_tflite, "_convert", lambda *args: written)
    with pytest.raises(ParityError, match="output mean"):
        onnx_tflite.to_tflite(raw_heads[0], tmp_path)


def test_a_failure_of_the_tool_is_told(
    raw_heads: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: Path, copy: Path) -> None:
        copy.write_bytes(source.read_bytes()[:100])

    monkeypatch.setattr("shutil.copyfile", broken)
    with pytest.raises(StepError, match="onnx2tf failed") as caught:
        onnx_tflite.to_tflite(raw_heads[0], tmp_path)
    assert "DecodeError" in str(caught.value.got)


@pytest.mark.parametrize("made", ["detector", "raw_heads", "fused"])
def test_every_tensor_of_the_file_is_used(made: str, request: pytest.FixtureRequest) -> None:
    graph = Graph.read(request.getfixturevalue(made)[1].path)
    used = {*graph.inputs, *graph.outputs}
    for op in graph.ops:
        used |= {int(t) for t in (*op.inputs, *op.outputs) if int(t) >= 0}
    assert used == set(range(len(graph.body.tensors)))


def test_unused_tensors_are_removed_with_their_bytes(
    detector: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    graph = Graph.read(detector[1].path)
    before = len(graph.body.tensors)
    extra = graph.add_constant("left.over", np.ones(5000, np.float32))
    graph.body.tensors.insert(0, graph.body.tensors.pop(extra))
    for op in graph.ops:
        op.inputs = np.asarray([t + 1 if t >= 0 else t for t in op.inputs], np.int32)
        op.outputs = np.asarray([t + 1 for t in op.outputs], np.int32)
    graph.body.inputs = np.asarray([t + 1 for t in graph.inputs], np.int32)
    graph.body.outputs = np.asarray([t + 1 for t in graph.outputs], np.int32)
    graph.sign()
    assert drop_unused_tensors(graph) == 1
    assert drop_unused_tensors(graph) == 0
    assert len(graph.body.tensors) == before
    path = tmp_path / "small.tflite"
    graph.write(path)
    assert path.stat().st_size < detector[1].path.stat().st_size + 1000
    check_values(detector[0], Artifact("tflite", (path,), layout="NHWC"))
