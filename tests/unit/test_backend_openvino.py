"""What is particular to OpenVINO: IR and ONNX, precision of the compiled layers, rt_info."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgecv.backends import openvino as backend
from edgecv.errors import ModelLoadError, UsageError
from edgecv.types import ModelSource, SessionOptions
from tests.contract import tiny_models


def open_path(path: Path, options: SessionOptions | None = None) -> backend.OpenVinoSession:
    source = ModelSource.from_paths(path, *backend.companions(path))
    return backend.open_session(source, options or SessionOptions(threads=1))


def matmul(path: Path, kind: str) -> Path:
    """Write x (1, 256) @ w (256, 512) as IR, with weights of a type of their own."""
    import openvino
    from openvino import opset13 as ops

    x = ops.parameter([1, 256], np.float32, name="x")
    rng = np.random.default_rng(0)
    if kind == "float":
        weights = ops.constant(rng.random((512, 256), np.float32))
    else:
        integers = ops.constant(rng.integers(-127, 128, (512, 256)).astype(np.int8))
        scale = ops.constant(np.full((512, 1), 0.01, np.float32))
        weights = ops.multiply(ops.convert(integers, np.float32), scale)
    model = openvino.Model([ops.matmul(x, weights, False, True)], [x], "m")
    openvino.save_model(model, str(path), compress_to_fp16=False)
    return path


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("fp32", "fp32"), ("qdq", "int8"), ("qdq-weights", "fp32"), ("fp16", "fp32")],
)
def test_precision_is_read_from_the_compiled_layers(tmp_path, kind, precision) -> None:
    session = open_path(tiny_models.onnx_file(tmp_path / "m.onnx", kind=kind))
    assert session.info.precision == precision
    x = tiny_models.image().astype(session.inputs[0].dtype)
    expected = tiny_models.reference(tiny_models.image())["y"]
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, atol=0.12)


def test_threads_that_come_at_once_share_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    @cache
    def slowly() -> object:
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    monkeypatch.setattr(backend, "_core", slowly)
    with ThreadPoolExecutor(4) as pool:
        cores = [future.result() for future in [pool.submit(backend.shared_core) for _ in range(4)]]
    assert made == [cores[0]]
    assert all(core is cores[0] for core in cores)


@pytest.mark.parametrize(("kind", "precision"), [("float", "fp32"), ("int8", "int8-weights")])
def test_compressed_weights_are_told_from_integer_arithmetic(tmp_path, kind, precision) -> None:
    assert open_path(matmul(tmp_path / "m.xml", kind)).info.precision == precision


def test_a_precision_that_this_cpu_lacks(tmp_path: Path, monkeypatch) -> None:
    """The engine itself would take another one in silence."""
    import openvino

    path = tiny_models.onnx_file(tmp_path / "m.onnx")

    class Old(openvino.Core):
        def get_property(self, *key):
            return ["FP32", "INT8"] if key[-1] == "OPTIMIZATION_CAPABILITIES" else None

    old = Old()
    monkeypatch.setattr(backend, "shared_core", lambda: old)
    for precision in ("fp16", "bf16"):
        with pytest.raises(UsageError, match=f"one of auto, fp32; got '{precision}'"):
            open_path(path, SessionOptions(1, precision))
    assert open_path(path).info.precision == "fp32"


def test_metadata_of_an_ir(tmp_path: Path) -> None:
    session = open_path(tiny_models.ir_files(tmp_path)[0])
    assert session.metadata["model_info/model_type"] == "YOLO"
    assert session.metadata["model_info/labels"] == "a b"
    assert all(isinstance(value, str) for value in session.metadata.values())


def test_metadata_of_an_onnx_file(tmp_path: Path) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", metadata={"task": "detect"})
    assert open_path(path).metadata["framework/task"] == "detect"


def test_free_axes(tmp_path: Path) -> None:
    session = open_path(tiny_models.onnx_file(tmp_path / "m.onnx", batch="n", size="side"))
    assert session.inputs[0].shape == (None, 3, None, None)
    for shape in ((1, 3, 8, 8), (5, 3, 8, 8), (2, 3, 1, 13), (1, 3, 8, 8)):
        x = np.random.default_rng(0).random(shape, np.float32)
        y = session.run({"x": x})["y"]
        np.testing.assert_allclose(y, tiny_models.reference(x)["y"], atol=1e-5)


def test_outputs_keep_the_names_of_the_onnx_file(tmp_path: Path) -> None:
    """A tensor has several names once the engine has dropped the ops between them."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Relu", ["x"], ["a_first_name"]),
        helper.make_node("Identity", ["a_first_name"], ["z_output"]),
        helper.make_node("Identity", ["z_output"], ["m_output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("z_output",)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert [spec.name for spec in open_path(tmp_path / "m.onnx").outputs] == ["z_output"]


@pytest.mark.parametrize("how", ["memory", "two folders"])
def test_external_data(tmp_path: Path, how: str) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    data = tmp_path / "w.bin"
    parts = {"m.onnx": memoryview(path.read_bytes()), "w.bin": memoryview(data.read_bytes())}
    if how == "two folders":
        (tmp_path / "elsewhere").mkdir()
        parts = {"m.onnx": path, "w.bin": data.rename(tmp_path / "elsewhere" / "w.bin")}
    session = backend.open_session(ModelSource(parts), SessionOptions(threads=1))
    folder = Path(session._folder.name)
    x = tiny_models.image()
    np.testing.assert_allclose(session.run({"x": x})["y"], tiny_models.reference(x)["y"], atol=1e-5)
    session.close()
    assert not folder.exists()


def test_external_data_in_the_current_folder_are_not_taken(tmp_path, monkeypatch) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    monkeypatch.chdir(tmp_path)
    source = ModelSource({"m.onnx": memoryview(path.read_bytes())})
    with pytest.raises(ModelLoadError, match=r"missing: expected w\.bin"):
        backend.open_session(source, SessionOptions(threads=1))


def test_an_ir_whose_weights_are_in_memory(tmp_path: Path) -> None:
    xml, weights = tiny_models.ir_files(tmp_path)
    view = memoryview(weights.read_bytes())
    session = backend.open_session(
        ModelSource({"tiny.xml": xml, "tiny.bin": view}), SessionOptions(threads=1)
    )
    view.release()
    x = tiny_models.image()
    np.testing.assert_allclose(session.run({"x": x})["y"], tiny_models.reference(x)["y"], atol=1e-5)


def test_an_ir_without_weights(tmp_path: Path) -> None:
    xml, weights = tiny_models.ir_files(tmp_path)
    with pytest.raises(ModelLoadError, match=r"expected one \.bin"):
        backend.open_session(ModelSource.from_paths(xml), SessionOptions())
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelLoadError, match="OpenVINO does not open it"):
        open_path(xml)
    weights.unlink()
    with pytest.raises(ModelLoadError, match="weights of this model are missing"):
        backend.companions(xml)


def test_an_unknown_op_is_named_in_one_line(tmp_path: Path) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", kind="custom")
    with pytest.raises(ModelLoadError) as caught:
        open_path(path)
    assert "Unheard" in str(caught.value)
    assert "src/" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "extra", [{"ENABLE_CPU_PINNING": "NO"}, {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}]
)
def test_options(tmp_path: Path, extra: dict[str, str]) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx")
    session = open_path(path, SessionOptions(1, extra=extra))
    for name, value in extra.items():
        set_to = session.engine.get_property(name)
        assert (set_to is False) if value == "NO" else int(set_to) == int(value)
    with pytest.raises(UsageError, match="cannot be used"):
        open_path(path, SessionOptions(1, extra=dict.fromkeys(extra, "maybe")))


def test_requests_are_used_again(tmp_path: Path) -> None:
    session = open_path(tiny_models.onnx_file(tmp_path / "m.onnx"))
    for _ in range(5):
        session.run({"x": tiny_models.image()})
    assert len(session._idle) == 1


@pytest.mark.parametrize(("able", "runs"), [(True, "bf16"), (False, "f32")])
def test_the_float_layers_of_a_quantized_file_have_a_precision_of_their_own(
    able: bool, runs: str
) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8", *(["BF16"] if able else [])]

    options = SessionOptions(precision="int8", extra={"INFERENCE_PRECISION_HINT": "bf16"})
    assert backend._config(Core(), options)["INFERENCE_PRECISION_HINT"] == runs
    plain = options.replace(precision="fp32")
    assert backend._config(Core(), plain)["INFERENCE_PRECISION_HINT"] == "f32"
