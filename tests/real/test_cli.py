"""The commands on models and photos that nobody here made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models import Ran, command


@pytest.fixture(scope="module")
def models(real_dir: Path) -> Path:
    return real_dir / "models"


@pytest.fixture(scope="module")
def photos(real_dir: Path) -> Path:
    return real_dir / "data" / "images"


def labels(ran: Ran) -> list[set[str]]:
    assert ran.status == 0, ran.err
    return [{item["label"] for item in line["detections"]} for line in ran.lines]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("yolox-nano/yolox_nano.onnx", []),
        ("yolox-nano/yolox_nano.onnx", ["--backend", "openvino"]),
        ("nanodet/nanodet.onnx", []),
        ("nanodet/nanodet_m.onnx", ["--backend", "openvino"]),
        ("fastestdet/FastestDet.onnx", []),
    ],
)
def test_a_cat_and_a_dog_with_no_word_about_the_model(
    models: Path, photos: Path, model: str, options: list[str]
) -> None:
    ran = command(
        "predict", models / model, photos / "cat_720p.jpg", photos / "squat.bmp", *options,
        "--labels", models / "fastestdet" / "coco.names", "--json", "-",
    )  # fmt: skip
    cat, squat = labels(ran)
    assert "cat" in cat
    assert "person" in squat
    assert "cat" not in squat


@pytest.mark.parametrize(
    "model",
    [
        "ultraface/version-RFB-320.onnx",
        "ultraface/version-slim-320_without_postprocessing.onnx",
        "omz",
    ],
)
def test_faces(models: Path, photos: Path, model: str) -> None:
    ran = command(
        "predict", models / model, photos / "face.jpg", photos / "grace_hopper.bmp", "--conf", 0.7,
        "--json", "-",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert [len(line["detections"]) for line in ran.lines] == [4, 1]


def test_a_classifier_with_its_labels(models: Path, photos: Path) -> None:
    model = models / "coral" / "mobilenet_v2_1.0_224_quant.tflite"
    names = models / "coral" / "imagenet_labels.txt"
    ran = command("predict", model, photos / "bird.bmp", "--labels", names, "--json", "-")
    assert ran.status == 0, ran.err
    assert len(ran.lines[0]["classes"]) == 5
    short = names.parent / "pascal_voc_segmentation_labels.txt"
    ran = command("predict", model, photos / "bird.bmp", "--labels", short)
    assert ran.status == 2
    assert "24 labels do not fit the model's outputs" in ran.err
    ran = command("predict", model, photos / "bird.bmp", "--conf", "0.5")
    assert ran.status == 2


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("mediapipe/selfie_segmentation.tflite", [], "the head cannot be told"),
        ("coral", [], "got 5 model files"),
        ("yolox-nano/yolox_nano.onnx", ["--head", "fastestdet"], "head fastestdet does not fit"),
        ("yolox-nano/yolox_nano.onnx", ["--task", "guess"], "no head does this task"),
        ("yolox-nano/yolox_nano.onnx", ["--size", "320"], "expected 416x416; got 320x320"),
        ("yolox-nano/yolox_nano.onnx", ["--precision", "bf16"], "precision"),
    ],
)
def test_what_cannot_be_meant(
    models: Path, photos: Path, model: str, options: list[str], message: str
) -> None:
    ran = command("predict", models / model, photos / "owl.jpg", *options)
    assert ran.status == 2
    assert message in ran.err
    assert ran.out == ""


def test_the_head_of_another_family_is_noted(models: Path, photos: Path) -> None:
    model = models / "yolox-nano" / "yolox_nano.onnx"
    ran = command("predict", model, photos / "owl.jpg", "--head", "yolo")
    assert "note: output float32[1,3549,85] does not look like an output of head yolo" in ran.err


def test_pack_verify_info_eval_bench_predict(
    models: Path, photos: Path, real_dir: Path, tmp_path: Path
) -> None:
    """The way of a model, from a file to a measured bundle."""
    path = tmp_path / "yolox.edgecv"
    ran = command(
        "pack", models / "yolox-nano" / "yolox_nano.onnx", "-o", path, "--license", "Apache-2.0",
        "--labels", models / "fastestdet" / "coco.names", "--golden", photos / "cat_720p.jpg",
        "--golden", photos / "kite_and_cold.jpg",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert "variants onnxruntime-fp32, openvino-fp32" in ran.out
    ran = command("verify", path, "--json", "-")
    assert ran.status == 0, ran.err
    report = json.loads(ran.out)
    assert [check["status"] for check in report["checks"]] == ["ok"] * 4
    # What one engine recorded, another one finds within the tolerance.
    assert max(check["box_px"] for check in report["checks"]) < 0.1
    info = json.loads(command("info", path, "--json", "-").out)
    assert info["runs"]["precision"] == "fp32"
    ran = command(
        "eval", path, "--data", real_dir / "data" / "coco128" / "coco128.yaml", "--limit", "8",
        "--bootstrap", "20", "--json", "-",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["metrics"]["map50"] > 0.3
    ran = command(
        "bench", path, "--variant", "openvino-fp32", "--duration", "0.5", "--warmup", "0.1",
        "--cold-starts", "1", "--json", "-",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    (result,) = json.loads(ran.out)["results"]
    assert result["images"] == 2
    assert result["memory_bytes"]["peak_rss"] > 2**20
    ran = command("predict", path, photos, "--save", tmp_path / "drawn")
    assert ran.status == 0, ran.err
    assert len(list((tmp_path / "drawn").glob("*.jpg"))) == len(list(photos.iterdir()))
