"""mIoU, against counts by hand and an independent confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.map_files import encode_map
from edgecv.map_truth import SemanticTruth
from edgecv.metrics import semantic
from edgecv.results.semantic import UNSEEN, SemanticMap
from edgecv.types import Array


def measure(pairs: list[tuple[Array, Array]], num_classes: int | None = None, **options: int):
    metric = semantic.create()
    for found, true in pairs:
        result = SemanticMap(np.asarray(found, np.int16))
        metric.update(result, SemanticTruth(encode_map(np.asarray(true)), num_classes), true.shape)
    return metric.compute(**options)


def test_by_hand():
    true = np.array([[0, 0, 0, 1], [1, 1, 255, 255]])
    found = np.array([[0, 0, 1, 1], [1, 2, 0, 2]])
    scores = measure([(found, true)], 4, bootstrap=0)
    # Class 0: 2 of 3; class 1: 2 of 4; class 2: found, never true; class 3: nowhere.
    assert scores.metrics["miou"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.metrics["pixel_accuracy"] == pytest.approx(4 / 6)
    rows = [(s.class_id, s.images, s.truths, s.metrics["iou"]) for s in scores.per_class]
    assert rows == [(0, 1, 3, pytest.approx(2 / 3)), (1, 1, 3, 0.5), (2, 0, 0, 0.0)]


def test_one_matrix_over_all_images_not_a_mean_of_images():
    a, b = np.zeros((1, 10), int), np.zeros((1, 90), int)
    pairs = [(a, a), (b + 1, b)]
    assert measure(pairs, 1, bootstrap=0).metrics["miou"] == pytest.approx(0.1)


def test_pixels_that_the_model_did_not_see_are_wrong():
    true = np.array([[0, 0, 1, 1]])
    scores = measure([(np.array([[0, UNSEEN, 1, 1]]), true)], 2, bootstrap=0)
    assert scores.metrics["miou"] == pytest.approx(0.75)


def test_classes_that_the_data_do_not_have_are_errors_but_not_averaged():
    metric = semantic.create()
    truth = SemanticTruth(encode_map(np.array([[0, 1, 1, 1]])), 2).with_classes(
        np.array([4, 7], np.int32)
    )
    metric.update(SemanticMap(np.array([[4, 7, 7, 3]], np.int16)), truth, (1, 4))
    scores = metric.compute(bootstrap=0)
    assert scores.metrics["miou"] == pytest.approx((1 + 2 / 3) / 2)
    assert [s.class_id for s in scores.per_class] == [4, 7]


def test_against_a_confusion_matrix():
    random = np.random.default_rng(0)
    pairs = []
    matrix = np.zeros((256, 256))
    for _ in range(8):
        true = random.integers(0, 5, (20, 30))
        found = np.where(random.random((20, 30)) < 0.6, true, random.integers(0, 5, (20, 30)))
        true[random.random((20, 30)) < 0.1] = 255
        pairs.append((found, true))
        np.add.at(matrix, (true.ravel(), found.ravel()), 1)
    matrix = matrix[:5, :5]
    iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    scores = measure(pairs, 5, bootstrap=200)
    assert scores.metrics["miou"] == pytest.approx(iou.mean())
    assert scores.metrics["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    low, high = scores.ci95["miou"]
    assert low < iou.mean() < high
    assert len(scores.draws["miou"]) == 200


def test_an_image_counted_twice_is_two_images():
    """A resample gives what a data set with copies gives."""
    random = np.random.default_rng(3)
    pairs = [(random.integers(0, 3, (4, 5)), random.integers(0, 3, (4, 5))) for _ in range(3)]
    metric = semantic.create()
    for found, true in pairs:
        metric.update(
            SemanticMap(found.astype(np.int16)), SemanticTruth(encode_map(true), 3), (4, 5)
        )
    drawn = metric._scores(np.array([[2, 0, 1]]), *metric._tables())
    copies = measure([pairs[0], pairs[0], pairs[2]], 3, bootstrap=0)
    for name in semantic.NAMES:
        assert drawn[name][0] == pytest.approx(copies.metrics[name])


def test_a_resample_without_a_class_leaves_it_out():
    ones, twos = np.full((2, 2), 1), np.full((2, 2), 2)
    scores = measure([(ones, ones), (twos, twos)], 3, bootstrap=50)
    assert set(scores.draws["miou"]) == {1.0}


def test_nothing_to_count():
    scores = measure([(np.zeros((2, 2)), np.full((2, 2), 255))], 3)
    assert scores.metrics == {"miou": None, "pixel_accuracy": None}
    assert scores.reasons["miou"] == "no pixel has a class"
