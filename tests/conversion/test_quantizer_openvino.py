"""OpenVINO's int8, int8 weights, fp16 and bf16: right, repeatable, and clear where refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecv import plugins
from edgecv.backends import openvino as backend
from edgecv.converters import onnx_graph, openvino_graph, openvino_ranges, saturation
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibrator import load_calibrator
from edgecv.converters.quantizers import openvino as quantizer
from edgecv.converters.recipe import Recipe
from edgecv.converters.steps.onnx_openvino import to_openvino
from edgecv.errors import ConversionError, StepError
from edgecv.types import SessionOptions
from tests.conversion.onnx_nets import Net, Some, save
from tests.conversion.quantizable_net import convolutions, snr

INT8 = Recipe(precision="int8")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save(convolutions(), tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def source(plain, tmp_path_factory):
    return to_openvino(plain, tmp_path_factory.mktemp("ir"))


@pytest.fixture(scope="module")
def layers(plain):
    return onnx_graph.layers(onnx.load(plain.path))


def make(source: Artifact, recipe: Recipe, tmp_path: Path, feeds=None, **more) -> Artifact:
    folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    return quantizer.quantize(
        source, recipe, feeds if feeds is not None else Some(), folder, **more
    )


def run(artifact: Artifact, feed=None):
    opened = openvino_graph.compiled(openvino_graph.load(artifact.path))
    return openvino_graph.run(opened, feed or next(iter(Some())))[0]


def agreement(source: Artifact, made: Artifact) -> float:
    return snr(run(source), run(made))


def rounding(made: Artifact) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the ranges of the activations by the operation that makes them."""
    found = {}
    for op in openvino_ranges.activations(openvino_graph.load(made.path)):
        low, high = (op.input_value(i).get_node().data.ravel().copy() for i in (1, 2))
        found[op.input_value(0).get_node().get_friendly_name()] = (low, high)
    return found


@pytest.mark.parametrize("calibrator", plugins.names("converters.calibrators"))
def test_int8_computes_nearly_the_same(source, tmp_path, calibrator):
    made = make(source, INT8.replace(calibrator=calibrator), tmp_path)
    assert (made.format, made.precision, len(made.files)) == ("openvino", "int8", 2)
    assert made.notes[0] == "4 of 4 layers have int8 weights and activations"
    assert agreement(source, made) > 30


def test_the_engine_says_that_it_runs_in_int8(source, tmp_path):
    made = make(source, INT8, tmp_path)
    session = backend.open_session(made.source(), SessionOptions())
    assert session.info.precision == "int8"


@pytest.mark.parametrize("calibrator", ["minmax", "mse"])
def test_ranges_are_those_of_the_calibrator(source, tmp_path, calibrator):
    made = make(source, INT8.replace(calibrator=calibrator), tmp_path)
    model = openvino_graph.load(source.path)
    ranges = rounding(made)
    measured = openvino_ranges.measure(model, openvino_graph.load(made.path), Some(), {})
    assert set(ranges) == set(measured)
    choose = load_calibrator(calibrator).choose
    alone = [name for name in ranges if name in ("x", "act_a", "act_b", "sum")]
    assert len(alone) >= 3
    for name in alone:
        chosen = np.array([choose(h) for h in measured[name]])
        low, high = ranges[name]
        step = (high - low) / 255
        # Merging may widen a range, and 0 becomes a level.
        assert (low <= chosen[:, 0] + 0.501 * step).all()
        assert (high >= chosen[:, 1] - 0.501 * step).all()
        assert np.allclose(low / step, np.rint(low / step), atol=1e-3)


def test_inputs_of_depthwise_convolutions_have_a_range_for_each_channel(tmp_path):
    net = Net()
    net.conv("x", "a", (3, 8), spread=3)
    net.add("Relu", ["a"], "a1", name="act")
    net.conv("a1", "b", (8, 8), group=8)
    net.conv("b", "y", (8, 4))
    source = to_openvino(save(net.model(["y"]), tmp_path), tmp_path)
    made = make(source, INT8.replace(calibrator="mse"), tmp_path)
    high = rounding(made)["act"][1]
    assert len(high) == 8
    assert high.max() > 5 * high.min()
    model = openvino_graph.load(source.path)
    values = [run_["act"] for run_ in openvino_graph.runs(model, Some(), ["act"])]
    largest = np.max(values, axis=(0, 1, 3, 4))
    dead = largest == 0
    assert np.array_equal(high[dead], np.ones(dead.sum()))
    assert ((high <= 1.01 * largest) | dead).all()
    assert ((high > 0.6 * largest) | dead).all()


def test_every_image_counts(source, tmp_path):
    class Bright(Some):
        digest = "bright"

        def __iter__(self):
            for at, feed in enumerate(super().__iter__()):
                yield {"x": feed["x"] * (50 if at == 3 else 1)}

    ordinary, bright = (rounding(make(source, INT8, tmp_path, f)) for f in (Some(), Bright()))
    assert bright["x"][1] > 40 * ordinary["x"][1]


def test_the_same_bytes_twice(source, tmp_path):
    for recipe in (
        INT8.replace(calibrator="mse", float_tail=True),
        INT8.replace(bias_correction=True),
        Recipe(precision="int8-weights"),
        Recipe(precision="fp16"),
    ):
        one, other = (make(source, recipe, tmp_path) for _ in range(2))
        for a, b in zip(one.files, other.files, strict=True):
            assert a.read_bytes() == b.read_bytes(), str(recipe)


def test_what_was_measured_before_is_used_again(source, tmp_path):
    class Counted(Some):
        digest = "counted"
        rounds = 0

        def __iter__(self):
            Counted.rounds += 1
            return super().__iter__()

    feeds = Counted()
    first = make(source, INT8.replace(calibrator="mse"), tmp_path, feeds)
    before = Counted.rounds
    make(source, INT8.replace(calibrator="percentile"), tmp_path, feeds)
    again = make(source, INT8.replace(calibrator="mse"), tmp_path, feeds)
    assert Counted.rounds - before < 2 * before
    assert first.digest == again.digest


def test_float_layers_are_found_by_their_weights(source, layers, tmp_path):
    for name in "abcd":
        recipe = INT8.replace(float_layers=(name,))
        chosen = [layer for layer in layers if layer.name == name]
        made = make(source, recipe, tmp_path, float_layers=chosen)
        assert made.notes[0].startswith("3 of 4 layers")
        kept = chosen[0].weights
        floats = [
            layer
            for layer in openvino_graph.layers(openvino_graph.load(made.path))
            if layer.weights.distance(kept) < 1e-6
        ]
        assert len(floats) == 1


def test_float_layers_that_are_nowhere(source, tmp_path):
    with pytest.raises(StepError, match=r"not in the graph.*got nowhere"):
        make(source, INT8.replace(float_layers=("nowhere",)), tmp_path)


def test_float_tail(tmp_path):
    net = Net()
    net.conv("x", "a", (3, 4))
    net.conv("a", "b", (4, 4))
    net.conv("a", "c", (4, 4))
    net.add("Mul", ["b", net.hold("k", np.float32(200))], "big", name="big")
    net.add("Sigmoid", ["c"], "small", name="small")
    net.add("Concat", ["big", "small"], "j", name="join", axis=1)
    net.add("MaxPool", ["j"], "y", name="pool", kernel_shape=[2, 2])
    source = to_openvino(save(net.model(["y"]), tmp_path), tmp_path)
    made = make(source, INT8.replace(float_tail=True), tmp_path)
    tail = set(openvino_graph.tail(openvino_graph.load(source.path)))
    assert {"small", "join", "y"} <= tail
    assert not tail & set(rounding(made))
    scores = slice(4, 8)
    assert np.abs(run(source) - run(made))[:, scores].max() < 0.05


def test_bias_correction_changes_biases_alone(source, tmp_path):
    recipe = INT8.replace(calibrator="mse")
    without = make(source, recipe, tmp_path)
    corrected = make(source, recipe.replace(bias_correction=True), tmp_path)
    assert without.files[1].read_bytes() != corrected.files[1].read_bytes()
    one, other = rounding(without), rounding(corrected)
    assert one.keys() == other.keys()
    for name in one:
        assert np.allclose(one[name], other[name])


def test_smoothing_of_matrix_products(tmp_path):
    net = Net()
    rng = net.rng
    for at, (source, made, shape) in enumerate(
        [("x", "h", (16, 32)), ("g", "k", (32, 16)), ("k", "y", (16, 8))]
    ):
        weights = net.hold(f"w{at}", rng.normal(0, 0.3, shape).astype(np.float32))
        net.add("MatMul", [source, weights], made, name=f"product{at}")
        if made == "h":
            net.add("Relu", ["h"], "g", name="act")
    source = to_openvino(save(net.model(["y"], shape=(1, 20, 16)), tmp_path), tmp_path)

    class Outliers(Some):
        digest = "outliers"

        def __iter__(self):
            for feed in super().__iter__():
                feed["x"][..., 3] *= 60
                yield feed

    feeds = Outliers(4, (1, 20, 16))
    smooth = INT8.replace(smooth=True)
    assert quantizer.refuses(source, smooth) is None
    plain, made = (make(source, r, tmp_path, feeds) for r in (INT8, smooth))
    feed = next(iter(feeds))
    want = run(source, feed)
    errors = [np.abs(run(m, feed) - want).mean() for m in (plain, made)]
    assert errors[1] < 0.8 * errors[0]


def test_smoothing_without_matrix_products_is_refused(source):
    reason = quantizer.refuses(source, INT8.replace(smooth=True))
    assert (
        reason == "smoothing is for matrix products, and the model has none with constant weights"
    )


def test_int8_weights(source, layers, tmp_path):
    recipe = Recipe(precision="int8-weights", float_layers=("b",))
    made = make(source, recipe, tmp_path, float_layers=layers)
    assert made.precision == "int8-weights"
    assert made.notes[0].startswith("weights of 3 layers")
    assert agreement(source, made) > 35
    assert not rounding(made)
    assert make(source, recipe, tmp_path, float_layers=layers).digest == made.digest


def test_fp16(source, tmp_path):
    made = make(source, Recipe(precision="fp16"), tmp_path)
    assert made.precision == "fp16"
    assert made.files[1].stat().st_size < 0.6 * source.files[1].stat().st_size
    assert agreement(source, made) > 50


def test_bf16_is_the_float_file(source, tmp_path, monkeypatch):
    monkeypatch.setattr(quantizer, "_has_bf16", lambda: True)
    made = make(source, Recipe(precision="bf16"), tmp_path)
    assert made.precision == "bf16"
    assert made.path.parent != source.path.parent
    assert made.path.read_bytes() == source.path.read_bytes()
    assert made.files[1].read_bytes() == source.files[1].read_bytes()


def test_bf16_is_refused_where_the_cpu_lacks_it(source, monkeypatch):
    monkeypatch.setattr(quantizer, "_has_bf16", lambda: False)
    assert "bf16" in (quantizer.refuses(source, Recipe(precision="bf16")) or "")


def test_what_this_cpu_can_do_is_asked():
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert quantizer._has_bf16() == ("BF16" in able)


@pytest.mark.parametrize(
    ("artifact", "recipe", "reason"),
    [
        ({}, Recipe(precision="fp32"), "already"),
        ({"precision": "fp16"}, INT8, "fp16 already"),
        ({"format": "onnx"}, INT8, "not of onnx"),
    ],
)
def test_refusals(tmp_path, artifact, recipe, reason):
    given = Artifact(**{"format": "openvino", "files": (tmp_path / "m.xml",), **artifact})
    assert reason in (quantizer.refuses(given, recipe) or "")
    with pytest.raises(StepError, match=reason):
        quantizer.quantize(given, recipe, Some(), tmp_path)


def test_nothing_to_quantize(tmp_path):
    net = Net()
    net.add("Relu", ["x"], "y")
    source = to_openvino(save(net.model(["y"]), tmp_path), tmp_path)
    with pytest.raises(StepError, match="no layer is left"):
        make(source, INT8, tmp_path)
    with pytest.raises(StepError, match="no layer has weights"):
        make(source, Recipe(precision="int8-weights"), tmp_path)


def test_values_that_are_not_finite_name_the_tensor(source, tmp_path):
    class Broken(Some):
        digest = "broken"

        def __iter__(self):
            for feed in super().__iter__():
                feed["x"][0, 0, 0, 0] = np.nan
                yield feed

    with pytest.raises(ConversionError, match="not finite"):
        make(source, INT8, tmp_path, Broken())


def test_no_images(source, tmp_path):
    with pytest.raises(StepError, match="needs calibration images"):
        quantizer.quantize(source, INT8, None, tmp_path)
    with pytest.raises(StepError, match="needs calibration images"):
        quantizer.quantize(source, INT8, Some(0), tmp_path)


def test_nothing_is_printed(source, tmp_path, capfd):
    make(source, INT8.replace(bias_correction=True), tmp_path)
    make(source, Recipe(precision="int8-weights"), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_seven_bits_where_sums_would_saturate(source, tmp_path, monkeypatch):
    monkeypatch.setattr(saturation, "saturates", lambda: True)
    made = make(source, INT8, tmp_path)
    assert made.notes[-1] == saturation.NOTE
    integers = [
        int(np.abs(op.data.astype(int)).max())
        for op in openvino_graph.load(made.path).get_ops()
        if op.get_type_name() == "Constant" and op.get_element_type().get_type_name() == "i8"
    ]
    # Sums of a depthwise convolution are too short to overflow.
    assert sorted(integers)[:3] == [63, 63, 63]
    assert len(integers) == 4
