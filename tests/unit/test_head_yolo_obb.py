"""Oriented boxes of the YOLO family."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv import boxes
from edgecv.errors import HeadError
from edgecv.geometry import plan
from edgecv.heads import yolo_obb


def options(**more):
    return yolo_obb.Options(**{"input_hw": (64, 128), "confidence": 0.5, **more})


def tensor():
    """Two classes, 20 anchors; anchors 1 and 2 are nearly one box, 3 lies across them."""
    out = np.zeros((1, 7, 20), np.float32)
    out[0, 0] = np.linspace(4, 124, 20)
    out[0, :4, 1], out[0, 4:, 1] = (50, 30, 40, 10), (0.9, 0.1, 0.5)
    out[0, :4, 2], out[0, 4:, 2] = (51, 30, 40, 10), (0.8, 0.1, 0.5)
    out[0, :4, 3], out[0, 4:, 3] = (50, 30, 40, 10), (0.7, 0.2, 0.5 + np.pi / 2)
    out[0, :4, 4], out[0, 4:, 4] = (50, 30, 40, 10), (0.1, 0.6, 0.5)
    return out


def test_golden():
    found = yolo_obb.decode({"o": tensor()}, options())
    np.testing.assert_allclose(found.score, [0.9, 0.7, 0.6])
    assert found.class_id.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.xywhr[0], [50, 30, 40, 10, 0.5])
    # Half of 40 x |cos .5| + 10 x |sin .5|, and the same for y.
    hull = 50 - 19.9488, 30 - 13.9765, 50 + 19.9488, 30 + 13.9765
    np.testing.assert_allclose(found.xyxy[0], hull, atol=1e-3)
    assert found.dropped == 0
    assert {a.dtype for a in (found.xyxy, found.score, found.xywhr)} == {np.dtype(np.float32)}


def test_layouts_give_the_same():
    expected = yolo_obb.decode({"o": tensor()}, options())
    transposed = np.ascontiguousarray(tensor().transpose(0, 2, 1))
    found = yolo_obb.decode({"o": transposed}, options(layout="anchor-free"))
    assert found == expected
    fractions = tensor()
    fractions[0, 0:4:2] /= 128
    fractions[0, 1:4:2] /= 64
    found = yolo_obb.decode({"o": fractions}, options())
    np.testing.assert_allclose(found.xywhr, expected.xywhr, atol=1e-4)


@pytest.mark.parametrize("layout", ["auto", "end2end"])
def test_finished_rows_are_not_suppressed(layout):
    rows = np.zeros((1, 6, 7), np.float32)
    rows[0, 0] = 50, 30, 40, 10, 0.9, 1, 0.5
    rows[0, 1] = 51, 30, 40, 10, 0.8, 1, 0.5
    rows[0, 2] = 51, 30, 40, 10, 0.4, 0, 0.5
    found = yolo_obb.decode({"o": rows}, options(layout=layout))
    np.testing.assert_allclose(found.score, [0.9, 0.8])
    np.testing.assert_allclose(found.xywhr[1], [51, 30, 40, 10, 0.5])
    rows[0, 0, 5] = 0.4
    with pytest.raises(HeadError, match="class ids holds something else"):
        yolo_obb.decode({"o": rows}, options(layout=layout))


def test_the_family_suppresses_by_gaussians_and_exactness_is_an_option():
    out = np.zeros((1, 6, 20), np.float32)
    out[0, 0] = 100
    for n, x in enumerate((50, 62, 74)):
        out[0, :, n] = x, 30, 40, 20, 0.9 - n / 10, 0.1
    fast = yolo_obb.decode({"o": out}, options(iou=0.45))
    np.testing.assert_allclose(fast.score, [0.9])
    exact = yolo_obb.decode({"o": out}, options(iou=0.45, exact=True))
    np.testing.assert_allclose(exact.score, [0.9, 0.7])
    every = yolo_obb.decode({"o": out}, options(iou=0.45, max_detections=1, exact=True))
    assert (len(every), every.dropped) == (1, 1)


def test_nothing_and_what_is_not_finite():
    found = yolo_obb.decode({"o": np.zeros((1, 7, 20), np.float32)}, options())
    assert (len(found), found.xywhr.shape) == (0, (0, 5))
    array = tensor()
    array[0, 6, 1] = np.nan
    array[0, 2, 3] = np.inf
    array[0, 3, 4] = -1
    found = yolo_obb.decode({"o": array}, options())
    np.testing.assert_allclose(found.score, [0.8])
    assert found.dropped == 3


def test_what_does_not_fit_is_refused():
    for shape, more in (
        ((1, 5, 100), {}),
        ((1, 7), {}),
        ((2, 7, 100), {}),
        ((1, 7, 100), {"num_classes": 3}),
        ((1, 100, 8), {"layout": "end2end"}),
    ):
        with pytest.raises(HeadError, match="wrong output shape"):
            yolo_obb.decode({"o": np.zeros(shape, np.float32)}, options(**more))
    with pytest.raises(HeadError, match="layout: no such layout"):
        yolo_obb.decode({"o": tensor()}, options(layout="rows"))
    with pytest.raises(HeadError, match="no oriented boxes come in this layout"):
        yolo_obb.decode({"o": tensor()}, options(layout="anchor-based"))


def test_corners_go_to_the_source():
    geometry = plan((300, 400), (64, 128), "letterbox")
    found = yolo_obb.decode({"o": tensor()}, options())
    there = found.to_source(geometry)
    expected = geometry.points_to_source(boxes.corners_of_rotated(found.xywhr))
    np.testing.assert_allclose(boxes.corners_of_rotated(there.xywhr), expected, atol=0.2)
