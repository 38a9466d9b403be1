"""ONNX Runtime's int8, int8 weights and fp16: right, honest about what runs, and clear if not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecv import plugins
from edgecv.converters import onnx_graph, onnx_qdq, saturation
from edgecv.converters.artifact import Artifact
from edgecv.converters.quantizers import onnxruntime as quantizer
from edgecv.converters.recipe import Recipe
from edgecv.errors import ConversionError, StepError
from tests.conversion import onnx_nets
from tests.conversion.onnx_nets import Net, Some, ops, outputs, save
from tests.conversion.quantizable_net import convolutions, snr

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"
INT8 = Recipe(precision="int8")


@pytest.fixture
def source(tmp_path):
    return save(convolutions(), tmp_path)


def make(artifact: Artifact, recipe: Recipe, tmp_path: Path, **more) -> Artifact:
    folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    return quantizer.quantize(artifact, recipe, Some(), folder, **more)


def agreement(source: Artifact, made: Artifact) -> float:
    feed = next(iter(Some()))
    return snr(outputs(source, feed)["y"], outputs(made, feed)["y"])


@pytest.mark.parametrize("calibrator", plugins.names("converters.calibrators"))
def test_int8_computes_nearly_the_same(source, tmp_path, calibrator):
    made = make(source, INT8.replace(calibrator=calibrator), tmp_path)
    assert (made.format, made.precision, made.layout) == ("onnx", "int8", "NCHW")
    assert made.notes[-1] == "4 of 4 layers run in int8 in ONNX Runtime" or saturation.saturates()
    assert agreement(source, made) > 25


def test_int8_is_smaller_and_weights_have_a_scale_for_each_channel(tmp_path):
    net = Net()
    net.conv("x", "y", (3, 64), spread=3)
    net.conv("y", "z", (64, 64))
    source = save(net.model(["z"]), tmp_path)
    made = make(source, INT8, tmp_path)
    assert made.size_bytes < 0.4 * source.size_bytes
    held = {i.name: i for i in onnx.load(made.path).graph.initializer}
    assert list(held["y_w_scale"].dims) == [64]
    assert held["y_w_quantized"].data_type == onnx.TensorProto.INT8


def test_the_same_bytes_twice(source, tmp_path):
    recipe = INT8.replace(calibrator="mse", float_layers=("b",))
    one, other = (make(source, recipe, tmp_path) for _ in range(2))
    assert one.path.read_bytes() == other.path.read_bytes()


def test_the_source_stays_as_it_is(source, tmp_path):
    before = source.path.read_bytes()
    make(source, INT8, tmp_path)
    make(source, Recipe(precision="int8-weights"), tmp_path)
    assert source.path.read_bytes() == before


def test_metadata_names_and_shapes_survive(tmp_path):
    model = convolutions(metadata={"names": "{0: 'a'}", "stride": "8"})
    source = save(model, tmp_path)
    for recipe in (INT8, Recipe(precision="int8-weights"), Recipe(precision="fp16")):
        made = onnx.load(make(source, recipe, tmp_path).path)
        assert {p.key: p.value for p in made.metadata_props} == {"names": "{0: 'a'}", "stride": "8"}
        assert [v.name for v in (*made.graph.input, *made.graph.output)] == ["x", "y"]


def test_float_layers_really_are_float(source, tmp_path):
    """ONNX Runtime's optimizer rounds the weights of float convolutions between int8 ones."""
    for name in "abcd":
        made = make(source, INT8.replace(float_layers=(name,)), tmp_path)
        assert made.notes[-1] == "3 of 4 layers run in int8 in ONNX Runtime"
        weights = {i.name: i.data_type for i in onnx.load(made.path).graph.initializer}
        assert weights[f"{name}_w"] == onnx.TensorProto.FLOAT


def test_float_layers_are_found_by_their_weights_where_names_changed(source, tmp_path):
    layers = onnx_graph.layers(onnx.load(source.path))
    renamed = onnx.load(source.path)
    for node in renamed.graph.node:
        node.name = f"new_{node.name}"
    other = save(renamed, tmp_path, "renamed.onnx")
    made = make(other, INT8.replace(float_layers=("c",)), tmp_path, float_layers=layers)
    weights = {i.name for i in onnx.load(made.path).graph.initializer}
    assert "c_w" in weights
    assert not {"a_w", "b_w", "d_w"} & weights
    with pytest.raises(StepError, match=r"stay in float.*not in the graph.*got c"):
        make(other, INT8.replace(float_layers=("c",)), tmp_path)


def test_what_lies_between_float_layers_stays_in_float(source):
    model = onnx.load(source.path)
    assert onnx_qdq.quantizable(model, ()) == [n.name for n in model.graph.node]
    # The sum takes int8 from one side; the activations of float layers do not.
    assert onnx_qdq.quantizable(model, {"a", "b"}) == ["c", "act_c", "join", "d", "score"]
    assert onnx_qdq.quantizable(model, {"a"}) == [
        "b", "act_b", "sum", "c", "act_c", "join", "d", "score"
    ]  # fmt: skip


def test_float_tail(source, tmp_path):
    made = make(source, INT8.replace(float_tail=True), tmp_path)
    nodes = onnx.load(made.path).graph.node
    (score,) = [n for n in nodes if n.name == "score"]
    assert list(score.output) == ["y"]
    assert not [n for n in nodes if "y" in n.input]
    whole = onnx.load(make(source, INT8, tmp_path).path).graph.node
    assert [n.op_type for n in whole if "y" in n.output] == ["DequantizeLinear"]


def test_pixels_prepared_in_the_graph_stay_as_they_are(tmp_path):
    net = Net()
    net.add("Cast", ["x"], "f", to=1)
    net.add("Transpose", ["f"], "t", perm=[0, 3, 1, 2])
    net.add("Mul", ["t", net.hold("k", np.float32(1 / 255))], "m")
    net.conv("m", "c", (3, 4))
    model = net.model(["c"], shape=(1, 12, 16, 3))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    source = save(model, tmp_path)

    class Pixels(Some):
        digest = "pixels"

        def __iter__(self):
            for feed in super().__iter__():
                yield {"x": (feed["x"] * 255).astype(np.uint8)}

    feeds = Pixels(shape=(1, 12, 16, 3))
    made = quantizer.quantize(source, INT8, feeds, tmp_path)
    assert ops(made)[:4] == ["Cast", "Transpose", "Mul", "QuantizeLinear"] or (
        ops(made).index("QuantizeLinear") > ops(made).index("Mul")
    )
    feed = next(iter(feeds))
    assert snr(outputs(model, feed)["c"], outputs(made, feed)["c"]) > 30


@pytest.mark.parametrize("act", ["Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Clip"])
def test_activations(tmp_path, act):
    source = save(convolutions(act), tmp_path)
    made = make(source, INT8.replace(calibrator="mse"), tmp_path)
    assert made.notes[-1].startswith("4 of 4")
    assert agreement(source, made) > 20


def test_matrix_products_and_transposed_convolutions(tmp_path):
    net = Net()
    net.conv("x", "a", (3, 4))
    rng = net.rng
    up = net.hold("up_w", rng.normal(0, 0.3, (4, 5, 2, 2)).astype(np.float32))
    net.add("ConvTranspose", ["a", up], "u", name="u", strides=[2, 2])
    net.add("GlobalAveragePool", ["u"], "p", name="p")
    net.add("Flatten", ["p"], "f", name="f")
    gemm = net.hold("g_w", rng.normal(0, 1, (7, 5)).astype(np.float32))
    bias = net.hold("g_b", rng.normal(0, 1, 7).astype(np.float32))
    net.add("Gemm", ["f", gemm, bias], "g", name="g", transB=1)
    product = net.hold("m_w", rng.normal(0, 1, (7, 3)).astype(np.float32))
    net.add("MatMul", ["g", product], "y", name="m")
    source = save(net.model(["y"]), tmp_path)
    made = make(source, INT8, tmp_path)
    # There is no int8 kernel of a transposed convolution.
    assert made.notes[-1] == "3 of 4 layers run in int8 in ONNX Runtime"
    assert agreement(source, made) > 20
    weights = make(source, Recipe(precision="int8-weights"), tmp_path)
    assert agreement(source, weights) > 30
    held = onnx.load(weights.path).graph.initializer
    scales = {i.name: list(i.dims) for i in held if i.name.endswith("_scale")}
    assert scales == {
        "a_w_scale": [4, 1, 1, 1], "up_w_scale": [1, 5, 1, 1],
        "g_w_scale": [7, 1], "m_w_scale": [1, 3],
    }  # fmt: skip


def test_constant_nodes_are_no_activations(tmp_path):
    net = Net()
    net.conv("x", "a", (3, 4))
    value = onnx.numpy_helper.from_array(np.full((1, 4, 1, 1), 0.5, np.float32))
    net.add("Constant", [], "half", value=value)
    net.add("Mul", ["a", "half"], "y", name="scale")
    source = save(net.model(["y"]), tmp_path)
    assert agreement(source, make(source, INT8, tmp_path)) > 25


def test_int8_weights_are_restored_when_the_file_is_loaded(source, tmp_path):
    made = make(source, Recipe(precision="int8-weights", float_layers=("d",)), tmp_path)
    assert made.precision == "int8-weights"
    assert "3 weight tensors" in made.notes[-1]
    assert agreement(source, made) > 30
    counted = Counter(ops(made))
    assert (counted["Cast"], counted["Mul"], counted["DequantizeLinear"]) == (3, 3, 0)
    # The layer that stays in float is bit-exact.
    held = {i.name: i for i in onnx.load(made.path).graph.initializer}
    assert held["d_w"].data_type == onnx.TensorProto.FLOAT
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(made.path), options, providers=["CPUExecutionProvider"])
    assert "Cast" not in {n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node}


def test_weights_shared_by_two_layers_are_stored_once(tmp_path):
    net = Net()
    net.conv("x", "a", (3, 3))
    net.add("Conv", ["a", "a_w", "a_b"], "y", name="again", pads=[1] * 4)
    source = save(net.model(["y"]), tmp_path)
    made = make(source, Recipe(precision="int8-weights"), tmp_path)
    assert ops(made).count("Cast") == 1
    assert agreement(source, made) > 25


def test_fp16_is_made(source, tmp_path):
    made = make(source, Recipe(precision="fp16"), tmp_path)
    assert made.precision == "fp16"
    assert agreement(source, made) > 50


def test_seven_bits_where_sums_would_saturate(source, tmp_path, monkeypatch):
    monkeypatch.setattr(saturation.host, "cpu_features", lambda: ("avx2", "avx512f"))
    made = make(source, INT8, tmp_path)
    assert made.notes[-1] == saturation.NOTE
    held = onnx.load(made.path).graph.initializer
    largest = max(
        int(np.abs(onnx.numpy_helper.to_array(i).astype(int)).max())
        for i in held
        if i.name.endswith("_w_quantized")
    )
    assert 60 <= largest <= 64


@pytest.mark.parametrize(
    ("artifact", "recipe", "reason"),
    [
        ({}, Recipe(precision="bf16"), "bf16"),
        ({}, Recipe(precision="fp32"), "already"),
        ({"precision": "int8"}, INT8, "int8 already"),
        ({"format": "tflite"}, INT8, "no tflite"),
        ({}, INT8.replace(smooth=True), "language models"),
    ],
)
def test_refusals(tmp_path, artifact, recipe, reason):
    given = Artifact(**{"format": "onnx", "files": (tmp_path / "m.onnx",), **artifact})
    assert reason in (quantizer.refuses(given, recipe) or "")
    with pytest.raises(StepError, match=reason):
        quantizer.quantize(given, recipe, Some(), tmp_path)


@pytest.mark.parametrize(
    "recipe", [INT8, Recipe(precision="int8-weights"), Recipe(precision="fp16")]
)
def test_nothing_else_is_refused(source, recipe):
    assert quantizer.refuses(source, recipe) is None


def test_old_opsets_are_named(tmp_path):
    source = save(convolutions(opset=11, ir_version=6), tmp_path)
    with pytest.raises(StepError, match=r"expected opset 13 or later; got opset 11"):
        make(source, INT8, tmp_path)


def test_nothing_to_quantize(tmp_path):
    net = Net()
    net.add("Relu", ["x"], "y")
    source = save(net.model(["y"]), tmp_path)
    with pytest.raises(StepError, match="no layer is left"):
        make(source, INT8, tmp_path)
    with pytest.raises(StepError, match="no layer has weights"):
        make(source, Recipe(precision="int8-weights"), tmp_path)


def test_no_images(source, tmp_path):
    with pytest.raises(StepError, match="needs calibration images"):
        quantizer.quantize(source, INT8, None, tmp_path)
    with pytest.raises(StepError, match="needs calibration images"):
        quantizer.quantize(source, INT8, Some(0), tmp_path)


def test_a_model_that_overflows_is_named(tmp_path):
    net = Net()
    net.conv("x", "a", (3, 4))
    net.add("Mul", ["a", net.hold("k", np.float32(3e38))], "b")
    net.add("Mul", ["b", net.hold("l", np.float32(3e38))], "y")
    source = save(net.model(["y"]), tmp_path)
    with pytest.raises(ConversionError, match=r"(a|b|y): a tensor has values that are not finite"):
        make(source, INT8, tmp_path)


def test_digits_example(tmp_path):
    class Digits(Some):
        digest = "digits"

        def __iter__(self):
            for feed in super().__iter__():
                yield {"images": feed["x"]}

    source = Artifact("onnx", (DIGITS,))
    feeds = Digits(2, (1, 3, 192, 192))
    made = quantizer.quantize(source, INT8.replace(float_tail=True), feeds, tmp_path)
    assert made.notes[-1] == "20 of 20 layers run in int8 in ONNX Runtime"
    feed = next(iter(feeds))
    got, want = outputs(made, feed)["output0"], outputs(source, feed)["output0"]
    assert snr(want, got) > 30
    assert made.size_bytes < 0.4 * source.size_bytes
    assert onnx_nets.ops(made).count("Conv") == 20
