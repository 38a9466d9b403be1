"""Mask and oriented mAP, outlines as masks, and the data sets that bring them."""

from __future__ import annotations

import contextlib
import io
import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.boxes import corners_of_rotated, hull_of_rotated
from edgecv.dataset import open_dataset
from edgecv.mask_truth import MaskTruth, RotatedTruth
from edgecv.masks import Masks, run_lengths
from edgecv.metrics import obb, segment
from edgecv.outline_labels import with_outlines
from edgecv.polygons import rasterise
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth

HW = (60, 80)


def masks_of(outlines, size_hw):
    """Make the masks of objects, each of several polygons; see `rasterise`."""
    parts = [Masks.from_full(rasterise(polygons, size_hw)[None]) for polygons in outlines]
    if not parts:
        return Masks.empty(size_hw)
    offsets = np.concatenate([part.offset_xy for part in parts])
    return Masks(size_hw, offsets, tuple(part.crops[0] for part in parts))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_outlines_are_filled_as_coco_fills_them(seed):
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    h, w = (int(n) for n in rng.integers(1, 60, 2))
    corners = rng.uniform(-0.3, 1.3, (int(rng.integers(3, 12)), 2)) * [w, h]
    if seed % 2:
        corners = np.round(np.clip(corners, 0, [w, h]))
    expected = coco.decode(coco.frPyObjects([corners.ravel().tolist()], h, w))[..., 0]
    assert (rasterise([corners], (h, w)) == expected.astype(bool)).all()


def test_parts_of_an_outline_are_joined():
    squares = [np.array([[x, 2], [x + 4, 2], [x + 4, 6], [x, 6]], float) for x in (1, 10)]
    masks = masks_of([squares, squares[:1]], HW)
    assert masks.area().tolist() == [32, 16]
    assert masks.xyxy().tolist() == [[1, 2, 14, 6], [1, 2, 5, 6]]
    assert len(masks_of([], HW)) == 0


def truth_of(polygons, classes, **more):
    boxes = [[*p.min(axis=0), *p.max(axis=0)] for p in polygons]
    return with_outlines(BoxTruth.from_rows(boxes, classes, **more), [(p,) for p in polygons])


def random_images(seed):
    """Draw polygons, a crowd as run lengths, and findings near and far from them."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(5):
        m = int(rng.integers(0, 5))
        polygons = [
            rng.uniform(5, 45, 2) + rng.uniform(0, 30, (5, 2)) * rng.choice([0.4, 1])
            for _ in range(m)
        ]
        crowd = rng.random(m) < 0.25
        truth = truth_of(polygons, rng.integers(0, 2, m).tolist(), crowd=crowd.tolist())
        outlines = [
            (np.array(run_lengths(rasterise(o, HW))),) if c else o
            for o, c in zip(truth.outlines, crowd, strict=True)
        ]
        truth = with_outlines(BoxTruth(truth.xyxy, truth.class_id, truth.crowd, None), outlines)
        near = [p + rng.normal(0, 1.5, p.shape) for p in polygons for _ in range(2)]
        near += [rng.uniform(0, 60, (4, 2)) for _ in range(2)]
        masks = masks_of([[p] for p in near], HW)
        n = len(near)
        found = Detections(
            masks.xyxy(),
            rng.random(n).astype(np.float32),
            rng.integers(0, 2, n).astype(np.int32),
            masks=masks,
        )
        images.append((found, truth))
    return images


def pycocotools_numbers(images):
    mask = pytest.importorskip("pycocotools.mask")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, results = [], []
    for i, (found, truth) in enumerate(images, 1):
        areas = truth.masks(HW).area()
        for k, outline in enumerate(truth.outlines):
            if truth.crowd[k]:
                shape = {"size": list(HW), "counts": outline[0].tolist()}
            else:
                shape = [part.ravel().tolist() for part in outline]
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": i,
                    "category_id": int(truth.class_id[k]),
                    "segmentation": shape,
                    "bbox": [0, 0, 1, 1],
                    "area": float(areas[k]),
                    "iscrowd": int(truth.crowd[k]),
                }
            )
        for k in range(len(found)):
            full = np.asfortranarray(found.instance_masks.full(k).astype(np.uint8))
            results.append(
                {
                    "image_id": i,
                    "category_id": int(found.class_id[k]),
                    "segmentation": mask.encode(full),
                    "score": float(found.score[k]),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": i, "height": HW[0], "width": HW[1]} for i in range(1, 6)],
            "categories": [{"id": 0}, {"id": 1}],
            "annotations": truths,
        }
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(results), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


@pytest.mark.parametrize("seed", range(8))
def test_mask_map_is_that_of_pycocotools(seed):
    images = random_images(seed)
    metric = segment.create()
    for found, truth in images:
        metric.update(found, truth, HW)
    scores = metric.compute(bootstrap=20)
    expected = [None if v < 0 else v for v in pycocotools_numbers(images)]
    for name, value in zip(segment.NAMES, expected, strict=False):
        assert scores.metrics[name] == (None if value is None else pytest.approx(value, abs=1e-9))
    assert scores.metrics["mask_map"] not in (None, 0)
    assert {"mask_map", "map"} <= set(scores.per_class[0].metrics)
    low, high = scores.ci95["mask_map50"]
    assert low <= high


def test_good_boxes_with_bad_masks_are_told_apart():
    square = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], float)
    truth = truth_of([square], [0])
    half = masks_of([[square * [1, 0.5] + [0, 5]]], HW)
    found = Detections(truth.xyxy, np.ones(1, np.float32), np.zeros(1, np.int32), masks=half)
    metric = segment.create()
    metric.update(found, truth, HW)
    scores = metric.compute(bootstrap=0).metrics
    assert scores["map"] == pytest.approx(1)
    # The lower half of the square is not masked: IoU 0.5, right at the first threshold alone.
    assert scores["mask_map"] == pytest.approx(0.1)
    metric.update(Detections(), truth_of([], []), HW)
    assert metric.compute(bootstrap=0).metrics["mask_map50"] == pytest.approx(1)


def test_oriented_map_counts_by_oriented_overlap():
    xywhr = np.array([[30, 30, 40, 10, 0.4], [50, 40, 30, 10, 1.2]], np.float32)
    truth = RotatedTruth(corners_of_rotated(xywhr), np.array([0, 1], np.int32))
    np.testing.assert_allclose(
        corners_of_rotated(truth.xywhr).mean(axis=1), xywhr[:, :2], atol=1e-4
    )
    turned = xywhr.copy()
    turned[1, 4] += math.pi / 2  # its hull overlaps, the box itself hardly
    for boxes, expected in ((xywhr, 1), (turned, 0.5)):
        found = Detections(
            hull_of_rotated(boxes),
            np.array([0.9, 0.8], np.float32),
            np.array([0, 1], np.int32),
            xywhr=boxes,
        )
        metric = obb.create()
        metric.update(found, truth, HW)
        metric.update(Detections(), RotatedTruth(truth.corners[:0], truth.class_id[:0]), HW)
        assert metric.compute(bootstrap=0).metrics["map"] == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_the_smallest_box_around_four_points(seed):
    points = np.random.default_rng(seed).uniform(0, 50, (4, 2)).astype(np.float32)
    mine = RotatedTruth(points[None], np.zeros(1, np.int32)).xywhr[0]
    _, size, _ = cv2.minAreaRect(points)
    assert mine[2] * mine[3] == pytest.approx(size[0] * size[1], rel=1e-3, abs=1e-2)


def test_labels_with_outlines_and_corners(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((60, 80, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "images/b.png"), np.zeros((60, 80, 3), np.uint8))
    lines = "1 .25 .25 .5 .25 .5 .5 .25 .5\n0 .5 .5 .2 .2\n0 .1 .1 .2 .1 .2 .3\n"
    (tmp_path / "labels/a.txt").write_text(lines)
    (tmp_path / "data.yaml").write_text("val: images\nnames: [cat, dog]\n")
    dataset = open_dataset(tmp_path / "data.yaml", task="segment")
    truth = dataset.samples[0].truth
    assert isinstance(truth, MaskTruth)
    assert [p.what for p in dataset.problems] == ["no polygon: 4 coordinates"]
    pixels = truth.in_pixels(HW)
    assert pixels.xyxy[0].tolist() == [20, 15, 40, 30]
    assert pixels.masks(HW).area().tolist()[0] == 300
    assert len(dataset.samples[1].truth.in_pixels(HW).masks(HW)) == 0
    dataset = open_dataset(tmp_path / "data.yaml", task="obb")
    truth = dataset.samples[0].truth
    assert isinstance(truth, RotatedTruth)
    assert len(dataset.problems) == 2
    x, y, *sides, angle = truth.in_pixels(HW).xywhr[0].tolist()
    assert (x, y, *sorted(sides)) == pytest.approx((30, 22.5, 15, 20))
    assert math.sin(2 * angle) == pytest.approx(0, abs=1e-5)
    assert len(dataset.samples[1].truth) == 0


def test_coco_json_with_outlines(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    square = np.zeros((1, 60, 80), bool)
    square[0, 10:20, 5:25] = True
    text = Masks.from_full(square).to_json(0)
    runs = {"size": [60, 80], "counts": run_lengths(square[0])}
    shapes = [
        ([[5, 10, 25, 10, 25, 20, 5, 20]], None),
        (text, None),
        (runs, None),
        (None, "no segmentation"),
        ([[1, 2, 3, 4]], "three or more corners"),
        ([[1, 2, 3, 4, "x", 5]], "something else than numbers"),
        ({"size": [6, 8], "counts": [48]}, "an image of 8x6"),
        ({"size": [60, 80], "counts": [5]}, "do not add up"),
        ({"size": [60, 80], "counts": "~"}, "run-length code"),
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [
            {
                "image_id": 1,
                "category_id": 7,
                "bbox": [5, 10, 20, 10],
                "segmentation": shape,
                "iscrowd": int(n == 2),
            }
            for n, (shape, _) in enumerate(shapes)
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path / "all.json", task="segment")
    truth = dataset.samples[0].truth
    masks = truth.in_pixels(HW).masks(HW)
    assert masks.area().tolist() == [200, 200, 200]
    assert masks.iou(masks).min() == 1
    assert truth.crowd.tolist() == [False, False, True]
    reasons = [reason for _, reason in shapes if reason]
    assert len(dataset.problems) == len(reasons)
    for problem, reason in zip(dataset.problems, reasons, strict=True):
        assert reason in problem.what
