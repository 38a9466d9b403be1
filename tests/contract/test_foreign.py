"""Every foreign format: it leaves files of others alone, and reads what it wrote itself."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv import plugins
from edgecv.engines import load_backend
from edgecv.errors import EdgecvError, ModelLoadError, UsageError
from edgecv.foreign import Export
from edgecv.hints import Hints
from edgecv.interchange import export_metadata, unpacked, writers
from edgecv.loading import load
from edgecv.manifest import HeadSpec, Input
from edgecv.packing import pack
from edgecv.types import ModelSource, SessionOptions
from tests import models
from tests.contract import tiny_models

NAMES = plugins.names("foreign")
SUFFIXES = (".onnx", ".xml", ".tflite")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".null.json"])
def test_files_of_others(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"nothing that anybody wrote")
    read = plugins.load("foreign", name).read
    assert read(path, {}) is None
    assert read(path, {"producer": "somebody", "names": "['a']"}) is None


@pytest.mark.parametrize("name", NAMES)
def test_mutated_metadata_is_hints_or_an_error_of_ours(name: str, tmp_path: Path) -> None:
    read = plugins.load("foreign", name).read
    rng = random.Random(5)
    text = str({"task": "detect", "names": {0: "a", 1: "b"}, "stride": 32, "imgsz": [64, 64]})
    good = {"task": "detect", "names": "{0: 'a', 1: 'b'}", "stride": "32", "imgsz": "[64, 64]"}
    path = tmp_path / "model.tflite"
    for _ in range(200):
        key = rng.choice([*good])
        value = bytearray(good[key].encode())
        value[rng.randrange(len(value))] = rng.randrange(32, 127)
        behind = bytearray(text.encode())
        behind[rng.randrange(len(behind))] = rng.randrange(32, 127)
        path.write_bytes(b"TFL3")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("metadata.txt", bytes(behind))
        onnx = tmp_path / "model.onnx"
        for given in ((onnx, {**good, key: value.decode()}), (path, {})):
            try:
                said = read(*given)
            except EdgecvError:
                continue
            assert said is None or isinstance(said, Hints)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO-like detector in ONNX, with every pixel setting as Ultralytics has it."""
    made = tmp_path_factory.mktemp("foreign")
    source = models.onnx_detector(made / "detector.onnx")
    said = Hints(head="yolo", labels=models.LABELS, head_options={"confidence": 0.3})
    return pack([source], made / "d.edgecv", hints=said, trusted=True)


@pytest.mark.parametrize("name", [n for n in writers() if n != "tflite_metadata"])
def test_a_model_that_went_through_finds_the_same(name: str, bundle: Path, tmp_path: Path) -> None:
    made = export_metadata(bundle, name, tmp_path / "out", variant="onnxruntime-fp32")
    assert set(made.files) == {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    image = models.image(3)
    with load(bundle, variant="onnxruntime-fp32") as model:
        expected = model.with_options(confidence=0.25)(image).detections
    assert len(expected)
    # What the format cannot say, its reader has to; everything else it knows.
    help_ = Hints(foreign=name)
    if any(item.startswith(("head", "resize")) for item in made.lost):
        help_ = help_.replace(head="yolo", resize="letterbox")
    with unpacked([made.path]) as (path,), load(path, hints=help_, trusted=True) as model:
        if "labels" not in made.lost:
            assert model.labels == models.LABELS
        found = model.with_options(confidence=0.25)(image).detections
    assert found.difference(expected).unmatched == ()
    assert found.difference(expected).box_px < 1e-3


@pytest.mark.parametrize("name", writers())
def test_nothing_is_written_over_and_nothing_is_left_behind(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export_metadata(bundle, name, tmp_path / "out")
    with pytest.raises(UsageError):
        export_metadata(bundle, name, tmp_path / "other", variant="none")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", [n for n in writers() if n != "tflite_metadata"])
def test_writing_again_changes_nothing(name: str, bundle: Path, tmp_path: Path) -> None:
    """Metadata of the same kind are replaced, not added to."""
    first = export_metadata(bundle, name, tmp_path / "a", variant="onnxruntime-fp32")
    with unpacked([first.path]) as (path,):
        said = Hints(head="yolo", labels=models.LABELS, resize="letterbox", name="detector",
                     head_options={"confidence": 0.3})  # fmt: skip
        again = pack([path], tmp_path / "b.edgecv", hints=said, trusted=True)
    second = export_metadata(again, name, tmp_path / "c", variant="onnxruntime-fp32")
    with unpacked([first.path, second.path]) as (a, b):
        sizes = [path.stat().st_size for path in (a, b)]
    assert sizes[0] == sizes[1]


def tflite_export(tmp_path: Path, **changes: Any) -> Export:
    path = tiny_models.tflite_file(tmp_path / "tiny.tflite")
    session = load_backend("litert").open_session(ModelSource.from_paths(path), SessionOptions())
    facts: dict[str, Any] = {
        "name": "tiny", "version": "3", "description": "one paragraph", "license": "MIT",
        "task": "classify", "labels": ("first class", "zwölf"), "layout": "NHWC",
        "input": Input(size_hw=(8, 8), resize="stretch", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
        "head": HeadSpec(name="softmax", options={}), "precision": "fp32",
        "inputs": session.inputs, "outputs": session.outputs,
        "files": {path.name: path.read_bytes()},
    }  # fmt: skip
    session.close()
    return Export(**{**facts, **changes})


def test_a_tflite_file_carries_labels_and_normalization(tmp_path: Path) -> None:
    module = plugins.load("foreign", "tflite_metadata")
    export = tflite_export(tmp_path)
    for _ in range(2):  # the second time the first metadata are replaced
        (tmp_path / "out").mkdir(exist_ok=True)
        written = module.write(export, tmp_path / "out")
        said = module.read(written, {})
        assert said.labels == export.labels
        assert (said.name, said.description, said.license) == ("tiny", "one paragraph", "MIT")
        assert (said.color, said.mean, said.std) == ("rgb", export.input.mean, export.input.std)
        export = export.replace(files={written.name: written.read_bytes()})
    assert len(export.files["tiny.tflite"]) == written.stat().st_size
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    outputs = []
    for path in (tmp_path / "tiny.tflite", written):
        source = ModelSource.from_paths(path)
        session = load_backend("litert").open_session(source, SessionOptions(threads=1))
        shape = [n or 1 for n in session.inputs[0].shape]
        outputs.append(session.run({"x": np.resize(x, shape)}))
        session.close()
    for key, value in outputs[0].items():
        assert (outputs[1][key] == value).all()


def test_broken_tflite_metadata_are_an_error_that_says_so(tmp_path: Path) -> None:
    module = plugins.load("foreign", "tflite_metadata")
    (tmp_path / "out").mkdir()
    written = module.write(tflite_export(tmp_path), tmp_path / "out")
    good, rng = written.read_bytes(), random.Random(1)
    start = good.index(b"M001") - 4
    told: set[str] = set()
    complaints: set[str] = set()
    for _ in range(400):
        data = bytearray(good)
        data[rng.randrange(start, len(good))] = rng.randrange(256)
        written.write_bytes(data[: rng.choice([len(data), rng.randrange(8, len(data))])])
        try:
            told.add(type(module.read(written, {})).__name__)
        except ModelLoadError as error:
            complaints.add(error.what.partition(":")[0])
    assert "Hints" in told
    assert complaints == {"the TFLite Metadata are broken"}


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.xz"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match="not an NN Archive"), unpacked([path]):
        pass
    for name, target in (("../evil", "plain"), ("config.json", "link")):
        with tarfile.open(path, "w:xz") as archive:
            info = tarfile.TarInfo(name)
            if target == "link":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info, io.BytesIO(b""))
        with pytest.raises(ModelLoadError, match="not an NN Archive"), unpacked([path]):
            pass
    assert [item.name for item in tmp_path.iterdir()] == ["x.tar.xz"]


def test_pixel_work_inside_a_graph_is_not_told_wrongly(bundle: Path, tmp_path: Path) -> None:
    """A variant that wants BGR as it is must not be handed on as RGB in 0-1."""
    folder = tmp_path / "d"
    pack([models.onnx_detector(tmp_path / "x.onnx")], folder, trusted=True,
         hints=Hints(head="yolo", labels=models.LABELS))  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text())
    for variant in manifest["variants"]:
        variant["in_graph"] = ["color", "normalize"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"prepared in another way.*color bgr became rgb"):
        export_metadata(folder, "ultralytics", tmp_path / "out")
    made = export_metadata(folder, "model_api", tmp_path / "out")
    assert made.lost == ()


def test_a_format_that_is_named_must_be_there(tmp_path: Path) -> None:
    path = models.onnx_detector(tmp_path / "x.onnx")
    with pytest.raises(UsageError, match="no Model API metadata in or beside this file"):
        load(path, hints=Hints(foreign="model_api"), trusted=True)


def test_labels_with_spaces_are_told_to_be_changed(tmp_path: Path) -> None:
    said = Hints(head="yolo", labels=("traffic light", "b", "c"))
    made = pack(
        [models.onnx_detector(tmp_path / "x.onnx")], tmp_path / "b", hints=said, trusted=True
    )
    found = export_metadata(made, "model_api", tmp_path / "out")
    assert found.lost == ("labels, which became ('traffic_light', 'b', 'c')",)
