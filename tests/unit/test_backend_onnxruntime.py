"""What is particular to ONNX Runtime: external data, precision of the file, options."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgecv.backends import onnxruntime as backend
from edgecv.errors import InferenceError, ModelLoadError, UsageError
from edgecv.types import ModelSource, SessionOptions
from tests.contract import tiny_models


def open_path(path: Path, options: SessionOptions | None = None) -> backend.OnnxSession:
    source = ModelSource.from_paths(path, *backend.companions(path))
    return backend.open_session(source, options or SessionOptions(threads=1))


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        ("fp32", "fp32"),
        ("fp16", "fp16"),
        ("qdq", "int8"),
        ("qdq-weights", "int8-weights"),
        ("dynamic", "int8"),
    ],
)
def test_precision_is_read_from_the_file(tmp_path: Path, kind: str, precision: str) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", kind=kind)
    session = open_path(path)
    assert session.info.precision == precision
    x = tiny_models.image().astype(session.inputs[0].dtype)
    expected = tiny_models.reference(tiny_models.image())["y"]
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, atol=0.12)
    # The precision of the file itself may be named.
    assert open_path(path, SessionOptions(1, precision)).info.notes == session.info.notes


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_another_precision_than_the_file_has(tmp_path: Path, precision: str) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="convert the file"):
        open_path(path, SessionOptions(1, precision))


def test_metadata(tmp_path: Path) -> None:
    metadata = {"names": "{0: 'cat'}", "empty": "", "ключ": "значение"}
    session = open_path(tiny_models.onnx_file(tmp_path / "m.onnx", metadata=metadata))
    assert session.metadata == metadata


def test_free_axes(tmp_path: Path) -> None:
    session = open_path(tiny_models.onnx_file(tmp_path / "m.onnx", batch="n", size="side"))
    assert session.inputs[0].shape == (None, 3, None, None)
    for shape in ((1, 3, 8, 8), (5, 3, 8, 8), (2, 3, 1, 13), (1, 3, 8, 8)):
        x = np.random.default_rng(0).random(shape, np.float32)
        y = session.run({"x": x})["y"]
        np.testing.assert_allclose(y, tiny_models.reference(x)["y"], atol=1e-5)
    with pytest.raises(InferenceError, match=r"x float32\[\?,3,\?,\?\]; got float32\[1,4,8,8\]"):
        session.run({"x": np.zeros((1, 4, 8, 8), np.float32)})


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    assert backend.companions(path) == (tmp_path / "w.bin",)
    x = tiny_models.image()
    y = open_path(path).run({"x": x})["y"]
    np.testing.assert_allclose(y, tiny_models.reference(x)["y"], atol=1e-5)


@pytest.mark.parametrize("how", ["memory", "main in memory", "data in memory", "two folders"])
def test_external_data_of_other_kinds(tmp_path: Path, how: str) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    main, data = memoryview(path.read_bytes()), memoryview((tmp_path / "w.bin").read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "w.bin").rename(elsewhere / "w.bin")
    parts = {
        "memory": {"m.onnx": main, "w.bin": data},
        "main in memory": {"m.onnx": main, "w.bin": elsewhere / "w.bin"},
        "data in memory": {"m.onnx": path, "w.bin": data},
        "two folders": {"m.onnx": path, "w.bin": elsewhere / "w.bin"},
    }
    session = backend.open_session(ModelSource(parts[how]), SessionOptions(threads=1))
    folder = Path(session._folder.name)
    assert folder.is_dir()
    x = tiny_models.image()
    np.testing.assert_allclose(session.run({"x": x})["y"], tiny_models.reference(x)["y"], atol=1e-5)
    session.close()
    assert not folder.exists()


def test_external_data_in_the_current_folder_are_not_taken(tmp_path, monkeypatch) -> None:
    """ONNX Runtime would read them from there when the model comes as bytes."""
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    monkeypatch.chdir(tmp_path)
    for source in (
        ModelSource({"m.onnx": memoryview(path.read_bytes())}),
        ModelSource.from_paths(path),
    ):
        with pytest.raises(ModelLoadError, match=r"missing: expected w\.bin"):
            backend.open_session(source, SessionOptions(threads=1))


def test_a_refused_model_leaves_no_folder_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    parts = {"m.onnx": memoryview(path.read_bytes()), "w.bin": memoryview(b"short")}
    with pytest.raises(ModelLoadError, match="ONNX Runtime does not open it"):
        backend.open_session(ModelSource(parts), SessionOptions(threads=1))
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_unknown_op_is_named_in_one_line(tmp_path: Path) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", kind="custom")
    with pytest.raises(ModelLoadError) as caught:
        open_path(path)
    assert "Unheard" in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"graph_optimization_level": "disabled"},
        {"session.intra_op.allow_spinning": "0"},
        {"session.set_denormal_as_zero": "1"},
    ],
)
def test_options(tmp_path: Path, extra: dict[str, str]) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx")
    session = open_path(path, SessionOptions(2, extra=extra))
    x = tiny_models.image()
    np.testing.assert_allclose(session.run({"x": x})["y"], tiny_models.reference(x)["y"], atol=1e-5)
    with pytest.raises(UsageError, match=next(iter(extra))):
        open_path(path, SessionOptions(2, extra=dict.fromkeys(extra, "maybe")))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_as_asked_for(tmp_path: Path, threads: int) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx")
    before = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    session = open_path(path, SessionOptions(threads=threads))
    # The thread that calls run is one of them.
    assert len(os.listdir("/proc/self/task")) - before == threads - 1  # noqa: PTH208
    session.close()


def test_a_tensor_that_is_no_array(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [1])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelLoadError, match=r"m\.onnx: x: a tensor of a kind"):
        open_path(tmp_path / "m.onnx")
