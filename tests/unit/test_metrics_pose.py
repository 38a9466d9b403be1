"""Keypoint precision against the reference implementation, and its own rules."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.errors import DatasetError
from edgecv.keypoints import COCO_SIGMAS, sigmas, similarity
from edgecv.metrics import pose
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth, PoseTruth

SIZE = (300, 300)


def random_images(seed, count=4, k=17):
    """Draw images with hits, near misses, crowds, unlabelled objects, stated areas, empty ones."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        m = int(random.integers(0, 4))
        low, size = random.uniform(0, 150, (m, 2)), random.uniform(20, 150, (m, 2))
        points = low[:, None] + random.random((m, k, 2)) * size[:, None]
        visible = random.integers(0, 3, (m, k, 1)) * (random.random((m, 1, 1)) < 0.8)
        boxes = BoxTruth.from_rows(
            np.concatenate([low, low + size], axis=1).tolist(),
            random.integers(0, 2, m).tolist(),
            crowd=(random.random(m) < 0.2).tolist(),
            area=np.where(random.random(m) < 0.5, np.nan, random.uniform(500, 9000, m)).tolist(),
        )
        keypoints = np.concatenate([points, visible], axis=2).astype(np.float32)
        truth = PoseTruth.from_boxes(boxes, keypoints)
        # Sometimes more than the 20 of a class that count.
        n = int(random.integers(0, 6 * m + 4) * random.choice([1, 1, 8]))
        of = random.integers(0, max(m, 1), n)
        near = points[of] if m else random.uniform(0, 200, (n, k, 2))
        near = near + random.normal(0, 1, near.shape) * random.choice([0.5, 3, 10, 150], (n, 1, 1))
        images.append(
            (
                Detections(
                    np.tile(np.array([[0, 0, 1, 1]], np.float32), (n, 1)),
                    random.random(n).astype(np.float32),
                    random.integers(0, 3, n).astype(np.int32),
                    keypoints=np.concatenate([near, np.ones((n, k, 1))], 2).astype(np.float32),
                ),
                truth,
            )
        )
    return images


def compute(images, **options):
    metric = pose.create()
    for result, truth in images:
        metric.update(result, truth, SIZE)
    return metric.compute(**{"bootstrap": 0, **options})


def pycocotools_numbers(images, tolerance):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, results = [], []
    for i, (result, truth) in enumerate(images, 1):
        for j in range(len(truth)):
            x1, y1, x2, y2 = truth.xyxy[j].astype(np.float64).tolist()
            stated = float(truth.area[j])
            area = (x2 - x1) * (y2 - y1) * 0.53 if np.isnan(stated) else stated
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": i,
                    "category_id": int(truth.class_id[j]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(truth.crowd[j]),
                    "keypoints": truth.keypoints[j].astype(np.float64).ravel().tolist(),
                    "num_keypoints": int((truth.keypoints[j, :, 2] > 0).sum()),
                }
            )
        for j in range(len(result)):
            results.append(
                {
                    "image_id": i,
                    "category_id": int(result.class_id[j]),
                    "score": float(result.score[j]),
                    "keypoints": result.keypoints[j].astype(np.float64).ravel().tolist(),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(1, len(images) + 1)],
            "categories": [{"id": n} for n in range(3)],
            "annotations": truths,
        }
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(results), "keypoints")
        if tolerance is not None:  # else those that it has for COCO itself
            run.params.kpt_oks_sigmas = np.array(tolerance)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[:3]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.sampled_from([17, 5]))
def test_the_numbers_are_those_of_pycocotools(seed, k):
    pytest.importorskip("pycocotools", reason="the reference, of no extra")
    images = random_images(seed, k=k)
    if not any(len(found) for found, _ in images) or not any(len(t) for _, t in images):
        return
    values = compute(images).metrics
    expected = pycocotools_numbers(images, None if k == 17 else [1 / k] * k)
    for name, value in zip(pose.NAMES, expected, strict=True):
        assert values[name] == (None if value < 0 else pytest.approx(value, abs=1e-9)), name


def one(found, true, *, size=100.0, area=None):
    """Make one image with one object and one detection of (x, y) or (x, y, v) keypoints."""
    points = np.array([found], np.float32)
    truth = np.array([true], np.float32)
    return (
        Detections(
            np.zeros((1, 4), np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int32),
            keypoints=points,
        ),
        PoseTruth(
            np.array([[0, 0, size, size]], np.float32),
            np.zeros(1, np.int32),
            np.zeros(1, bool),
            None if area is None else np.array([area], np.float32),
            False,
            truth,
        ),
    )


def test_similarity_by_hand():
    # d = 10 px, area 2500, k = 2 / 2 = 1: exp(-100 / 5000) = .9802; the second one is exact, the
    # third is not labelled.
    found = np.array([[[10, 0, 1], [5, 5, 1], [99, 99, 1]]], np.float32)
    true = np.array([[[0, 0, 2], [5, 5, 1], [0, 0, 0]]], np.float32)
    box, tolerance = np.array([[0, 0, 50, 50]], np.float32), np.full(3, 0.5)
    value = similarity(found, true, box, np.array([2500.0]), tolerance)
    assert value == pytest.approx((np.exp(-0.02) + 1) / 2)
    assert similarity(found[:0], true, box, np.array([2500.0]), tolerance).shape == (0, 1)
    assert similarity(found, true[:0], box[:0], np.zeros(0), tolerance).shape == (1, 0)


def test_the_area_is_stated_or_half_the_box():
    # One keypoint: k = 2. OKS .7 at area A needs d^2 = -ln(.7) * 8 A.
    for size, area, counted in ((100.0, None, 5300), (100.0, 2000.0, 2000)):
        off = float(np.sqrt(-np.log(0.7) * 8 * counted))
        just, over = off * 0.999, off * 1.001
        images = [one([(just, 0, 1)], [(0, 0, 2)], size=size, area=area)]
        assert compute(images).metrics["oks_map"] == pytest.approx(0.5)  # .50, ... .70
        images = [one([(over, 0, 1)], [(0, 0, 2)], size=size, area=area)]
        assert compute(images).metrics["oks_map"] == pytest.approx(0.4)


def test_tolerances():
    assert sigmas(17).tolist() == list(COCO_SIGMAS)
    assert sigmas(4).tolist() == [0.25] * 4
    assert sigmas(2, [0.1, 0.2]).tolist() == [0.1, 0.2]


def test_nothing_to_measure_is_unknown_and_nothing_found_is_zero():
    unlabelled = one([(1, 1, 1)], [(0, 0, 0)])
    for images in ([], [unlabelled]):
        scores = compute(images, bootstrap=5)
        assert set(scores.metrics.values()) == {None}
        assert set(scores.reasons) == set(pose.NAMES)
    found, truth = one([(1, 1, 1)], [(0, 0, 2)])
    assert compute([(found[[]], truth)]).metrics["oks_map"] == 0
    without = found.replace(keypoints=None)
    assert compute([(without, truth)]).metrics["oks_map"] == 0


def test_normalised_truth_is_scaled_by_the_image():
    _, truth = one([(0, 0, 1)], [(0.5, 0.25, 2)], size=1)
    truth = PoseTruth(truth.xyxy, truth.class_id, truth.crowd, None, True, truth.keypoints)
    found, _ = one([(100, 25, 1)], [(0, 0, 2)])
    metric = pose.create()
    metric.update(found, truth, (100, 200))
    assert metric.compute(0).metrics["oks_map"] == pytest.approx(1)


def test_another_number_of_keypoints_is_an_error():
    found, truth = one([(1, 1, 1)], [(0, 0, 2), (1, 1, 2)])
    with pytest.raises(DatasetError, match="expected 1 keypoints an object; got 2"):
        pose.create().update(found, truth, SIZE)


def test_interval_and_classes():
    images = random_images(3, count=12)
    scores = compute(images, bootstrap=200)
    for name in pose.NAMES:
        low, high = scores.ci95[name]
        assert 0 <= low < high <= 1
        assert scores.draws[name].shape == (200,)
    assert [s.class_id for s in scores.per_class] == [0, 1]
    mean = np.mean([s.metrics["oks_map"] for s in scores.per_class])
    assert scores.metrics["oks_map"] == pytest.approx(mean)


def test_tolerances_are_those_of_the_reference():
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="the reference, of no extra")
    np.testing.assert_allclose(cocoeval.Params("keypoints").kpt_oks_sigmas, COCO_SIGMAS)
