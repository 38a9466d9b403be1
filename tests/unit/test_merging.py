"""What two detections have in common, by their own geometry."""

import numpy as np
import pytest

from edgecv import merging
from edgecv.masks import Masks
from edgecv.results.detections import Detections


def merge(detections, part, is_cut, threshold):
    """Merge what comes from parts that each show everything."""
    windows = np.tile(np.array([[0, 0, 100, 100]], np.float32), (len(detections), 1))
    return merging.merge(detections, windows, part, is_cut, threshold)


def found(count=2, **more):
    box = np.array([[0, 0, 10, 10]] * count, np.float32).reshape(-1, 4)
    score = np.linspace(0.9, 0.5, count, dtype=np.float32)
    return Detections(box, score, np.zeros(count, np.int32), **more)


def test_the_own_geometry_decides():
    """All hulls are the same; only what lies in them tells the objects apart."""
    part, whole = np.arange(2), np.zeros(2, bool)
    assert len(merge(found(), part, whole, 0.5)) == 1
    crossed = np.array([[5, 5, 14, 1, np.pi / 4], [5, 5, 14, 1, -np.pi / 4]], np.float32)
    assert len(merge(found(xywhr=crossed), part, whole, 0.5)) == 2
    assert len(merge(found(xywhr=crossed[[0, 0]]), part, whole, 0.5)) == 1
    # A rectangle turned by half a circle is the same.
    turned = crossed[[0, 0]] + np.array([[0] * 5, [0, 0, 0, 0, np.pi]], np.float32)
    assert len(merge(found(xywhr=turned), part, whole, 0.5)) == 1
    full = np.zeros((2, 10, 10), bool)
    full[0, :5], full[1, 5:] = True, True
    full[:, 0, 0], full[:, 9, 9] = True, True
    assert len(merge(found(masks=Masks.from_full(full)), part, whole, 0.5)) == 2
    assert len(merge(found(masks=Masks.from_full(full[[0, 0]])), part, whole, 0.5)) == 1


def test_nothing_and_empty_objects():
    nothing = found(0)
    assert len(merge(nothing, np.zeros(0, int), np.zeros(0, bool), 0.5)) == 0
    empty = found(masks=Masks.from_full(np.zeros((2, 10, 10), bool)))
    assert len(merge(empty, np.arange(2), np.zeros(2, bool), 0.5)) == 2


def test_the_best_come_first():
    detections = Detections(
        np.array([[0, 0, 5, 5], [20, 0, 25, 5], [40, 0, 45, 5]], np.float32),
        np.array([0.3, 0.9, 0.6], np.float32),
        np.zeros(3, np.int32),
    )
    merged = merge(detections, np.arange(3), np.array([False, True, False]), 0.5)
    assert merged.score.tolist() == pytest.approx([0.9, 0.6, 0.3])


def test_masks_are_compared_by_their_pixels():
    """Columns 0-6 and 3-9 of a square: they share 4 of 10, which is 4 / 7 of either."""
    full = np.zeros((2, 10, 10), bool)
    full[0, :, :7], full[1, :, 3:] = True, True
    masks, part = Masks.from_full(full), np.arange(2)
    for is_cut, share in (([False, False], 4 / 10), ([False, True], 4 / 7)):
        for threshold, left in ((share + 0.01, 2), (share - 0.01, 1)):
            assert len(merge(found(masks=masks), part, np.array(is_cut), threshold)) == left


def test_oriented_boxes_are_compared_as_such():
    """A square and itself turned by 45 degrees share an octagon, 2 (sqrt 2 - 1) of either."""
    turned = np.array([[50, 50, 8, 8, 0], [50, 50, 8, 8, np.pi / 4]], np.float32)
    octagon = 2 * (2**0.5 - 1)
    part = np.arange(2)
    for is_cut, share in (([False, False], octagon / (2 - octagon)), ([False, True], octagon)):
        for threshold, left in ((share + 0.01, 2), (share - 0.01, 1)):
            assert len(merge(found(xywhr=turned), part, np.array(is_cut), threshold)) == left
