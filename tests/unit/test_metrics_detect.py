"""COCO mAP, and its bootstrap, against both reference implementations."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.average_precision import match, weighted_scores
from edgecv.metric import percentile_interval, resamples
from edgecv.metrics import detect
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth

NAMES = detect.NAMES
SIZE = (300, 300)


def found(*rows):
    """Make detections of (x1, y1, x2, y2, score, class)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def true(*rows, **options):
    """Make a truth of (x1, y1, x2, y2, class)."""
    return BoxTruth.from_rows([row[:4] for row in rows], [row[4] for row in rows], **options)


def compute(*images, **options):
    metric = detect.create()
    for result, truth in images:
        metric.update(result, truth, SIZE)
    return metric.compute(**{"bootstrap": 0, **options})


def ones(images, classes):
    return weighted_scores(match(images, classes), np.ones((1, len(images)), np.int64))


def random_images(seed, count=6, *, coarse=False):
    """Draw images with hits, misses, near misses, crowds, stated areas, ties and empty ones."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        m = int(random.integers(0, 6))
        low = random.uniform(0, 150, (m, 2))
        size = random.choice([8, 40, 120], (m, 1)) * random.uniform(0.5, 1.5, (m, 2))
        truth = np.concatenate([low, low + size], axis=1)
        classes = random.integers(0, 3, m)
        crowd = random.random(m) < 0.2
        area = np.where(random.random(m) < 0.5, np.nan, random.uniform(10, 20000, m))
        near = truth[random.integers(0, m, 3 * m)] if m else np.zeros((0, 4))
        near = near + random.normal(0, 3, near.shape)
        far = random.uniform(0, 100, (int(random.integers(0, 5)), 4))
        far[:, 2:] += far[:, :2]
        boxes = np.concatenate([near, far])
        score = random.random(len(boxes))
        if coarse:
            score = np.round(score, 1)
            boxes = np.round(boxes)
        images.append(
            (
                Detections(
                    boxes.astype(np.float32),
                    score.astype(np.float32),
                    random.integers(0, 4, len(boxes)).astype(np.int32),
                ),
                BoxTruth.from_rows(
                    truth.tolist(), classes.tolist(), crowd=crowd.tolist(), area=area.tolist()
                ),
            )
        )
    return images


def pycocotools_numbers(images):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, results = [], []
    for i, (result, truth) in enumerate(images, 1):
        for k in range(len(truth)):
            x1, y1, x2, y2 = truth.xyxy[k].astype(np.float64).tolist()
            stated = np.nan if truth.area is None else float(truth.area[k])
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": i,
                    "category_id": int(truth.class_id[k]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1) if np.isnan(stated) else stated,
                    "iscrowd": int(truth.crowd[k]),
                }
            )
        for box, score, class_id in result:
            x1, y1, x2, y2 = box.astype(np.float64).tolist()
            bbox = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": i, "category_id": class_id, "bbox": bbox, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(1, len(images) + 1)],
            "categories": [{"id": n} for n in range(5)],
            "annotations": truths,
        }
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


def test_perfect_is_one():
    scores = compute((found((10, 10, 50, 50, 0.9, 0)), true((10, 10, 50, 50, 0))))
    assert scores.metrics["map"] == pytest.approx(1)
    assert scores.metrics["map_medium"] == pytest.approx(1)
    assert scores.metrics["map_small"] is None
    assert "0x0 to 32x32" in scores.reasons["map_small"]


def test_half_overlap_counts_at_low_thresholds_only():
    # IoU = 40 * 26 / 1600 = .65: right at .50, .55, .60 and .65
    scores = compute((found((10, 10, 50, 36, 0.9, 0)), true((10, 10, 50, 50, 0))))
    assert scores.metrics["map"] == pytest.approx(0.4)
    assert scores.metrics["map50"] == pytest.approx(1)
    assert scores.metrics["map75"] == 0


def test_nothing_found_is_zero_and_nothing_true_is_unknown():
    assert compute((found(), true((1, 1, 9, 9, 0)))).metrics["map"] == 0
    for images in [], [(found(), true())], [(found((1, 1, 9, 9, 0.5, 0)), true())]:
        scores = compute(*images, bootstrap=10)
        assert set(scores.metrics.values()) == set(scores.ci95.values()) == {None}
        assert scores.reasons["map"] == "no object in any image"
        assert scores.per_class == ()


def test_wrong_class_is_wrong():
    assert compute((found((1, 1, 90, 90, 0.9, 1)), true((1, 1, 90, 90, 0)))).metrics["map"] == 0


def test_a_class_that_no_image_shows_changes_nothing():
    truth = true((1, 1, 90, 90, 2))
    one = compute((found((1, 1, 90, 90, 0.4, 2)), truth))
    two = compute((found((1, 1, 90, 90, 0.4, 2), (1, 1, 90, 90, 0.9, 7)), truth))
    assert one.metrics == two.metrics


def test_crowds_only_is_unknown_and_detections_in_crowds_are_no_mistake():
    crowd = true((0, 0, 100, 100, 0), crowd=[True])
    assert compute((found((1, 1, 9, 9, 0.9, 0)), crowd), bootstrap=9).metrics["map"] is None
    both = true((0, 0, 100, 100, 0), (200, 200, 250, 250, 0), crowd=[True, False])
    inside = found((1, 1, 9, 9, 0.9, 0), (20, 20, 29, 29, 0.8, 0), (200, 200, 250, 250, 0.7, 0))
    assert compute((inside, both)).metrics["map"] == pytest.approx(1)


def test_normalised_truth_is_scaled_by_the_image():
    truth = true((0.1, 0.1, 0.5, 0.5, 0), normalised=True)
    assert compute((found((30, 30, 150, 150, 0.9, 0)), truth)).metrics["map"] == pytest.approx(1)


def test_best_hundred_of_a_class_count():
    worse = [(200, 200, 210, 210, 0.9 - i / 1000, 0) for i in range(100)]
    rows = [*worse, (10, 10, 50, 50, 0.1, 0)]
    for first, counts in ((0, False), (1, True)):
        image = (found(*rows[first:]), true((10, 10, 50, 50, 0)))
        value = compute(image).metrics["map"]
        assert (value > 0) == counts
        assert ones([image], [0])["map"][0] == pytest.approx(value)


def test_of_two_equal_overlaps_the_later_object_is_taken():
    truth = true((0, 0, 10, 10, 0), (4, 0, 14, 10, 0))
    image = (found((2, 0, 12, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0)), truth)
    value = compute(image).metrics["ar100"]
    assert value == pytest.approx(0.7)
    assert ones([image], [0])["ar100"][0] == pytest.approx(value)


def test_per_class():
    images = [
        (found((1, 1, 90, 90, 0.9, 3)), true((1, 1, 90, 90, 3), (100, 100, 150, 150, 5))),
        (found(), true((9, 9, 90, 90, 9), crowd=[True])),
    ]
    scores = compute(*images)
    rows = [(s.class_id, s.images, s.truths, s.metrics["map"]) for s in scores.per_class]
    assert rows == [(3, 1, 1, pytest.approx(1)), (5, 1, 1, 0)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), coarse=st.booleans())
def test_every_image_once_gives_the_library_numbers(seed, coarse):
    images = random_images(seed, coarse=coarse)
    classes = sorted({int(c) for _, truth in images for c in truth.class_id})
    if not classes:
        return
    library = compute(*images).metrics
    own = ones(images, classes)
    for name in NAMES:
        expected = library[name]
        assert own[name][0] == pytest.approx(
            np.nan if expected is None else expected, abs=1e-9, nan_ok=True
        )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_library_agrees_with_pycocotools(seed):
    pytest.importorskip("pycocotools", reason="a second reference, of no extra")
    images = random_images(seed)
    if not any(len(truth) for _, truth in images) or not any(len(result) for result, _ in images):
        return
    scores = compute(*images).metrics
    expected = [None if value < 0 else value for value in pycocotools_numbers(images)]
    for name, value in zip(NAMES, expected, strict=True):
        assert scores[name] == (None if value is None else pytest.approx(value, abs=1e-9)), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_weights_count_images_as_copies_of_them_would(seed):
    images = random_images(seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(images))
    copies = [image for image, weight in zip(images, weights, strict=True) for _ in range(weight)]
    if not any(len(truth) for _, truth in copies):
        return
    classes = sorted({int(c) for _, truth in images for c in truth.class_id})
    own = weighted_scores(match(images, classes), weights[None])
    library = compute(*copies).metrics
    for name in NAMES:
        expected = np.nan if library[name] is None else library[name]
        assert own[name][0] == pytest.approx(expected, abs=1e-9, nan_ok=True), name


def test_many_resamples_at_once_equal_one_by_one():
    images = random_images(5)
    matches = match(images, [0, 1, 2])
    weights = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=20)
    together = weighted_scores(matches, weights)
    for b in range(len(weights)):
        alone = weighted_scores(matches, weights[b : b + 1])
        for name in NAMES:
            np.testing.assert_array_equal(alone[name], together[name][b : b + 1])


def test_interval_is_seeded_and_brackets_the_value():
    images = random_images(11, 40)
    first, again = compute(*images, bootstrap=200), compute(*images, bootstrap=200)
    other = compute(*images, bootstrap=200, seed=1)
    assert first == again
    assert first.ci95 != other.ci95
    assert first.metrics == other.metrics
    low, high = first.ci95["map50"]
    assert low < first.metrics["map50"] < high
    assert set(first.ci95) == set(first.metrics) == set(NAMES)
    assert set(compute(*images).ci95.values()) == {None}


def test_draws_are_those_of_the_resampled_images():
    images = random_images(11, 12)
    scores = compute(*images, bootstrap=40, seed=3)
    classes = sorted({int(c) for _, truth in images for c in truth.class_id})
    weights = np.concatenate(list(resamples(12, 40, 3)))
    expected = weighted_scores(match(images, classes), weights)
    measured = {name for name in NAMES if scores.metrics[name] is not None}
    assert set(scores.draws) == measured
    for name in measured:
        np.testing.assert_array_equal(scores.draws[name], expected[name])
        assert scores.ci95[name] == percentile_interval(scores.draws[name])
    assert compute(*images).draws == {}
    assert compute((found(), true()), bootstrap=10).draws == {}


def test_more_images_make_the_interval_narrower():
    image = (
        (found((10, 10, 90, 90, 0.9, 0)), true((10, 10, 90, 90, 0))),
        (found(), true((10, 10, 90, 90, 0))),
    )
    few, many = compute(*image * 5, bootstrap=300), compute(*image * 50, bootstrap=300)
    width = [np.subtract(*scores.ci95["ar100"][::-1]) for scores in (few, many)]
    assert 0 < width[1] < width[0] / 2


def test_missing_library_names_the_extra():
    code = (
        "import sys; sys.modules['faster_coco_eval'] = None\n"
        "from edgecv.metrics import detect\n"
        "from edgecv.truth import BoxTruth\n"
        "from edgecv.results.detections import Detections\n"
        "m = detect.create(); m.update(Detections(), BoxTruth.from_rows([[0,0,9,9]],[0]), (9,9))\n"
        "try:\n    m.compute()\n"
        "except Exception as error:\n    print(type(error).__name__, error.remedy)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[0] == "DependencyMissingError pip install 'edgecv[eval]'"
