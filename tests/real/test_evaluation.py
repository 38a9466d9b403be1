"""Public models on public images, against figures that other decoders and pycocotools gave."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgecv
from edgecv.class_map import class_table
from edgecv.dataset import open_dataset
from edgecv.evaluation import evaluate
from edgecv.hints import Hints

pytestmark = pytest.mark.real

ENGINES = ("onnxruntime", "openvino")
DETECTORS = {
    "yolox-nano/yolox_nano.onnx": ("yolox", {"iou": 0.65}, 0.343),
    "nanodet/nanodet.onnx": ("nanodet", {"confidence": 0.05, "iou": 0.6}, 0.273),
    "nanodet/nanodet_m.onnx": ("nanodet", {"confidence": 0.05, "iou": 0.6}, 0.248),
    "fastestdet/FastestDet.onnx": ("fastestdet", {"confidence": 0.01, "iou": 0.45}, 0.207),
}


@pytest.mark.parametrize("file", DETECTORS)
def test_detectors_on_coco128(real_dir, file):
    head, options, expected = DETECTORS[file]
    dataset = open_dataset(real_dir / "data/coco128/coco128.yaml", "val", task="detect")
    assert sum(len(sample.truth) for sample in dataset.samples) == 898
    # The names of Darknet's list differ in six spellings from those of the data.
    names = (real_dir / "models/fastestdet/coco.names").read_text().split("\n")
    labels = tuple(name.strip() for name in names if name.strip())
    values = []
    for engine in ENGINES:
        path = real_dir / "models" / file
        with edgecv.load(path, backend=engine, head=head, labels=labels) as model:
            evaluation = evaluate(model, dataset, bootstrap=0, **options)
        assert (evaluation.images, evaluation.skipped) == (128, 0)
        assert "'airplane' as 'aeroplane'" in evaluation.notes[0]
        assert (evaluation.backend, evaluation.precision) == (engine, "fp32")
        values.append(evaluation.metrics["map"])
    assert values == pytest.approx([expected] * 2, abs=0.01)
    assert values[0] == pytest.approx(values[1], abs=0.005)


def test_interval_of_a_detector(real_dir):
    dataset = open_dataset(real_dir / "data/coco128/coco128.yaml", "val")
    path = real_dir / "models/yolox-nano/yolox_nano.onnx"
    with edgecv.load(path, backend="onnxruntime", head="yolox", labels=dataset.labels) as model:
        evaluation = evaluate(model, dataset, limit=40, iou=0.65, bootstrap=200)
    low, high = evaluation.ci95["map50"]
    assert 0.3 < low < evaluation.metrics["map50"] < high < 0.8
    assert evaluation.images == 40


FIGURES = {
    "mobilenet_v2_1.0_224_quant": {"top1": 0.880, "top5": 0.995},
    "mobilenet_v1_0.25_128_quant": {"top1": 0.510, "top5": 0.765},
}


@pytest.mark.parametrize("name", FIGURES)
def test_mobilenets_on_imagenet200(real_dir, name):
    folder = real_dir / "models" / "coral"
    labels = tuple((folder / "imagenet_labels.txt").read_text().splitlines())
    hints = Hints(
        task="classify",
        resize="crop",
        crop_ratio=0.875,
        color="rgb",
        # The input's own scale is 1/128 around 128, so this hands over the raw bytes.
        mean=(128.0, 128.0, 128.0),
        std=(128.0, 128.0, 128.0),
    )
    dataset = open_dataset(real_dir / "data/imagenet200", labels=labels)
    path = folder / f"{name}.tflite"
    with edgecv.load(path, head="softmax", labels=labels, hints=hints) as model:
        evaluation = evaluate(model, dataset)
    assert (evaluation.images, evaluation.skipped) == (200, 0)
    for metric, figure in FIGURES[name].items():
        # Two of 200 images; their difference of 0.01 is not one in binary.
        assert abs(round(evaluation.metrics[metric] - figure, 6)) <= 0.01
    assert evaluation.precision == "int8"
    low, high = evaluation.ci95["top1"]
    assert low < evaluation.metrics["top1"] < high


def test_labels_of_folders_and_model_are_matched_by_name(real_dir):
    labels = (real_dir / "models/coral/imagenet_labels.txt").read_text().splitlines()
    dataset = open_dataset(real_dir / "data/imagenet200")
    ids = class_table(dataset.labels, labels).ids
    assert len(ids) == 200
    assert [labels[i] for i in ids] == list(dataset.labels)


def test_labels_without_image_and_images_without_label(real_dir):
    dataset = open_dataset(real_dir / "data/coco128/coco128.yaml", "train")
    assert len(dataset) == 128
    assert sum(len(sample.truth) == 0 for sample in dataset.samples) >= 2
    assert [(Path(p.where).name, p.image) for p in dataset.problems] == [
        ("000000000656.txt", True),
        ("000000000659.txt", True),
    ]


def test_polygons_are_boxes(real_dir):
    dataset = open_dataset(real_dir / "data/coco128/segment.yaml", "val")
    assert len(dataset) == 128
    assert sum(len(sample.truth) > 0 for sample in dataset.samples) == 100


def test_blood_cells(real_dir):
    dataset = open_dataset(real_dir / "data/bccd", "trainval")
    assert dataset.labels == ("Platelets", "RBC", "WBC")
    assert len(dataset) == 292
    assert [Path(p.where.split(":")[0]).stem for p in dataset.problems] == [
        "BloodImage_00338",
        "BloodImage_00343",
    ]
    assert {p.what for p in dataset.problems} == {"a box without area"}
    assert {sample.size_hw for sample in dataset.samples} == {(480, 640)}
