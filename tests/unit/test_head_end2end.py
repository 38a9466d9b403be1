import itertools

import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import end2end

OPTIONS = end2end.Options(input_hw=(100, 200), confidence=0.3)


def rows(*values):
    return np.array(values, np.float32).reshape(1, -1, 6)


GOLDEN = rows(
    [10, 20, 30, 40, 0.9, 2],
    [11, 20, 30, 40, 0.8, 2],
    [50, 50, 60, 60, 0.2, 1],
    [0, 0, 0, 0, 0, 0],
)


def test_golden_keeps_overlaps():
    found = end2end.decode({"output0": GOLDEN}, OPTIONS)
    assert found.xyxy.tolist() == [[10, 20, 30, 40], [11, 20, 30, 40]]
    np.testing.assert_allclose(found.score, [0.9, 0.8])
    assert found.class_id.tolist() == [2, 2]


def test_rows_come_out_sorted():
    found = end2end.decode({"o": GOLDEN[:, ::-1]}, OPTIONS)
    np.testing.assert_allclose(found.score, [0.9, 0.8])


def test_padding_is_no_detection_even_without_a_threshold():
    found = end2end.decode({"o": GOLDEN}, end2end.Options(confidence=0.0))
    assert len(found) == 3


def test_fractions_are_seen_and_scaled():
    scaled = GOLDEN.copy()
    scaled[..., :4] /= [200, 100, 200, 100]
    found = end2end.decode({"o": scaled}, OPTIONS)
    np.testing.assert_allclose(found.xyxy[0], [10, 20, 30, 40], rtol=1e-5)


def test_no_rows_at_all():
    found = end2end.decode({"o": np.zeros((1, 0, 6), np.float32)}, OPTIONS)
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)


def test_what_is_not_finite_is_dropped_and_counted():
    found = end2end.decode(
        {"o": rows([np.nan, 0, 5, 5, 0.9, 0], [0, 0, 5, 5, np.nan, 0], [9, 9, 20, 20, 0.5, 1])},
        OPTIONS,
    )
    assert found.class_id.tolist() == [1]
    assert found.dropped == 2


def test_the_bound_on_detections_is_counted():
    found = end2end.decode({"o": GOLDEN}, end2end.Options(max_detections=1))
    assert len(found) == 1
    assert found.dropped == 1


@pytest.mark.parametrize("class_id", [0.37, -1, np.nan, np.inf])
def test_a_column_that_holds_no_class_ids_is_noticed(class_id):
    with pytest.raises(HeadError, match="class ids holds something else"):
        end2end.decode({"o": rows([0, 0, 9, 9, 0.9, class_id])}, OPTIONS)


def test_a_class_beyond_the_classes_is_noticed():
    with pytest.raises(HeadError, match="expected whole numbers from 0 to 1; got 2"):
        end2end.decode({"o": GOLDEN}, end2end.Options(num_classes=2))


@pytest.mark.parametrize("shape", [(1, 300, 7), (300, 6), (2, 300, 6)])
def test_wrong_shapes(shape):
    with pytest.raises(HeadError, match=r"expected \[1, N, 6\], .*; got o \["):
        end2end.decode({"o": np.zeros(shape, np.float32)}, OPTIONS)


FOUR = {
    "num_dets": np.array([[2]], np.int32),
    "det_boxes": np.array([[[10, 20, 30, 40], [11, 20, 30, 40], [5, 5, 9, 9]]], np.float32),
    "det_scores": np.array([[0.9, 0.8, 0.7]], np.float32),
    "det_classes": np.array([[2, 2, 1]], np.int32),
}
RENAMED = {f"o{i}": array for i, array in enumerate(FOUR.values())}
FLOATS = {name: array.astype(np.float32) for name, array in RENAMED.items()}


@pytest.mark.parametrize("outputs", [FOUR, RENAMED, FLOATS])
def test_golden_four_tensors(outputs):
    for order in itertools.permutations(outputs):
        found = end2end.decode({name: outputs[name] for name in order}, OPTIONS)
        assert found.xyxy.tolist() == [[10, 20, 30, 40], [11, 20, 30, 40]]
        np.testing.assert_allclose(found.score, [0.9, 0.8])
        assert found.class_id.tolist() == [2, 2]


def test_four_tensors_with_fractions():
    outputs = {**FOUR, "det_boxes": FOUR["det_boxes"] / np.float32([200, 100, 200, 100])}
    found = end2end.decode(outputs, OPTIONS)
    np.testing.assert_allclose(found.xyxy[0], [10, 20, 30, 40], rtol=1e-5)


def test_four_tensors_of_nothing():
    assert len(end2end.decode({**FOUR, "num_dets": np.zeros((1, 1))}, OPTIONS)) == 0
    empty = {
        "num_dets": np.zeros((1, 1), np.int32),
        "det_boxes": np.zeros((1, 0, 4), np.float32),
        "det_scores": np.zeros((1, 0), np.float32),
        "det_classes": np.zeros((1, 0), np.int32),
    }
    assert len(end2end.decode(empty, OPTIONS)) == 0


YOLOV7 = np.array([[0, 10, 20, 30, 40, 2, 0.9], [0, 50, 50, 60, 60, 0, 0.5]], np.float32)


@pytest.mark.parametrize("columns", [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 6, 5]])
def test_golden_rows_of_seven(columns):
    found = end2end.decode({"output": YOLOV7[:, columns]}, OPTIONS)
    assert found.xyxy.tolist() == [[10, 20, 30, 40], [50, 50, 60, 60]]
    np.testing.assert_allclose(found.score, [0.9, 0.5])
    assert found.class_id.tolist() == [2, 0]


def test_rows_of_seven_that_hide_the_score():
    rows = YOLOV7.copy()
    rows[:, 5:] = [[7, 1], [3, 1]]  # whole, but 7 is no score
    found = end2end.decode({"o": rows}, OPTIONS)
    assert found.class_id.tolist() == [7, 3]
    found = end2end.decode({"o": rows[:, [0, 1, 2, 3, 4, 6, 5]]}, OPTIONS)
    assert found.class_id.tolist() == [7, 3]
    rows[:, 5:] = [[1, 1], [0, 1]]
    with pytest.raises(HeadError, match="nothing tells scores from class ids") as caught:
        end2end.decode({"o": rows}, OPTIONS)
    assert "score_column=6" in (caught.value.remedy or "")
    found = end2end.decode({"o": rows}, OPTIONS.replace(score_column=6))
    assert found.class_id.tolist() == [1, 0]
    found = end2end.decode({"o": rows}, OPTIONS.replace(score_column=5))
    assert found.class_id.tolist() == [1]
    with pytest.raises(HeadError, match="score_column: expected 5 or 6; got 4"):
        end2end.decode({"o": rows}, OPTIONS.replace(score_column=4))


def test_rows_of_seven_of_nothing():
    assert len(end2end.decode({"o": np.zeros((0, 7), np.float32)}, OPTIONS)) == 0
    assert len(end2end.decode({"o": np.zeros((1, 7), np.float32)}, OPTIONS)) == 0


def test_rows_of_another_image_are_refused():
    rows = YOLOV7.copy()
    rows[1, 0] = 1
    with pytest.raises(HeadError, match="names another image"):
        end2end.decode({"o": rows}, OPTIONS)


def test_rows_of_centre_and_size_are_noticed():
    rows = np.zeros((1, 300, 6), np.float32)
    rows[..., :4] = 0.5, 0.5, 0.2, 0.1
    rows[0, :3, 2:4] = 0.6, 0.7  # large things at the top left might be corners
    rows[..., 4] = np.linspace(0.9, 0.1, 300)
    with pytest.raises(HeadError, match="297 of 300 boxes that end before they begin") as caught:
        end2end.decode({"o": rows}, OPTIONS)
    assert "detr" in (caught.value.remedy or "")
