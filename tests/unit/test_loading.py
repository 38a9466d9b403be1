"""Opening bundles and bare files: what is chosen, what is refused, what is let go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgecv
from edgecv import engines
from edgecv.bundle import open_bundle
from edgecv.errors import (
    AmbiguousModelError,
    BackendMissingError,
    InferenceError,
    IntegrityError,
    ManifestError,
    ModelLoadError,
    UsageError,
)
from edgecv.hints import Hints
from edgecv.manifest import Variant, parse
from edgecv.packing import pack
from edgecv.variants import choose_variant
from tests import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the detector for ONNX Runtime and OpenVINO, as archive and folder."""
    made = tmp_path_factory.mktemp("bundles")
    source = models.onnx_detector(made / "detector.onnx")
    hints = Hints(head="yolo", labels=models.LABELS)
    for name in ("two.edgecv", "two"):
        pack([source], made / name, hints=hints, trusted=True)
    return made


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Any:
    def remove(name: str) -> None:
        monkeypatch.setattr(engines.load_backend(name), "version", lambda: None)

    return remove


def test_a_first_result_waits_for_no_import_that_it_does_not_need(
    folder: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, edgecv, numpy as np\n"
        "with edgecv.load(sys.argv[1]) as model:\n"
        "    model(np.zeros((9, 9, 3), np.uint8))\n"
        "    print(*sys.modules)\n"
        "    model.with_options(confidence=0.1)\n"
        "    assert model.info.chosen_by == 'order'\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(folder / "two.edgecv")],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in out.stdout.split() if name.startswith("edgecv.")}
    late = {"tuned", "plan", "model_info", "head_check", "hints", "describe", "probe"}
    late |= {"results.classes"}  # this one has detections
    assert not loaded & {f"edgecv.{name}" for name in late}
    assert "edgecv.results.detections" in loaded


@pytest.mark.parametrize("name", ["two.edgecv", "two"])
def test_the_first_variant_runs(folder: Path, name: str) -> None:
    with edgecv.load(folder / name) as model:
        assert (model.info.variant, model.info.backend) == ("onnxruntime-fp32", "onnxruntime")
        assert model.info.chosen_by == "order"
        assert model.info.skipped == ()
        assert model.info.told_by == "manifest"
        assert (model.task, model.labels) == ("detect", models.LABELS)
        assert model.info.input.size_hw == models.SIZE_HW
        found = model(models.image(color=255)).detections
        assert found.class_id.tolist() == [1, 0]
        assert found.score == pytest.approx([0.9, 0.8], abs=1e-3)


def test_what_is_asked_for_runs(folder: Path) -> None:
    path = folder / "two.edgecv"
    with open_bundle(path) as bundle:
        ids = [variant.id for variant in bundle.manifest.variants]
    for options in ({"variant": ids[1]}, {"backend": "openvino"}):
        with edgecv.load(path, **options) as model:
            assert (model.info.variant, model.info.backend) == (ids[1], "openvino")
            assert model.info.chosen_by == "caller"
    with edgecv.load(path, variant=ids[0], backend="onnxruntime", threads=1) as model:
        assert model.info.variant == ids[0]
        assert model.info.threads == 1


def test_what_contradicts_itself_is_refused(folder: Path) -> None:
    path = folder / "two.edgecv"
    with open_bundle(path) as bundle:
        first = bundle.manifest.variants[0].id
    with pytest.raises(UsageError, match="is for another backend: expected onnxruntime"):
        edgecv.load(path, variant=first, backend="openvino")
    with pytest.raises(UsageError, match=r"no such variant: expected one of .*; got 'fast'"):
        edgecv.load(path, variant="fast")
    with pytest.raises(UsageError, match="expected one of onnxruntime, openvino; got 'litert'"):
        edgecv.load(path, backend="litert")


@pytest.mark.parametrize(
    "options",
    [
        {"head": "yolo"},
        {"labels": ["a"]},
        {"hints": Hints(mean=(0.0,))},
        {"head": "yolo", "iou": 1},
    ],
)
def test_a_bundle_says_itself_how_it_is_read(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a bundle says itself") as caught:
        edgecv.load(folder / "two.edgecv", **options)
    assert ("mean" if "hints" in options else next(iter(options))) in caught.value.message


def test_empty_hints_say_nothing(folder: Path) -> None:
    edgecv.load(folder / "two.edgecv", hints=Hints(origin="option")).close()


def test_a_missing_engine_is_skipped_and_named(folder: Path, uninstall: Any) -> None:
    uninstall("onnxruntime")
    with edgecv.load(folder / "two.edgecv") as model:
        assert model.info.backend == "openvino"
        assert model.info.chosen_by == "order"
        (skipped,) = model.info.skipped
        assert skipped.endswith(": onnxruntime is not installed")
    with pytest.raises(BackendMissingError, match="onnxruntime is not installed"):
        edgecv.load(folder / "two.edgecv", backend="onnxruntime")


def test_no_engine_at_all(folder: Path, uninstall: Any) -> None:
    uninstall("onnxruntime")
    uninstall("openvino")
    with pytest.raises(BackendMissingError, match="no variant can run here") as caught:
        edgecv.load(folder / "two.edgecv")
    assert "onnxruntime is not installed" in caught.value.message
    assert caught.value.remedy == "pip install 'edgecv' or pip install 'edgecv[openvino]'"


def test_variants_are_chosen_in_the_order_of_the_manifest(folder: Path, uninstall: Any) -> None:
    with open_bundle(folder / "two.edgecv") as bundle:
        manifest = bundle.manifest
    one, two = manifest.variants

    def variant(name: str, like: Variant) -> Variant:
        return like.replace(id=name)

    order = manifest.replace(variants=(variant("a", two), variant("b", one), variant("c", two)))
    assert choose_variant(order)[0].id == "a"
    assert choose_variant(order, backend="onnxruntime")[0].id == "b"
    uninstall("openvino")
    chosen, skipped = choose_variant(order)
    assert (chosen.id, skipped) == ("b", ("a: openvino is not installed",))
    # What is named is not chosen: opening it says that its engine is missing.
    assert choose_variant(order, "c") == (order.variants[2], ())


def test_a_precision_that_the_cpu_lacks_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bundle(folder / "two") as bundle:
        manifest = bundle.manifest
    like = next(v for v in manifest.variants if v.backend == "openvino")
    order = manifest.replace(
        variants=(like.replace(id="bf16", precision="bf16"), like.replace(id="fp32"))
    )
    openvino = engines.load_backend("openvino")
    monkeypatch.setattr(openvino.host, "cpu_features", lambda: ("avx2",))
    chosen, skipped = choose_variant(order)
    assert (chosen.id, skipped) == ("fp32", ("bf16: this CPU does not compute in bf16",))
    assert choose_variant(order, backend="openvino")[0].id == "fp32"
    monkeypatch.setattr(openvino.host, "cpu_features", lambda: ("avx512_bf16",))
    assert choose_variant(order)[0].id == "bf16"


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    for name in ("nope.edgecv", "nope.onnx", "nope"):
        with pytest.raises(UsageError, match=f"{name}: no such file or folder"):
            edgecv.load(tmp_path / name)


def test_a_bare_file(tmp_path: Path) -> None:
    path = models.onnx_detector(tmp_path / "detector.onnx")
    with pytest.raises(AmbiguousModelError) as caught:
        edgecv.load(path, trusted=True)
    assert "yolo" in caught.value.candidates
    with edgecv.load(str(path), head="yolo", labels=["a", "b", "c"], trusted=True) as model:
        assert (model.info.told_by, model.info.variant) == ("option", "onnxruntime")
        assert model.info.name == "detector"
        assert model.labels == ("a", "b", "c")
        assert model.info.model_bytes == path.stat().st_size
    with edgecv.load(path, head="yolo", backend="openvino", trusted=True) as model:
        assert (model.info.backend, model.info.chosen_by) == ("openvino", "caller")
    with pytest.raises(UsageError, match="a bare model file has no variants"):
        edgecv.load(path, head="yolo", variant="x", trusted=True)
    with pytest.raises(UsageError, match="2 labels do not fit"):
        edgecv.load(path, head="yolo", labels=["a", "b"], trusted=True)


def test_labels_as_one_text_are_a_mistake(tmp_path: Path) -> None:
    path = models.null_classifier(tmp_path / "c.null.json")
    with pytest.raises(UsageError, match="labels: expected a list of names; got 'abc'"):
        edgecv.load(path, labels="abc", trusted=True)


def test_a_file_with_metadata_needs_no_option(tmp_path: Path) -> None:
    said = models.ultralytics()
    onnx = models.onnx_detector(tmp_path / "det.onnx", metadata=models.as_properties(said))
    openvino = models.openvino_detector(tmp_path, said)
    results = []
    for path, backend in ((onnx, "onnxruntime"), (onnx, "openvino"), (openvino, "openvino")):
        with edgecv.load(path, backend=backend, trusted=True) as model:
            assert model.info.told_by == "Ultralytics metadata"
            assert (model.info.head, model.labels) == ("yolo", models.LABELS)
            assert model.info.input.resize == "letterbox"
            results.append(model(models.image(color=255)).detections)
    for other in results[1:]:
        assert results[0].xyxy == pytest.approx(other.xyxy, abs=1e-2)
    assert len(results[0]) == 2


def test_a_classifier_with_metadata(tmp_path: Path) -> None:
    said = models.ultralytics("classify", imgsz=[32, 32])
    path = models.onnx_classifier(tmp_path / "c.onnx", metadata=models.as_properties(said))
    with edgecv.load(path, trusted=True) as model:
        assert model.options.logits is False
        best = next(iter(model(models.image(color=(0, 0, 255))).classes))
        assert model.labels[best[0]] == "red"


def test_the_callers_words_win_over_the_file(tmp_path: Path) -> None:
    said = models.as_properties(models.ultralytics())
    path = models.onnx_detector(tmp_path / "det.onnx", metadata=said)
    hints = Hints(labels=("x", "y", "z"), mean=(1.0,), head_options={"iou": 0.9})
    with edgecv.load(path, hints=hints, trusted=True) as model:
        assert model.labels == ("x", "y", "z")
        assert model.info.input.mean == (1.0, 1.0, 1.0)
        assert model.info.input.std == (255.0, 255.0, 255.0)
        assert model.options.iou == 0.9
    with edgecv.load(path, hints=hints, labels=["1", "2", "3"], trusted=True) as model:
        assert model.labels == ("1", "2", "3")


def test_thresholds(folder: Path) -> None:
    path = folder / "two.edgecv"
    with edgecv.load(path, confidence=0.85, iou=0.3, max_detections=7) as model:
        assert model.options.confidence == 0.85
        assert model.options.iou == 0.3
        assert model.options.max_detections == 7
        assert len(model(models.image(color=255)).detections) == 1
    for wrong in ({"confidence": 2}, {"iou": -1}, {"max_detections": -1}, {"confidence": "x"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            edgecv.load(path, **wrong)


def test_thresholds_that_a_classifier_does_not_have(tmp_path: Path) -> None:
    path = models.null_classifier(tmp_path / "c.null.json")
    with pytest.raises(UsageError, match="head softmax: option confidence: unknown option"):
        edgecv.load(path, head="softmax", confidence=0.5, trusted=True)


def test_precision(folder: Path) -> None:
    path = folder / "two.edgecv"
    with edgecv.load(path, backend="openvino", precision="auto") as model:
        assert model.info.backend == "openvino"
    with pytest.raises(UsageError, match="precision"):
        edgecv.load(path, backend="onnxruntime", precision="bf16")
    with pytest.raises(UsageError, match="precision"):
        edgecv.load(path, precision="fp7")


def test_a_bare_file_is_tried_in_a_child_process_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[Path, str]] = []
    monkeypatch.setattr("edgecv.probe.probe", lambda path, backend: tried.append((path, backend)))
    path = models.null_classifier(tmp_path / "c.null.json")
    edgecv.load(path, head="softmax").close()
    assert tried == [(path, "null")]
    edgecv.load(path, head="softmax", trusted=True).close()
    assert len(tried) == 1


def test_a_broken_file_is_refused_by_the_child(tmp_path: Path) -> None:
    path = tmp_path / "broken.null.json"
    path.write_text("{")
    with pytest.raises(ModelLoadError, match=r"broken\.null\.json"):
        edgecv.load(path, head="softmax")


def test_a_folder_with_one_model(tmp_path: Path) -> None:
    models.null_classifier(tmp_path / "c.null.json")
    with edgecv.load(tmp_path, head="softmax", trusted=True) as model:
        assert model.info.backend == "null"


def altered(folder: Path, target: Path, change: Any) -> Path:
    """Copy the folder bundle, and let `change` loose on its manifest."""
    shutil.copytree(folder / "two", target)
    manifest = json.loads((target / "manifest.json").read_text())
    change(manifest)
    (target / "manifest.json").write_text(json.dumps(manifest))
    parse((target / "manifest.json").read_bytes())
    return target


def test_an_altered_file_never_reaches_an_engine(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "two", tmp_path / "b")
    file = next((tmp_path / "b" / "models").iterdir())
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="wrong sha256"):
        edgecv.load(tmp_path / "b")


def test_all_files_are_checked_before_an_engine_opens_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [models.onnx_detector(tmp_path / "detector.onnx"), models.openvino_detector(tmp_path)]
    hints = Hints(head="yolo", labels=models.LABELS)
    path = pack(sources, tmp_path / "b.edgecv", hints=hints, trusted=True)
    with open_bundle(path) as bundle:
        first, *_, last = bundle.manifest.variants
        other = next(entry for entry in last.files if entry not in first.files)
        contents = bundle.read(other)
    data = bytearray(path.read_bytes())
    data[data.find(contents) + len(contents) // 2] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr("edgecv.loading.load_backend", lambda name: pytest.fail(name))
    with pytest.raises(IntegrityError, match=f"{other.path}: wrong sha256"):
        edgecv.load(path)


def test_opening_once_more_reads_and_checks_once_more(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / "two.edgecv", tmp_path))
    with edgecv.load(path) as model:
        with model.reopened(threads=1) as again:
            assert again.info.variant == model.info.variant
        with open_bundle(path) as bundle:
            contents = bundle.read(bundle.manifest.variants[0].files[0])
        data = bytearray(path.read_bytes())
        data[data.find(contents) + len(contents) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="wrong sha256"):
            model.reopened(threads=1)


def test_the_engine_must_find_the_tensors_of_the_manifest(folder: Path, tmp_path: Path) -> None:
    def rename(manifest: Any) -> None:
        manifest["variants"][0]["outputs"][0]["name"] = "other"

    with pytest.raises(InferenceError, match="other tensors than the manifest") as caught:
        edgecv.load(altered(folder, tmp_path / "b", rename))
    assert "outputs" in caught.value.message


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m["head"].update(name="nope"), ManifestError),
        (lambda m: m["head"].update(options={"nope": 1}), ManifestError),
        (lambda m: m["head"].update(options={"confidence": "x"}), ManifestError),
        (lambda m: m["head"].update(options={"input_hw": [8, 8]}), ManifestError),
        (lambda m: m["variants"][0].update(layout="NHWC"), UsageError),
        (lambda m: m["input"].update(size_hw=[32, 32]), UsageError),
        (lambda m: m["variants"][0].update(engine_options={"nope": "1"}), UsageError),
        (lambda m: m.update(task="classify"), ManifestError),
    ],
)
def test_manifests_that_name_what_is_not_there(
    folder: Path, tmp_path: Path, change: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        edgecv.load(altered(folder, tmp_path / "b", change))


def test_a_backend_of_a_newer_edgecv_is_skipped(folder: Path, tmp_path: Path) -> None:
    def rename(manifest: Any) -> None:
        manifest["variants"][0]["backend"] = "quantum"

    with edgecv.load(altered(folder, tmp_path / "b", rename)) as model:
        assert model.info.backend == "openvino"
        assert model.info.skipped[0].endswith(": this edgecv has no backend quantum")


def test_a_failure_leaves_no_session_open(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecv.backends.null import NullSession
    from edgecv.backends.onnxruntime import OnnxSession

    closed: list[str] = []
    for kind in (NullSession, OnnxSession):

        def close(self: Any, real: Any = kind.close) -> None:
            closed.append(type(self).__name__)
            real(self)

        monkeypatch.setattr(kind, "close", close)
    path = models.null_classifier(tmp_path / "c.null.json")
    for options in ({}, {"labels": ["one"]}, {"confidence": 0.5}):
        with pytest.raises(UsageError):
            edgecv.load(path, head="softmax" if options else "yolo", trusted=True, **options)
        assert closed == ["NullSession"]
        closed.clear()

    def rename(manifest: Any) -> None:
        manifest["variants"][0]["outputs"][0]["name"] = "other"

    for bundle, options in (
        (altered(folder, tmp_path / "b", rename), {}),
        (folder / "two.edgecv", {"confidence": 7}),
    ):
        with pytest.raises(edgecv.EdgecvError):
            edgecv.load(bundle, **options)
        assert closed == ["OnnxSession"]
        closed.clear()


def test_a_closed_model_says_so(folder: Path) -> None:
    model = edgecv.load(folder / "two.edgecv")
    view = model.with_options(confidence=0.5)
    model.close()
    model.close()
    for closed in (model, view):
        with pytest.raises(InferenceError, match="closed"):
            closed(models.image())


def test_a_bundle_can_be_replaced_after_closing(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.edgecv"
    shutil.copy(folder / "two.edgecv", path)
    with edgecv.load(path) as model:
        model(models.image())
    path.unlink()
    assert not list(tmp_path.iterdir())


def test_tensors_of_another_shape_than_recorded(tmp_path: Path) -> None:
    from edgecv.loading import _like
    from edgecv.types import TensorSpec

    recorded = TensorSpec("x", (None, 3, 8, 8), "float32")
    assert _like(recorded, TensorSpec("x", (1, 3, 8, 8), "float32"))
    assert not _like(recorded, TensorSpec("x", (1, 3, 8, 9), "float32"))
    assert not _like(recorded, TensorSpec("x", (1, 3, 8), "float32"))
    assert not _like(recorded, TensorSpec("x", (1, 3, 8, 8), "uint8"))
