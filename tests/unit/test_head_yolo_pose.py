import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import yolo_pose
from edgecv.score_parts import score_part

HW = (64, 128)


def options(**more):
    return yolo_pose.Options(
        **{"input_hw": HW, "confidence": 0.5, "num_classes": 2, "kpt_shape": (2, 3), **more}
    )


def anchors():
    """Two classes, two keypoints, 40 anchors; the boxes of anchors 1 and 2 overlap by 0.8."""
    out = np.zeros((1, 4 + 2 + 6, 40), np.float32)
    out[0, 0] = np.linspace(4, 124, 40)
    out[0, :, 1] = 50, 30, 20, 10, 0.1, 0.9, 45, 28, 0.7, 55, 31, 0.2
    out[0, :, 2] = 51, 30, 18, 10, 0.1, 0.8, 46, 29, 0.6, 56, 32, 0.1
    out[0, :, 3] = 100, 40, 8, 4, 0.6, 0.3, 98, 39, 1, 130, 41, 0
    return out


def finished():
    """The same two people as rows: box, score, class, keypoints; then padding."""
    out = np.zeros((1, 9, 12), np.float32)
    out[0, 0] = 40, 25, 60, 35, 0.9, 1, 45, 28, 0.7, 55, 31, 0.2
    out[0, 1] = 96, 38, 104, 42, 0.6, 0, 98, 39, 1, 130, 41, 0
    return out


def check(found):
    assert found.xyxy.tolist() == [[40, 25, 60, 35], [96, 38, 104, 42]]
    np.testing.assert_allclose(found.score, [0.9, 0.6])
    assert found.class_id.tolist() == [1, 0]
    expected = [[[45, 28, 0.7], [55, 31, 0.2]], [[98, 39, 1], [130, 41, 0]]]
    np.testing.assert_allclose(found.keypoints, expected, rtol=1e-6)
    assert found.keypoints.dtype == np.float32
    assert found.dropped == 0


def test_golden():
    check(yolo_pose.decode({"o": anchors()}, options()))


def test_transposed_tensors_give_the_same():
    array = np.ascontiguousarray(anchors().transpose(0, 2, 1))
    check(yolo_pose.decode({"o": array}, options(layout="anchor-free")))
    check(
        yolo_pose.decode(
            {"o": array}, options(num_classes=0, transposed=True, layout="anchor-free")
        )
    )
    # Only with two classes could these be finished rows.
    more = np.insert(array, 6, 0, axis=2)
    check(yolo_pose.decode({"o": more}, options(num_classes=3)))


def test_finished_rows_give_the_same():
    check(yolo_pose.decode({"o": finished()}, options()))
    check(yolo_pose.decode({"o": finished()}, options(layout="end2end", num_classes=0)))
    assert len(yolo_pose.decode({"o": finished()}, options(confidence=0.0))) == 2


def test_overlaps_of_finished_rows_are_left_alone():
    array = finished()
    array[0, 1] = array[0, 0]
    assert len(yolo_pose.decode({"o": array}, options())) == 2


@pytest.mark.parametrize("kind", ["anchors", "finished"])
def test_fractions_are_scaled_with_the_keypoints(kind):
    if kind == "anchors":
        array = anchors()
        array[0, [0, 2, 6, 9]] /= 128
        array[0, [1, 3, 7, 10]] /= 64
    else:
        array = finished()
        array[0, :, [0, 2, 6, 9]] /= 128
        array[0, :, [1, 3, 7, 10]] /= 64
    for normalized in (None, True):
        found = yolo_pose.decode({"o": array}, options(normalized=normalized))
        np.testing.assert_allclose(found.keypoints[0, 1, :2], [55, 31], rtol=1e-5)
        np.testing.assert_allclose(found.xyxy[0], [40, 25, 60, 35], rtol=1e-5)


def test_two_numbers_of_a_keypoint_are_a_place():
    array = np.delete(anchors(), [8, 11], axis=1)
    found = yolo_pose.decode({"o": array}, options(kpt_shape=[2, 2]))
    assert found.keypoints[0].tolist() == [[45, 28, 1], [55, 31, 1]]


def test_nothing_above_the_confidence():
    for array in (np.zeros((1, 12, 40)), np.zeros((1, 9, 12)), np.zeros((1, 0, 12))):
        found = yolo_pose.decode({"o": array}, options())
        assert (len(found), found.keypoints.shape) == (0, (0, 2, 3))


def test_a_keypoint_that_is_not_finite_is_not_seen():
    array = anchors()
    array[0, 6, 1], array[0, 11, 1] = np.nan, np.inf
    found = yolo_pose.decode({"o": array}, options())
    assert found.keypoints[0].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert len(found) == 2


def test_another_kpt_shape_is_noticed():
    with pytest.raises(HeadError, match=r"got o \[1, 12, 40\]"):
        yolo_pose.decode({"o": anchors()}, options(kpt_shape=(3, 3)))
    array = anchors()
    array[0, 8, 1] = 55
    with pytest.raises(HeadError, match=r"kpt_shape: .*expected visibilities in 0-1; got 55"):
        yolo_pose.decode({"o": array}, options())
    for broken in ((17,), (0, 3), (17, 4), (1, 2, 3)):
        with pytest.raises(HeadError, match=r"expected \[K, D\]: keypoints"):
            yolo_pose.decode({"o": anchors()}, options(kpt_shape=broken))


@pytest.mark.parametrize("shape", [(1, 12), (2, 12, 40), (1, 10, 40), (12,), (1, 5, 6)])
def test_wrong_shapes(shape):
    with pytest.raises(HeadError, match="expected"):
        yolo_pose.decode({"o": np.zeros(shape, np.float32)}, options())


def test_class_ids_that_are_not_whole_are_noticed():
    array = finished()
    array[0, 0, 5] = 0.5
    with pytest.raises(HeadError, match="column of the class ids"):
        yolo_pose.decode({"o": array}, options())


def test_the_scores_among_the_raw_outputs():
    np.testing.assert_array_equal(score_part("yolo_pose", options(), anchors()), anchors()[0, 4:6])
    turned = anchors().transpose(0, 2, 1)
    given = options(layout="anchor-free")
    np.testing.assert_array_equal(score_part("yolo_pose", given, turned).T, anchors()[0, 4:6])
    np.testing.assert_array_equal(
        score_part("yolo_pose", options(), finished()), finished()[..., 4]
    )
