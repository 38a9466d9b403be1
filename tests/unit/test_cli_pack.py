"""``edgecv pack``: what the command adds to `edgecv.packing`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecv.bundle import open_bundle
from tests import models
from tests.models import Ran, command


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return models.null_classifier(tmp_path / "c.null.json")


def pack(*args: object) -> Ran:
    return command("pack", *args, "--trusted")


def test_a_bundle_is_made_and_named(classifier: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.edgecv"
    ran = pack(classifier, "-o", out, "--head", "softmax")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"{out}: classify (softmax), variants null-fp32\n"
    assert command("verify", out).status == 0


def test_what_the_options_say_is_in_the_manifest(tmp_path: Path) -> None:
    detector = models.null_detector(tmp_path / "d.null.json")
    labels = tmp_path / "l.txt"
    labels.write_text("cat\ndog\n")
    out = tmp_path / "b"
    ran = pack(
        detector, "-o", out, "--head", "end2end", "--labels", labels, "--name", "My model",
        "--version", "3", "--license", "MIT", "--description", "Words.", "--conf", "0.7",
        "--iou", "0.4", "--head-option", "max_detections=9", "--resize", "stretch",
        "--color", "bgr", "--mean", "1,2,3", "--std", "4", "--pad-value", "5",
    )  # fmt: skip
    assert ran.status == 0
    said = json.loads((out / "manifest.json").read_text())
    assert (said["name"], said["version"], said["labels"]) == ("My model", "3", ["cat", "dog"])
    assert (said["card"]["license"], said["card"]["description"]) == ("MIT", "Words.")
    assert said["head"] == {
        "name": "end2end", "options": {"confidence": 0.7, "iou": 0.4, "max_detections": 9},
        "arrays": {},
    }  # fmt: skip
    assert said["input"]["resize"] == "stretch"
    assert said["input"]["color"] == "bgr"
    assert (said["input"]["mean"], said["input"]["std"]) == ([1, 2, 3], [4, 4, 4])
    assert said["input"]["pad_value"] == 5


def test_an_engine_that_refuses_the_file_is_a_note(tmp_path: Path) -> None:
    model = models.onnx_classifier(tmp_path / "c.onnx", narrow=True)
    out = tmp_path / "b.edgecv"
    ran = pack(model, "-o", out, "--head", "softmax")
    assert (ran.status, ran.out) == (0, f"{out}: classify (softmax), variants onnxruntime-fp32\n")
    assert ran.err.startswith(f"note: no variant for openvino: {model}: OpenVINO does not open it")
    assert "Traceback" not in ran.err
    assert command("verify", out).status == 0


def test_golden_images_may_be_folders_and_globs(tmp_path: Path) -> None:
    classifier = models.onnx_classifier(tmp_path / "classifier.onnx")
    folder = tmp_path / "golden"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        models.write_image(folder / name)
    for i, (golden, count) in enumerate(
        (([folder], 3), ([folder / "*.png"], 2), ([folder / "a.png", folder / "c.jpg"], 2))
    ):
        args = [word for path in golden for word in ("--golden", path)]
        assert pack(classifier, "-o", tmp_path / f"{i}", "--head", "softmax", *args).status == 0
        with open_bundle(tmp_path / f"{i}") as bundle:
            assert len(bundle.manifest.golden) == count
        assert command("verify", tmp_path / f"{i}").status == 0


def test_a_golden_image_that_is_missing_or_broken(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("nothing")
    args = [classifier, "-o", tmp_path / "b", "--head", "softmax", "--golden"]
    assert pack(*args, tmp_path / "nope.png").status == 2
    ran = pack(*args, tmp_path / "x.png")
    assert ran.status == 1
    assert "x.png" in ran.err
    assert not (tmp_path / "b").exists()


def test_an_existing_bundle_is_replaced_only_by_force(classifier: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.edgecv"
    args = [classifier, "-o", out, "--head", "softmax"]
    assert pack(*args).status == 0
    ran = pack(*args)
    assert ran.status == 2
    assert "--force" in ran.err
    assert pack(*args, "--force", "--name", "new").status == 0
    with open_bundle(out) as bundle:
        assert bundle.manifest.name == "new"


def test_several_models_and_one_backend(tmp_path: Path) -> None:
    sources = [models.onnx_detector(tmp_path / f"{i}.onnx") for i in "ab"]
    base = [*sources, "-o", tmp_path / "b", "--head", "yolo", "--backend"]
    ran = pack(*base, "onnxruntime")
    assert ran.out.endswith("variants onnxruntime-fp32, onnxruntime-fp32-2\n")
    ran = pack(*base, "litert", "--force")
    assert ran.status == 2
    assert "litert does not open this kind of file: expected one of onnxruntime" in ran.err


def test_what_cannot_be_written(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ran = pack(classifier, "-o", tmp_path / "file" / "b.edgecv", "--head", "softmax")
    assert ran.status == 1
    assert "cannot" in ran.err
    assert "Traceback" not in ran.err
