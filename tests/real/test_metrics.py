"""COCO's own sample of 100 images and fake results, whose numbers are published."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest

from edgecv.average_precision import match, weighted_scores
from edgecv.datasets.coco import read_annotations
from edgecv.masks import Masks
from edgecv.metrics import detect, segment
from edgecv.results.detections import Detections

pytestmark = pytest.mark.real

EXPECTED = [0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564]


@pytest.fixture(scope="module")
def images(real_dir):
    folder = real_dir / "data" / "metrics" / "coco"
    truth = read_annotations(folder / "instances_val2014_100.json")
    class_of = {category: n for n, category in enumerate(truth.category_ids)}
    results = defaultdict(list)
    for row in json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text()):
        x, y, width, height = row["bbox"]
        results[row["image_id"]].append(
            (x, y, x + width, y + height, row["score"], class_of[row["category_id"]])
        )
    found = []
    for image, (_, _, boxes) in truth.images.items():
        rows = np.array(results[image]).reshape(-1, 6)
        detections = Detections(
            rows[:, :4].astype(np.float32),
            rows[:, 4].astype(np.float32),
            rows[:, 5].astype(np.int32),
        )
        found.append((detections, boxes))
    assert len(found) == 100
    return found


def test_published_numbers(images):
    metric = detect.create()
    for result, truth in images:
        metric.update(result, truth, (640, 640))
    scores = metric.compute(bootstrap=200)
    assert list(scores.metrics.values()) == pytest.approx(EXPECTED, abs=5e-4)
    for name in ("map", "map50", "ar100"):
        low, high = scores.ci95[name]
        assert low < scores.metrics[name] < high


def test_bootstrap_with_every_image_once_gives_the_same(images):
    classes = sorted({int(c) for _, truth in images for c in truth.class_id})
    scores = weighted_scores(match(images, classes), np.ones((1, 100), np.int64))
    metric = detect.create()
    for result, truth in images:
        metric.update(result, truth, (640, 640))
    library = metric.compute(bootstrap=0).metrics
    for name in detect.NAMES:
        assert scores[name][0] == pytest.approx(library[name], abs=1e-9), name


SEGM = [0.320, 0.562, 0.299, 0.387, 0.310, 0.327, 0.268, 0.415, 0.417, 0.469, 0.377, 0.381]


def test_published_numbers_of_masks(real_dir):
    folder = real_dir / "data" / "metrics" / "coco"
    truth = read_annotations(folder / "instances_val2014_100.json", outlines=True)
    class_of = {category: n for n, category in enumerate(truth.category_ids)}
    results = defaultdict(list)
    for row in json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text()):
        results[row["image_id"]].append(row)
    metric = segment.create()
    boxes = detect.create()
    for image, (_, size_hw, objects) in truth.images.items():
        rows = results[image]
        masks = Masks.from_json([row["segmentation"] for row in rows], size_hw)
        found = Detections(
            masks.xyxy(),
            np.array([row["score"] for row in rows], np.float32),
            np.array([class_of[row["category_id"]] for row in rows], np.int32),
            masks=masks,
        )
        metric.update(found, objects, size_hw)
        boxes.update(found, objects, size_hw)
    assert len(truth.images) == 100
    scores = metric.compute(bootstrap=200)
    values = list(scores.metrics.values())
    assert values[:12] == pytest.approx(SEGM, abs=5e-4)
    library = boxes.compute(bootstrap=0).metrics
    for name in ("map", "map50", "map75"):
        assert scores.metrics[name] == pytest.approx(library[name], abs=1e-9)
    low, high = scores.ci95["mask_map50"]
    assert low < scores.metrics["mask_map50"] < high
