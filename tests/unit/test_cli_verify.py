"""``edgecv verify``: exit statuses, the table and the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgecv import engines
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.models import command
from tests.shared_scale import shared_scale_detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bundle")
    source = models.onnx_detector(made / "d.onnx")
    golden = [models.write_image(made / "a.png", 1)]
    pack([source], made / "d", hints=Hints(head="yolo"), golden=golden, trusted=True)
    return made / "d"


def altered(folder: Path, target: Path, change: Any) -> Path:
    shutil.copytree(folder, target)
    manifest = json.loads((target / "manifest.json").read_text())
    change(manifest)
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_a_whole_bundle(folder: Path) -> None:
    ran = command("verify", folder)
    assert (ran.status, ran.err) == (0, "")
    assert "every hash as recorded, 2 file(s)" in ran.out
    for text in ("onnxruntime-fp32", "openvino-fp32", "golden/000.png", "ok"):
        assert text in ran.out


def test_the_report_as_json(folder: Path, tmp_path: Path) -> None:
    ran = command("verify", folder, "--json", "-")
    assert ran.status == 0
    data = json.loads(ran.out)
    assert list(data) == ["ok", "path", "files", "checks", "golden", "note", "flags"]
    assert [check["status"] for check in data["checks"]] == ["ok", "ok"]
    ran = command("verify", folder, "--json", tmp_path / "x.json")
    assert "golden/000.png" in ran.out
    assert json.loads((tmp_path / "x.json").read_text()) == data


def test_a_difference_is_status_1(folder: Path, tmp_path: Path) -> None:
    def change(manifest: Any) -> None:
        expected = manifest["golden"][0]["expected"]
        expected["openvino-fp32"]["detections"][0]["score"] = 0.3

    path = altered(folder, tmp_path / "b", change)
    ran = command("verify", path)
    assert ran.status == 1
    assert "failed: score off by" in ran.out
    ran = command("verify", path, "--json", "-")
    assert ran.status == 1
    assert json.loads(ran.out)["ok"] is False


def test_a_replaced_file_is_status_1_with_its_name(folder: Path, tmp_path: Path) -> None:
    path = altered(folder, tmp_path / "b", lambda m: None)
    (path / "golden" / "000.png").write_bytes(b"x" * (path / "golden/000.png").stat().st_size)
    ran = command("verify", path)
    assert (ran.status, ran.out) == (1, "")
    assert f"error: {path}: golden/000.png: wrong sha256" in ran.err
    assert "remedy: the file was altered or damaged; get the bundle again" in ran.err


def test_a_broken_manifest_names_its_field(folder: Path, tmp_path: Path) -> None:
    path = altered(folder, tmp_path / "b", lambda m: m["input"].update(resize="squeeze"))
    ran = command("verify", path)
    assert ran.status == 1
    assert "manifest.json: input.resize: expected one of stretch" in ran.err


def test_no_bundle_at_all(tmp_path: Path) -> None:
    assert command("verify", tmp_path / "nope.edgecv").status == 2
    (tmp_path / "x.edgecv").write_text("text")
    ran = command("verify", tmp_path / "x.edgecv")
    assert ran.status == 1
    assert ran.err.startswith("error: ")


def test_skipped_variants_and_reasons_with_brackets(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reason holds tensor shapes, which a table must not take for its own markup.
    def rename(manifest: Any) -> None:
        manifest["variants"][0]["outputs"][0]["name"] = "q"

    path = altered(folder, tmp_path / "b", rename)
    monkeypatch.setattr(engines.load_backend("openvino"), "version", lambda: None)
    ran = command("verify", path)
    assert ran.status == 1
    assert "expected q float32[1,7,126]; got y float32[1,7,126]" in ran.out
    assert "skipped: openvino is not installed" in ran.out


def test_without_golden_samples(tmp_path: Path) -> None:
    source = models.null_classifier(tmp_path / "c.null.json")
    path = pack([source], tmp_path / "b", hints=Hints(head="softmax"), trusted=True)
    ran = command("verify", path)
    assert ran.status == 0
    assert "note: no golden samples: results were not compared" in ran.out


def test_a_bare_file(tmp_path: Path) -> None:
    path = models.onnx_detector(tmp_path / "d.onnx")
    ran = command("verify", path, "--head", "yolo", "--trusted")
    assert (ran.status, ran.err) == (0, "")
    assert f"{path}: nothing wrong with its outputs on onnxruntime" in ran.out
    assert "note: looked at the raw outputs for 3 synthetic images; name real ones" in ran.out
    assert "every hash" not in ran.out


def test_a_bare_file_that_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = shared_scale_detector(tmp_path / "d.onnx")
    picture = models.write_image(tmp_path / "a.png", 1)
    options = ("--head", "yolo", "--images", picture, "--backend", "openvino")
    ran = command("verify", path, *options)
    assert ran.status == 1
    text = "refuse: openvino: output y: class scores share an output scale with box coordinates"
    assert text in ran.out
    assert "nothing wrong" not in ran.out
    ran = command("verify", path, *options, "--json", "-")
    assert ran.status == 1
    data = json.loads(ran.out)
    assert data["ok"] is False
    assert [flag["code"] for flag in data["flags"]["openvino"]] == ["shared-scale"]


def test_a_bare_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "d.onnx").write_bytes(b"no model")
    assert command("verify", tmp_path / "d.onnx", "--head", "yolo").status == 1
    path = models.onnx_detector(tmp_path / "e.onnx")
    ran = command("verify", path, "--head", "yolo", "--images", tmp_path / "nope.png")
    assert ran.status == 2
    assert "nope.png: no such file" in ran.err
    ran = command("verify", models.onnx_classifier(tmp_path / "c.onnx"))
    assert ran.status == 2, "no head fits, or several do"


def test_what_describes_a_bare_file_says_nothing_of_a_bundle(folder: Path) -> None:
    for options in (["--head", "yolo"], ["--images", "x.png"], ["--backend", "openvino"]):
        ran = command("verify", folder, *options)
        assert ran.status == 2
        assert (
            f"a bundle says itself how it is fed and read, and on what: {options[0][2:]}" in ran.err
        )


def test_a_bundle_whose_outputs_are_refused(tmp_path: Path) -> None:
    source = shared_scale_detector(tmp_path / "d.onnx")
    golden = [models.write_image(tmp_path / "a.png", 1)]
    path = pack([source], tmp_path / "b", hints=Hints(head="yolo"), golden=golden, trusted=True)
    ran = command("verify", path)
    assert ran.status == 1
    assert "refuse: openvino-fp32: output y: class scores share" in ran.out
