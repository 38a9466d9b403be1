import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import blazeface

OPTIONS = blazeface.Options(input_hw=(128, 128), confidence=0.5)


def tensors(rows=896, width=16):
    return (
        np.zeros((1, rows, width), np.float32),
        np.full((1, rows, 1), -20, np.float32),
    )


def put(pair, row, logit, *offsets):
    pair[1][0, row] = logit
    pair[0][0, row, : len(offsets)] = offsets


# Stride 8, two anchors a cell: row 3, column 5, second anchor, centre (44, 28).
FINE = (3 * 16 + 5) * 2 + 1
# Stride 16, six anchors a cell: row 1, column 2, last anchor, centre (40, 24).
COARSE = 512 + (1 * 8 + 2) * 6 + 5


@pytest.mark.parametrize("blend", [True, False])
def test_golden(blend):
    pair = tensors()
    put(pair, FINE, 2.0, 4, -8, 20, 10, -1, -2, 30, 0)
    put(pair, 895, 1.0, 0, 0, 16, 16)  # the last anchor: centre (120, 120)
    options = OPTIONS.replace(blend=blend)
    for outputs in ({"r": pair[0], "c": pair[1]}, {"c": pair[1], "r": pair[0]}):
        found = blazeface.decode(outputs, options)
        expected = [[38, 15, 58, 25], [112, 112, 128, 128]]
        np.testing.assert_allclose(found.xyxy, expected, rtol=1e-5)
        np.testing.assert_allclose(found.score, [0.880797, 0.731059], rtol=1e-5)
        assert found.class_id.tolist() == [0, 0]
        assert found.keypoints.shape == (2, 6, 3)
        # Relative to the anchor, not to the face.
        np.testing.assert_allclose(
            found.keypoints[0, :3], [[43, 26, 1], [74, 28, 1], [44, 28, 1]], rtol=1e-5
        )


def test_overlapping_faces_are_blended_by_score():
    pair = tensors()
    put(pair, FINE, 2.0, -4, -4, 20, 20, 1, 1)  # around (40, 24)
    put(pair, COARSE, 0.5, 2, 0, 20, 20, 3, 3)  # around (42, 24)
    outputs = {"r": pair[0], "c": pair[1]}
    a, b = 0.880797, 0.622459
    found = blazeface.decode(outputs, OPTIONS)
    x = (a * 40 + b * 42) / (a + b)
    np.testing.assert_allclose(found.xyxy, [[x - 10, 14, x + 10, 34]], rtol=1e-5)
    np.testing.assert_allclose(found.score, [a], rtol=1e-5)
    point = [(a * 45 + b * 43) / (a + b), (a * 29 + b * 27) / (a + b)]
    np.testing.assert_allclose(found.keypoints[0, 0, :2], point, rtol=1e-5)
    plain = blazeface.decode(outputs, OPTIONS.replace(blend=False))
    np.testing.assert_allclose(plain.xyxy, [[30, 14, 50, 34]], rtol=1e-5)
    apart = blazeface.decode(outputs, OPTIONS.replace(iou=0.9))
    assert len(apart) == 2


@pytest.mark.parametrize(
    ("side", "rows", "row", "centre"),
    [
        (256, 896, FINE, (88, 56)),
        (192, 2304, 48 * 3 + 5, (22, 14)),
        (192, 2016, (3 * 24 + 5) * 2, (44, 28)),
    ],
)
def test_anchors_of_other_models(side, rows, row, centre):
    pair = tensors(rows, 18)
    put(pair, row, 3.0, 0, 0, 4, 4)
    found = blazeface.decode({"r": pair[0], "c": pair[1]}, OPTIONS.replace(input_hw=(side, side)))
    np.testing.assert_allclose(found.xyxy[0, :2] + 2, centre)
    assert found.keypoints.shape == (1, 7, 3)


def test_the_bound_on_detections_is_counted():
    pair = tensors()
    put(pair, FINE, 2.0, 0, 0, 8, 8)
    put(pair, 895, 1.0, 0, 0, 8, 8)
    for blend in (True, False):
        options = OPTIONS.replace(max_detections=1, blend=blend)
        found = blazeface.decode({"r": pair[0], "c": pair[1]}, options)
        assert (len(found), found.dropped) == (1, 1)


@pytest.mark.parametrize("blend", [True, False])
def test_nothing_found(blend):
    pair = tensors()
    found = blazeface.decode({"r": pair[0], "c": pair[1]}, OPTIONS.replace(blend=blend))
    assert len(found) == 0
    assert found.keypoints.shape == (0, 6, 3)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    pair = tensors()
    put(pair, 5, np.nan)
    put(pair, 6, 200.0, np.inf)
    put(pair, 7, 9.0, 0, 0, 8, 8, np.nan)
    found = blazeface.decode({"r": pair[0], "c": pair[1]}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 3


@pytest.mark.parametrize(
    ("regressors", "logits"),
    [
        ((1, 896, 16), (1, 895, 1)),
        ((1, 896, 15), (1, 896, 1)),
        ((1, 895, 16), (1, 895, 1)),
        ((1, 896, 16), (1, 896, 2)),
        ((896, 16), (896, 1)),
    ],
)
def test_wrong_shapes(regressors, logits):
    outputs = {"r": np.zeros(regressors, np.float32), "c": np.zeros(logits, np.float32)}
    with pytest.raises(HeadError, match=r"expected \[1, A, 16\] and \[1, A, 1\], A one of .*896"):
        blazeface.decode(outputs, OPTIONS)
