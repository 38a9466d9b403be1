import numpy as np
import pytest

from edgecv import candidates
from edgecv.errors import HeadError
from edgecv.head import DetectionOptions

FAR = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(6)], np.float32)


def select(score, xyxy=FAR, class_id=None, lost=0, suppress=True, **options):
    score = np.array(score, np.float32)
    class_id = np.zeros(len(score), np.int64) if class_id is None else np.array(class_id)
    return candidates.select(
        xyxy[: len(score)],
        score,
        class_id,
        DetectionOptions(**options),
        head="test",
        lost=lost,
        suppress=suppress,
    )


def test_sorted_by_score_and_equal_ones_in_order():
    found = select([0.5, 0.9, 0.5, 0.7])
    np.testing.assert_allclose(found.score, [0.9, 0.7, 0.5, 0.5])
    assert found.xyxy[:, 0].tolist() == [20, 60, 0, 40]


def test_both_bounds_are_counted():
    found = select([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], max_candidates=4, max_detections=3)
    np.testing.assert_allclose(found.score, [0.9, 0.8, 0.7])
    assert found.dropped == 3
    assert select([0.9, 0.8], lost=5).dropped == 5


def test_a_bound_of_zero():
    assert len(select([0.9], max_detections=0)) == 0
    assert select([0.9], max_candidates=0).dropped == 1


def test_suppression_by_class_across_classes_and_not_at_all():
    same = np.tile(np.array([[0, 0, 9, 9]], np.float32), (3, 1))
    arguments = {"xyxy": same, "class_id": [0, 1, 0]}
    assert select([0.9, 0.8, 0.7], **arguments).class_id.tolist() == [0, 1]
    assert select([0.9, 0.8, 0.7], **arguments, class_aware=False).class_id.tolist() == [0]
    assert len(select([0.9, 0.8, 0.7], **arguments, suppress=False)) == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9, -1e30])
def test_boxes_that_are_not_finite_or_absurd_are_dropped_and_counted(value):
    xyxy = FAR.copy()
    xyxy[0, 2] = value
    found = select([0.9, 0.8], xyxy)
    np.testing.assert_allclose(found.score, [0.8])
    assert found.dropped == 1


def test_an_infinite_score_is_dropped_and_counted():
    found = select([np.inf, 0.8])
    np.testing.assert_allclose(found.score, [0.8])
    assert found.dropped == 1


def test_a_score_far_above_1_is_an_error_and_rounding_is_not():
    assert len(select([1.004, 0.8])) == 2
    with pytest.raises(HeadError, match=r"head test: .*got 1.5"):
        select([0.9, 1.5])


def test_no_candidates():
    found = select([])
    assert found.xyxy.shape == (0, 4)
    assert found.class_id.dtype == np.int32


def test_cells_are_listed_row_by_row_level_by_level():
    points, strides = candidates.grid_centres((16, 24), (8, 16), 0.5, "test")
    assert points.tolist() == [
        [0.5, 0.5],
        [1.5, 0.5],
        [2.5, 0.5],
        [0.5, 1.5],
        [1.5, 1.5],
        [2.5, 1.5],
        [0.5, 0.5],
        [1.5, 0.5],
    ]
    assert strides.ravel().tolist() == [8] * 6 + [16] * 2
    assert points.dtype == strides.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        points[0] = 0


def test_above_counts_what_is_no_number():
    index, lost = candidates.above(np.array([0.5, np.nan, 0.2, 0.7], np.float32), 0.5)
    assert index.tolist() == [0, 3]
    assert lost == 1


def test_boxes_that_end_before_they_begin_are_dropped_and_counted() -> None:
    xyxy = np.array([[10, 10, 20, 20], [40, 10, 30, 20], [50, 20, 60, 10]], np.float32)
    score = np.array([0.5, 0.9, 0.8], np.float32)
    options = DetectionOptions(input_hw=(64, 64))
    found = candidates.select(xyxy, score, np.zeros(3, np.int32), options, head="any")
    assert found.xyxy.tolist() == [[10, 10, 20, 20]]
    assert found.dropped == 2
