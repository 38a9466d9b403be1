"""What is particular to LiteRT: quantized tensors, precision of its ops, XNNPACK, free axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecv.backends import litert as backend
from edgecv.errors import InferenceError, ModelLoadError, UsageError
from edgecv.types import ModelSource, Quantization, SessionOptions
from tests.contract import tiny_models


def open_path(path: Path, **extra: str) -> backend.LiteRtSession:
    return backend.open_session(ModelSource.from_paths(path), SessionOptions(1, extra=extra))


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("fp32", "fp32"), ("int8", "int8"), ("int8-weights", "int8-weights"), ("fp16", "fp32")],
)
@pytest.mark.parametrize("xnnpack", ["true", "false"])
def test_precision_is_read_from_the_ops(tmp_path, kind, precision, xnnpack) -> None:
    session = open_path(tiny_models.tflite_file(tmp_path / "m.tflite", kind=kind), xnnpack=xnnpack)
    assert session.info.precision == precision
    assert session.info.device == ("CPU (XNNPACK)" if xnnpack == "true" else "CPU")
    assert any("stored as fp16" in note for note in session.info.notes) == (kind == "fp16")


def test_integers_go_in_and_come_out(tmp_path: Path) -> None:
    session = open_path(tiny_models.tflite_file(tmp_path / "m.tflite", kind="int8"))
    spec = session.inputs[0]
    scale, zero_point = tiny_models.SCALE, tiny_models.ZERO_POINT
    assert (spec.dtype, spec.quantization) == ("int8", Quantization(scale, zero_point))
    assert session.outputs[0].quantization == Quantization(0.125, 0)
    x = tiny_models.image()
    integers = np.round(nhwc(x) / scale + zero_point).astype(np.int8)
    outputs = session.run({"x": integers})
    assert outputs["y"].dtype == np.int8
    real = (outputs["y"].astype(np.float32) - 0) * 0.125
    expected = nhwc(
        tiny_models.reference((integers - zero_point).transpose(0, 3, 1, 2) * scale)["y"]
    )
    np.testing.assert_allclose(real, expected, atol=0.13)
    with pytest.raises(InferenceError, match=r"expected x int8\[1,8,8,3\]; got float32"):
        session.run({"x": nhwc(x)})


def test_two_tensors_of_one_name(tmp_path: Path) -> None:
    session = open_path(tiny_models.tflite_file(tmp_path / "m.tflite", kind="twins"))
    assert [spec.name for spec in session.outputs] == ["y", "y:1"]
    outputs = session.run({"x": nhwc(tiny_models.image())})
    np.testing.assert_array_equal(outputs["y:1"], np.maximum(outputs["y"], 0))


@pytest.mark.parametrize("xnnpack", ["true", "false"])
def test_a_free_batch_axis(tmp_path: Path, xnnpack: str) -> None:
    path = tiny_models.tflite_file(tmp_path / "m.tflite", batch_free=True)
    session = open_path(path, xnnpack=xnnpack)
    assert session.inputs[0].shape == (None, 8, 8, 3)
    for batch in (1, 4, 4, 2, 1):
        x = tiny_models.image(batch=batch)
        y = session.run({"x": nhwc(x)})["y"]
        np.testing.assert_allclose(y, nhwc(tiny_models.reference(x)["y"]), atol=1e-5)


def test_a_custom_op_is_named(tmp_path: Path) -> None:
    path = tiny_models.tflite_file(tmp_path / "m.tflite", kind="custom")
    with pytest.raises(ModelLoadError, match="Unheard") as caught:
        open_path(path)
    assert caught.value.remedy is None
    with pytest.raises(ModelLoadError, match="Unheard") as caught:
        open_path(path, xnnpack="false")
    assert "xnnpack=false" in caught.value.remedy


def test_options_that_cannot_be_used(tmp_path: Path) -> None:
    path = tiny_models.tflite_file(tmp_path / "m.tflite")
    with pytest.raises(UsageError, match="xnnpack"):
        open_path(path, xnnpack="perhaps")
    with pytest.raises(UsageError, match="convert the model again"):
        backend.open_session(ModelSource.from_paths(path), SessionOptions(1, "fp16"))


def test_the_older_engine_is_a_second_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        backend.session, "installed", lambda *names: asked.append(names) or (names[1], "2.14.0")
    )
    assert backend.version() == "2.14.0"
    assert asked == [("ai-edge-litert", "tflite-runtime")]


class Details:
    """Ops as the engine lists them; types by tensor index."""

    def __init__(self, types: dict[int, type], *ops: tuple[str, list[int], list[int]]) -> None:
        self.types, self.ops = types, ops

    def _get_ops_details(self) -> list[dict]:
        return [
            {
                "op_name": name,
                "inputs": np.array(inputs),
                "outputs": np.array(outputs),
                "operand_types": [self.types[i] for i in inputs if i != -1],
                "result_types": [self.types[i] for i in outputs if i != -1],
            }
            for name, inputs, outputs in self.ops
        ]


F32, F16, I8, I32 = np.float32, np.float16, np.int8, np.int32


@pytest.mark.parametrize(
    ("details", "layers", "note"),
    [
        (Details({0: F32, 1: F32, 2: F32}, ("CONV_2D", [0, 1, -1], [2])), {"fp32": 1}, ""),
        (Details({0: I8, 1: I8, 2: I8}, ("CONV_2D", [0, 1, -1], [2])), {"int8": 1}, ""),
        (Details({0: F32, 1: I8, 2: F32}, ("FULLY_CONNECTED", [0, 1, -1], [2])),
         {"int8": 1}, "at run time"),
        (Details({0: I32, 1: F32, 2: F32, 3: F32}, ("TRANSPOSE_CONV", [0, 1, 2], [3])),
         {"fp32": 1}, ""),
        (Details({0: F16, 1: F16, 2: F16}, ("CONV_2D", [0, 1], [2])), {"fp16": 1}, ""),
        (Details({0: I8, 1: F32, 2: F32, 3: F32},
                 ("DEQUANTIZE", [0], [1]), ("CONV_2D", [2, 1], [3])), {"int8-weights": 1}, ""),
        (Details({0: F32, 1: F32}, ("ADD", [0, 0], [1])), {}, ""),
        (Details({0: F32, 1: F32}, ("CONV_2D", [0], [1])), {}, ""),
        (object(), {}, "does not list its ops"),
    ],
)  # fmt: skip
def test_layers(details, layers, note) -> None:
    found = backend._layers(details)
    assert found.layers == layers
    assert note in " ".join(found.notes)
    assert bool(found.notes) == bool(note)
    assert not found.delegated
