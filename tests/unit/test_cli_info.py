"""``edgecv info`` and ``edgecv doctor``: what a model is, and what this machine can run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecv import engines, plugins
from edgecv.cli.commands import doctor
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.models import command


def test_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = models.onnx_detector(tmp_path / "d.onnx")
    hints = Hints(head="yolo", labels=("[red]", "[/x]", ":cat:"))
    path = pack([source], tmp_path / "b.edgecv", hints=hints, trusted=True)
    ran = command("info", path)
    assert (ran.status, ran.err) == (0, "")
    for text in (
        "detect, head yolo (told by manifest)", "3: [red], [/x], :cat:", "96x64 rgb, letterbox",
        "x float32[1,3,64,96] -> y float32[1,7,126]", "onnxruntime-fp32", "openvino-fp32",
        "models/d.onnx", "by edgecv ",
    ):  # fmt: skip
        assert text in ran.out
    monkeypatch.setattr(engines.load_backend("onnxruntime"), "version", lambda: None)
    ran = command("info", path)
    assert "onnxruntime-fp32: onnxruntime is not installed" in ran.out


def test_a_bundle_as_json(tmp_path: Path) -> None:
    source = models.null_classifier(tmp_path / "c.null.json")
    path = pack([source], tmp_path / "b", hints=Hints(head="softmax"), trusted=True)
    ran = command("info", path, "--json", "-")
    assert ran.status == 0
    data = json.loads(ran.out)
    assert list(data) == ["runs", "labels", "manifest"]
    assert data["runs"]["variant"] == "null-fp32"
    assert data["runs"]["input"]["resize"] == "crop"
    assert data["manifest"]["schema_version"] == 1


def test_a_bare_file(tmp_path: Path) -> None:
    said = models.as_properties(models.ultralytics("classify", imgsz=[32, 32]))
    path = models.onnx_classifier(tmp_path / "c.onnx", metadata=said)
    ran = command("info", path, "--trusted", "--threads", "1")
    assert ran.status == 0
    for text in ("told by Ultralytics metadata", "3: red, green, blue", "crop 1,", "1 thread(s)"):
        assert text in ran.out
    data = json.loads(command("info", path, "--trusted", "--json", "-").out)
    assert "manifest" not in data


def test_the_doctor_with_everything() -> None:
    ran = command("doctor")
    assert (ran.status, ran.err) == (0, "")
    for name in plugins.names("backends"):
        assert name in ran.out
    assert "usable CPUs" in ran.out
    assert "not installed" not in ran.out


def test_the_doctor_as_json() -> None:
    data = json.loads(command("doctor", "--json", "-").out)
    assert data["tools"] == {"faster_coco_eval": True, "yaml": True}
    assert set(data["engines"]) == set(plugins.names("backends"))


def test_the_doctor_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.load_backend("litert"), "version", lambda: None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    ran = command("doctor")
    assert ran.status == 0
    assert "pip install 'edgecv[litert]'" in ran.out
    assert "faster_coco_eval is missing" in ran.out
    assert "pip install 'edgecv[eval]'" in ran.out
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setattr(engines.load_backend(name), "version", lambda: None)
    ran = command("doctor")
    assert ran.status == 1
    assert "pip install 'edgecv'" in ran.out
    assert command("doctor", "--json", "-").status == 1
