"""The quantizer of the litert backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnx2tf")
pytest.importorskip("ai_edge_quantizer")

from edgecv.converters import onnx_graph
from edgecv.converters.artifact import Artifact
from edgecv.converters.layers import Fingerprint, Layer
from edgecv.converters.quantizers import litert
from edgecv.converters.recipe import Recipe
from edgecv.converters.steps.onnx_tflite import to_tflite
from edgecv.converters.tflite_file import Graph
from edgecv.converters.tflite_int8 import float_ops
from edgecv.errors import StepError, UsageError
from tests.conversion import tflite_models as tiny

INT8 = Recipe(precision="int8")
TAIL = Recipe(precision="int8", float_tail=True)


def convert(make: Any, folder: Path) -> Artifact:
    return to_tflite(make(folder / "model.onnx"), folder)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return convert(tiny.detector, tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def raw_heads(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return convert(tiny.raw_heads, tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return convert(tiny.fused, tmp_path_factory.mktemp("fused"))


def feeds(artifact: Artifact) -> tiny.RandomFeeds:
    session = tiny.open_tflite(artifact)
    try:
        return tiny.RandomFeeds(session.inputs[0])
    finally:
        session.close()


def lower(artifact: Artifact, recipe: Recipe, folder: Path, **more: Any) -> Artifact:
    assert litert.refuses(artifact, recipe) is None
    folder.mkdir(exist_ok=True)
    return litert.quantize(artifact, recipe, feeds(artifact), folder, **more)


def specs(artifact: Artifact) -> list[str]:
    session = tiny.open_tflite(artifact)
    session.close()
    return [str(spec) for spec in (*session.inputs, *session.outputs)]


def test_float_tail_keeps_scores_beside_boxes(detector: Artifact, tmp_path: Path) -> None:
    """In one int8 tensor with boxes of some hundred pixels, scores are one or two levels."""
    image = tiny.pixels(feeds(detector).spec, 99)
    wanted = tiny.run_tflite(detector, image)["boxes:0"][..., 4:]
    scores = {}
    for name, recipe in (("joined", INT8), ("tail", TAIL)):
        made = lower(detector, recipe, tmp_path / name)
        scores[name] = tiny.run_tflite(made, image)["boxes:0"][..., 4:]
    assert len(np.unique(scores["joined"])) <= 2
    assert np.abs(scores["joined"] - wanted).max() > 0.4
    assert np.abs(scores["tail"] - wanted).mean() < 0.02


def test_names_and_types_of_inputs_and_outputs(detector: Artifact, tmp_path: Path) -> None:
    joined = lower(detector, INT8, tmp_path / "joined")
    assert specs(joined) == ["images int8[1,32,48,3]", "boxes:0 int8[1,480,7]"]
    tail = lower(detector, TAIL, tmp_path / "tail")
    assert specs(tail) == ["images int8[1,32,48,3]", "boxes:0 float32[1,480,7]"]
    (signature,) = Graph.read(tail.path).model.signatureDefs
    assert [entry.name for entry in signature.outputs] == [b"boxes:0"]


def test_float_tail_leaves_only_the_tail_in_float(detector: Artifact, tmp_path: Path) -> None:
    """A leaky ReLU and a pooling with padding stand in the middle: both become integers."""
    made = lower(detector, TAIL, tmp_path)
    assert made.precision == "int8"
    assert made.notes == ()
    graph = Graph.read(made.path)
    assert set(float_ops(graph)) <= {"MUL", "LOGISTIC", "CONCATENATION", "RESHAPE"}
    types = {graph.word(op): graph.dtype(int(op.outputs[0])) for op in graph.ops}
    for word in ("CONV_2D", "DEPTHWISE_CONV_2D", "LEAKY_RELU", "PADV2", "MAX_POOL_2D"):
        assert types[word] == "int8"


def test_quantizing_twice_gives_the_same_bytes(detector: Artifact, tmp_path: Path) -> None:
    one = lower(detector, TAIL, tmp_path / "one")
    two = lower(detector, TAIL, tmp_path / "two")
    assert one.path.read_bytes() == two.path.read_bytes()


def test_float_layers_stay_in_float(detector: Artifact, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(detector.path.with_name("model.onnx")))
    wanted = onnx_graph.layers(model)[:2]
    recipe = INT8.replace(float_layers=tuple(layer.name for layer in wanted))
    made = lower(detector, recipe, tmp_path, float_layers=wanted)
    graph = Graph.read(made.path)
    kept = [layer.weights for layer in graph.layers()]
    assert len(kept) == 2
    assert [a.distance(b.weights) < 1e-3 for a, b in zip(kept, wanted, strict=True)] == [True] * 2
    session = tiny.open_tflite(made)
    session.close()
    assert session.info.precision == "int8"
    assert any("5 in int8, 2 in fp32" in note for note in session.info.notes)


def test_a_layer_that_is_not_there_is_named(raw_heads: Artifact, tmp_path: Path) -> None:
    ghost = Layer("ghost", "Conv", Fingerprint.of(np.ones(3, np.float32)))
    made = lower(raw_heads, INT8, tmp_path, float_layers=[ghost])
    assert any("ghost" in note for note in made.notes)


def test_an_output_computed_in_float_is_given_in_float(fused: Artifact, tmp_path: Path) -> None:
    """Also where a transposition stands between the last layer and the output."""
    last = Graph.read(fused.path).layers()[-1:]
    made = lower(fused, INT8, tmp_path, float_layers=last)
    assert specs(made) == ["pixels uint8[1,32,48,3]", "map float32[1,6,8,12]"]
    assert float_ops(Graph.read(made.path)) == {"CONV_2D": 1, "TRANSPOSE": 1}


def test_several_outputs_keep_their_order(raw_heads: Artifact, tmp_path: Path) -> None:
    made = lower(raw_heads, INT8, tmp_path)
    image = tiny.pixels(feeds(raw_heads).spec, 99)
    wanted, found = tiny.run_tflite(raw_heads, image), tiny.run_tflite(made, image)
    assert list(found) == ["mean", "stem", "late"]
    assert all(tiny.snr_db(found[name], wanted[name]) > 25 for name in wanted)


def test_bytes_become_integers_without_floats(fused: Artifact, tmp_path: Path) -> None:
    made = lower(fused, INT8, tmp_path)
    assert made.in_graph == fused.in_graph
    assert specs(made)[0] == "pixels uint8[1,32,48,3]"
    graph = Graph.read(made.path)
    assert float_ops(graph) == {}
    assert "DEQUANTIZE" not in [graph.word(op) for op in graph.ops]
    image = tiny.pixels(feeds(fused).spec, 99)
    wanted, found = tiny.run_tflite(fused, image), tiny.run_tflite(made, image)
    assert tiny.snr_db(found["map"], wanted["map"]) > 25


def test_int8_weights_leave_activations_alone(detector: Artifact, tmp_path: Path) -> None:
    made = lower(detector, Recipe(precision="int8-weights"), tmp_path)
    session = tiny.open_tflite(made)
    session.close()
    assert session.info.precision == "int8-weights"
    assert specs(made) == specs(detector)
    image = tiny.pixels(feeds(detector).spec, 99)
    wanted, found = tiny.run_tflite(detector, image), tiny.run_tflite(made, image)
    assert 20 < tiny.snr_db(found["boxes:0"], wanted["boxes:0"]) < 80


def test_fp16_stores_halves(detector: Artifact, tmp_path: Path) -> None:
    made = lower(detector, Recipe(precision="fp16"), tmp_path)
    assert made.precision == "fp16"
    graph = Graph.read(made.path)
    halves = [t for t in range(len(graph.body.tensors)) if graph.dtype(t) == "float16"]
    assert len(halves) >= 7
    assert specs(made) == specs(detector)
    image = tiny.pixels(feeds(detector).spec, 99)
    wanted, found = tiny.run_tflite(detector, image), tiny.run_tflite(made, image)
    assert 50 < tiny.snr_db(found["boxes:0"], wanted["boxes:0"]) < 110


def test_calibrators_make_a_difference(detector: Artifact, tmp_path: Path) -> None:
    one = lower(detector, TAIL, tmp_path / "minmax")
    two = lower(detector, TAIL.replace(calibrator="percentile"), tmp_path / "percentile")
    assert one.path.read_bytes() != two.path.read_bytes()
    with pytest.raises(UsageError):
        lower(detector, TAIL.replace(calibrator="guess"), tmp_path / "guess")


def test_refusals_give_a_reason(detector: Artifact, raw_heads: Artifact, tmp_path: Path) -> None:
    assert "bf16" in (litert.refuses(detector, Recipe(precision="bf16")) or "")
    assert "smooth" in (litert.refuses(detector, INT8.replace(smooth=True)) or "")
    assert litert.refuses(detector, INT8.replace(bias_correction=True)) is None
    made = lower(detector, INT8, tmp_path)
    assert "int8" in (litert.refuses(made, INT8) or "")


def test_a_tail_that_is_not_there_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto

    net = tiny.Net()
    net.conv("x", (3, 4))
    net.nodes[-1].output[0] = "y"
    net.op("Relu", "y", out="z")
    shapes = {"z": [1, 4, 8, 8]}
    path = net.save(tmp_path / "m.onnx", {"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, shapes)
    graph = Graph.read(to_tflite(Artifact("onnx", (path,)), tmp_path).path)
    while graph.word(graph.producers()[graph.outputs[0]]) == "TRANSPOSE":
        graph.body.outputs = [int(graph.producers()[graph.outputs[0]].inputs[0])]
    graph.drop_unread()
    graph.write(tmp_path / "bare.tflite")
    bare = Artifact("tflite", (tmp_path / "bare.tflite",), layout="NHWC")
    assert litert.refuses(bare, TAIL) == "nothing follows the last layers"
    assert litert.refuses(bare, INT8) is None


def test_int8_needs_images(detector: Artifact, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="calibration"):
        litert.quantize(detector, INT8, None, tmp_path)


def test_a_file_that_stayed_float_is_not_called_int8(raw_heads: Artifact, tmp_path: Path) -> None:
    every = Graph.read(raw_heads.path).layers()
    with pytest.raises(StepError, match="expected int8; got fp32"):
        litert.quantize(raw_heads, INT8, feeds(raw_heads), tmp_path, float_layers=every)


def test_prints_nothing(
    detector: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lower(detector, TAIL, tmp_path)
    assert capsys.readouterr() == ("", "")
