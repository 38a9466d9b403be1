"""ONNX to OpenVINO IR: the same outputs under the same names, or a clear error."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgecv.backends import openvino as backend
from edgecv.converters import openvino_graph
from edgecv.converters.artifact import Artifact
from edgecv.converters.steps import onnx_openvino
from edgecv.converters.steps.onnx_openvino import to_openvino
from edgecv.converters.telemetry import no_telemetry
from edgecv.errors import ParityError, StepError
from edgecv.types import SessionOptions
from tests.conversion.onnx_nets import Net, image, outputs, save

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"


def net() -> Net:
    made = Net()
    made.conv("x", "a", (3, 4))
    made.add("Relu", ["a"], "b")
    made.conv("b", "y", (4, 2), strides=[2, 2])
    return made


@pytest.fixture
def source(tmp_path):
    return save(net().model(["y", "b"], metadata={"names": "{0: 'cat'}"}), tmp_path)


def make(source: Artifact, folder: Path) -> Artifact:
    folder.mkdir()
    return to_openvino(source, folder)


def test_outputs_names_and_metadata(source, tmp_path):
    made = make(source.noting("simplified"), tmp_path / "ir")
    assert (made.format, made.precision, made.notes) == ("openvino", "fp32", ("simplified",))
    assert [path.name for path in made.files] == ["model.xml", "model.bin"]
    session = backend.open_session(made.source(), SessionOptions())
    assert [spec.name for spec in session.inputs] == ["x"]
    assert [spec.name for spec in session.outputs] == ["y", "b"]
    assert session.info.precision == "fp32"
    assert session.metadata["framework/names"] == "{0: 'cat'}"
    feed = {"x": image()}
    want = outputs(source, feed)
    for name, value in session.run(feed).items():
        assert np.allclose(value, want[name], atol=1e-4)


def test_nothing_on_this_machine_is_told(source, tmp_path):
    made = make(source, tmp_path / "ir")
    assert str(tmp_path) not in made.path.read_text()


def test_the_same_bytes_twice(tmp_path):
    one, other = (make(Artifact("onnx", (DIGITS,)), tmp_path / name) for name in "ab")
    for a, b in zip(one.files, other.files, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_weights_stay_in_float32(source, tmp_path):
    made = make(source, tmp_path / "ir")
    model = openvino_graph.load(made.path)
    kinds = {o.get_element_type().get_type_name() for o in model.get_ops()}
    assert "f16" not in kinds


def test_graphs_that_prepare_their_pixels(tmp_path):
    made = Net()
    made.add("Cast", ["x"], "f", to=1)
    made.add("Transpose", ["f"], "t", perm=[0, 3, 1, 2])
    made.conv("t", "y", (3, 2))
    model = made.model(["y"], shape=(1, 12, 16, 3))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    given = Artifact(
        "onnx", save(model, tmp_path).files, layout="NHWC", in_graph=("color", "normalize")
    )
    ir = make(given, tmp_path / "ir")
    assert (ir.layout, ir.in_graph) == ("NHWC", ("color", "normalize"))
    session = backend.open_session(ir.source(), SessionOptions())
    assert (session.inputs[0].dtype, session.inputs[0].shape) == ("uint8", (1, 12, 16, 3))


def test_layers_and_tail(source, tmp_path):
    made = net()
    made.add("Sigmoid", ["y"], "s", name="score")
    made.add("Flatten", ["s"], "flat")
    model = openvino_graph.load(make(save(made.model(["flat"]), tmp_path), tmp_path / "ir").path)
    assert [layer.op for layer in openvino_graph.layers(model)] == ["Convolution"] * 2
    assert openvino_graph.tail(model) == ("score", "flat")


def test_an_operator_that_is_missing(tmp_path):
    made = net()
    made.nodes.append(onnx.helper.make_node("Fancy", ["y"], ["z"], domain="com.example"))
    model = made.model(["z"])
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(StepError, match=r"OpenVINO cannot convert the model.*Fancy"):
        make(save(model, tmp_path), tmp_path / "ir")


def test_a_wrong_result_is_no_result(source, tmp_path, monkeypatch):
    import openvino

    other = net()
    other.weights["a_b"] = other.weights["a_b"] + np.float32(0.01)
    wrong = save(other.model(["y", "b"]), tmp_path, "wrong.onnx")
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda _: convert(wrong.path))
    with pytest.raises(ParityError, match=r"output (y|b).*something else"):
        make(source, tmp_path / "ir")


def test_lost_outputs(source, tmp_path, monkeypatch):
    import openvino

    fewer = save(net().model(["y"]), tmp_path, "fewer.onnx")
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda _: convert(fewer.path))
    with pytest.raises(ParityError, match="outputs got lost"):
        make(source, tmp_path / "ir")


def test_other_formats(tmp_path):
    with pytest.raises(StepError, match="not an ONNX file"):
        to_openvino(Artifact("tflite", (tmp_path / "m.tflite",)), tmp_path)


def test_nothing_is_printed(source, tmp_path, capfd):
    make(source, tmp_path / "ir")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("before", [None, "false"])
def test_telemetry_is_declined_and_the_environment_restored(before, monkeypatch):
    if before is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", before)
    with no_telemetry():
        try:
            from openvino_telemetry.utils.opt_in_checker import OptInChecker
        except ImportError:
            pytest.skip("openvino-telemetry is not installed: nothing is reported")
        checker = OptInChecker()
        assert checker.check(False, disable_in_ci=True).name == "DECLINED"
    assert os.environ.get("CI") == before


def test_tolerance_is_of_the_largest_value():
    assert onnx_openvino.TOLERANCE <= 1e-3
