"""Replaying golden samples: what passes, what fails, what is skipped, and what is an error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecv import engines
from edgecv.errors import ArchiveError, BundleError, IntegrityError, UsageError
from edgecv.hints import Hints
from edgecv.output_check import Flag
from edgecv.packing import pack
from edgecv.verification import Check, Verification, bare_file, verify, verify_file
from tests import models
from tests.shared_scale import shared_scale_detector

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of the detector with two golden images, and one of a classifier."""
    made = tmp_path_factory.mktemp("bundles")
    source = models.onnx_detector(made / "detector.onnx")
    golden = [models.write_image(made / "a.png", 1), models.write_image(made / "b.png", color=0)]
    hints = Hints(head="yolo", labels=models.LABELS)
    for name in ("d.edgecv", "d"):
        pack([source], made / name, hints=hints, golden=golden, trusted=True)
    source = models.onnx_classifier(made / "classifier.onnx")
    pack([source], made / "c", hints=Hints(head="softmax"), golden=golden[:1], trusted=True,
         backends=["onnxruntime"])  # fmt: skip
    return made


@pytest.fixture
def altered(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy a folder bundle and change its manifest."""

    def alter(change: Change, name: str = "d") -> Path:
        target = tmp_path / "altered"
        shutil.copytree(folder / name, target)
        manifest = json.loads((target / "manifest.json").read_text())
        change(manifest)
        (target / "manifest.json").write_text(json.dumps(manifest))
        return target

    return alter


@pytest.mark.parametrize("name", ["d.edgecv", "d", "c"])
def test_what_was_packed_is_verified(folder: Path, name: str) -> None:
    turns: list[str] = []
    report = verify(folder / name, turns.append)
    assert report.ok
    variants = 1 if name == "c" else 2
    images = 1 if name == "c" else 2
    assert len(report.checks) == variants * images
    assert len(turns) == variants
    assert report.files == 1 + images
    assert report.note == ""
    for check in report.checks:
        assert check.status == "ok"
        assert check.reason == ""
        assert check.score is not None
        assert check.score < 1e-5
        assert check.image.startswith("golden/")
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert list(data) == ["ok", "path", "files", "checks", "golden", "note", "flags"]
    assert data["path"] == str(folder / name)
    assert data["flags"] == {name: [] for name in turns}


def first(manifest: dict[str, Any]) -> Any:
    """Return what is expected of the first variant on the first image."""
    return next(iter(manifest["golden"][0]["expected"].values()))


def shift(manifest: dict[str, Any], px: float) -> None:
    xyxy = first(manifest)["detections"][0]["xyxy"]
    xyxy[0] += px
    xyxy[2] += px


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: first(m)["detections"][0].update(score=0.5), "score off by 0."),
        (lambda m: first(m)["detections"].pop(), "1 without a counterpart"),
        (lambda m: first(m)["detections"].clear(), "2 without a counterpart"),
        (lambda m: first(m)["detections"][0].update(class_id=2), "2 without a counterpart"),
        (lambda m: shift(m, 3.0), "box off by 3 px, tolerance 2"),
    ],
)
def test_an_altered_expectation_fails(
    altered: Callable[..., Path], change: Change, reason: str
) -> None:
    report = verify(altered(change))
    assert not report.ok
    failed = [check for check in report.checks if check.status == "failed"]
    assert len(failed) == 1
    assert reason in failed[0].reason
    assert failed[0].image == "golden/000.png"


def test_differences_within_the_tolerance_pass(altered: Callable[..., Path]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        shift(manifest, 1.5)
        item = first(manifest)["detections"][0]
        item["score"] -= 0.015

    report = verify(altered(change))
    assert report.ok
    assert report.checks[0].score == pytest.approx(0.015, abs=1e-4)
    assert report.checks[0].box_px == pytest.approx(1.5, abs=1e-2)


def test_a_variant_has_a_tolerance_of_its_own(altered: Callable[..., Path]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        shift(manifest, 4.0)
        golden = manifest["golden"][0]
        golden["tolerances"] = {next(iter(golden["expected"])): {"score": 0.1, "box_px": 6}}

    assert verify(altered(change)).ok


def test_a_tolerance_of_zero_is_kept(altered: Callable[..., Path]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        shift(manifest, 0.5)
        golden = manifest["golden"][0]
        golden["tolerances"] = {}
        golden["tolerance"] = {"score": 0.5, "box_px": 0}

    assert not verify(altered(change)).ok


def test_a_detection_next_to_the_threshold_may_go(altered: Callable[..., Path]) -> None:
    item = {"xyxy": [0, 0, 5, 5], "class_id": 2, "label": "blue"}
    faint = altered(lambda m: first(m)["detections"].append({**item, "score": 0.26}))
    assert verify(faint).ok
    shutil.rmtree(faint)
    clear = altered(lambda m: first(m)["detections"].append({**item, "score": 0.3}))
    assert not verify(clear).ok


def test_a_raised_threshold(altered: Callable[..., Path]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["head"]["options"]["confidence"] = 0.99

    report = verify(altered(change))
    failed = [check for check in report.checks if check.status == "failed"]
    assert {check.image for check in failed} == {"golden/000.png"}, "the other shows nothing"
    assert {check.reason for check in failed} == {"2 without a counterpart"}


def test_an_altered_class(altered: Callable[..., Path]) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        items = first(manifest)["classes"]
        items[0]["score"], items[1]["score"] = 0.9, 0.05

    report = verify(altered(swap, "c"))
    assert [check.status for check in report.checks] == ["failed"]
    assert report.note == "", "it was compared"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: first(m).pop("detections"),
        lambda m: first(m).update(detections=7),
        lambda m: first(m).update(detections=[{}]),
        lambda m: first(m).update(detections=["x"]),
        lambda m: first(m)["detections"][0].update(xyxy=[1, 2]),
        lambda m: first(m)["detections"][0].update(score="high"),
        lambda m: first(m)["detections"][0].update(class_id=10**12),
        lambda m: first(m).update(dropped="many"),
    ],
)
def test_an_expectation_that_is_no_result(altered: Callable[..., Path], change: Change) -> None:
    report = verify(altered(change))
    assert not report.ok
    failed = [check for check in report.checks if check.status == "failed"]
    assert any("no result of this task" in check.reason for check in failed)


def test_an_image_without_an_expectation_is_skipped(altered: Callable[..., Path]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        golden = manifest["golden"][0]
        name = next(iter(golden["expected"]))
        del golden["expected"][name]

    report = verify(altered(change))
    assert report.ok
    assert [check.status for check in report.checks].count("skipped") == 1


def test_a_missing_engine_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.load_backend("openvino"), "version", lambda: None)
    report = verify(folder / "d.edgecv")
    assert report.ok
    skipped = [check for check in report.checks if check.status == "skipped"]
    assert [check.reason for check in skipped] == ["openvino is not installed"]
    assert skipped[0].score is None


def test_a_backend_of_a_newer_edgecv_is_skipped(altered: Callable[..., Path]) -> None:
    report = verify(altered(lambda m: m["variants"][1].update(backend="quantum")))
    assert report.ok
    assert report.checks[-1].reason == "this edgecv has no backend quantum"


def test_without_golden_samples_that_is_said(tmp_path: Path) -> None:
    source = models.null_classifier(tmp_path / "c.null.json")
    path = pack([source], tmp_path / "b", hints=Hints(head="softmax"), trusted=True)
    report = verify(path)
    assert report.ok
    assert report.checks == ()
    assert "no golden samples" in report.note


def test_a_variant_that_does_not_open_fails(altered: Callable[..., Path]) -> None:
    report = verify(altered(lambda m: m["variants"][0]["outputs"][0].update(name="other")))
    assert not report.ok
    failed = [check for check in report.checks if check.status == "failed"]
    assert len(failed) == 1
    assert failed[0].image == ""
    assert "other tensors than the manifest" in failed[0].reason


@pytest.mark.parametrize("member", ["models/detector.onnx", "golden/000.png"])
def test_a_replaced_file_is_an_error(folder: Path, tmp_path: Path, member: str) -> None:
    target = tmp_path / "b"
    shutil.copytree(folder / "d", target)
    file = target / member
    data = bytearray(file.read_bytes())
    data[-1] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="wrong sha256"):
        verify(target)
    file.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match="wrong size"):
        verify(target)
    file.unlink()
    with pytest.raises(IntegrityError, match="missing file"):
        verify(target)


def test_a_bundle_whose_outputs_cannot_be_right_is_not_ok(tmp_path: Path) -> None:
    """It replays what was recorded, and is still of no use."""
    source = shared_scale_detector(tmp_path / "d.onnx")
    golden = [models.write_image(tmp_path / "a.png", 1)]
    path = pack([source], tmp_path / "b", hints=Hints(head="yolo"), golden=golden, trusted=True)
    report = verify(path)
    assert {check.status for check in report.checks} == {"ok"}
    assert not report.ok
    assert list(report.flags) == ["onnxruntime-fp32", "openvino-fp32"]
    for flags in report.flags.values():
        assert [(flag.code, flag.severity) for flag in flags] == [("shared-scale", "refuse")]
    data = json.loads(json.dumps(report.to_json()))
    assert data["flags"]["openvino-fp32"][0]["code"] == "shared-scale"


def test_a_bare_file_on_synthetic_and_on_given_images(folder: Path) -> None:
    hints = Hints(head="yolo")
    report = verify_file(folder / "detector.onnx", hints=hints, trusted=True)
    assert report.ok
    assert report.flags == {"onnxruntime": ()}
    assert (report.files, report.checks, report.golden) == (1, (), 0)
    assert "3 synthetic images" in report.note
    report = verify_file(
        folder / "detector.onnx", [folder / "b.png"], hints=hints, backend="openvino", trusted=True
    )
    assert report.ok, "a warning is no reason to refuse a file"
    assert [flag.code for flag in report.flags["openvino"]] == ["constant-scores"]
    assert "1 of 1 image(s)" in report.note
    report = verify_file(
        folder / "detector.onnx", [folder / "a.png"] * 20, hints=hints, trusted=True
    )
    assert "7 of 20 image(s)" in report.note


def test_a_bare_file_that_is_of_no_use(tmp_path: Path) -> None:
    path = shared_scale_detector(tmp_path / "d.onnx")
    report = verify_file(path, hints=Hints(head="yolo"), trusted=True)
    assert not report.ok
    assert [flag.code for flag in report.flags["onnxruntime"]] == ["shared-scale"]
    constant = models.null_classifier(tmp_path / "c.null.json")
    report = verify_file(constant, hints=Hints(head="softmax"), trusted=True)
    assert [flag.code for flag in report.flags["null"]] == ["constant-output"]


def test_a_bare_file_is_opened_in_a_child_process_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[Path] = []
    monkeypatch.setattr("edgecv.probe.probe", lambda path, backend: probed.append(path))
    verify_file(folder / "detector.onnx", hints=Hints(head="yolo"))
    assert probed == [folder / "detector.onnx"]


def test_what_is_a_bare_file(folder: Path, tmp_path: Path) -> None:
    assert bare_file(folder / "detector.onnx") == folder / "detector.onnx"
    model = models.onnx_detector(tmp_path / "d.onnx")
    assert bare_file(tmp_path) == model
    models.onnx_detector(tmp_path / "e.onnx")
    (tmp_path / "t.txt").write_text("")
    for path in (folder / "d", folder / "d.edgecv", tmp_path, tmp_path / "t.txt", tmp_path / "no"):
        assert bare_file(path) is None


def test_what_is_no_bundle(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        verify(tmp_path / "nope.edgecv")
    with pytest.raises(ArchiveError):
        verify(folder / "detector.onnx")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        verify(tmp_path)


def test_a_warning_is_ok_and_a_refusal_is_not() -> None:
    for severity, ok in (("warn", True), ("refuse", False)):
        flags = {"v": (), "w": (Flag("constant-scores", severity, "text"),)}
        assert Verification("p", 1, (), flags=flags).ok is ok


def test_nothing_proven_is_not_ok() -> None:
    skipped = Check("v", "", "skipped", reason="not installed")
    assert not Verification("p", 1, (skipped,), golden=1).ok
    assert Verification("p", 1, (skipped,), golden=0).ok
    assert Verification("p", 1, (skipped, Check("w", "i", "ok")), golden=1).ok
