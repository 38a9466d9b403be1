import itertools

import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import picodet

# 64 x 64: 64, 16, 4 and 1 cells.
OPTIONS = picodet.Options(input_hw=(64, 64), confidence=0.5)
CELLS = (64, 16, 4, 1)


def raw(classes=3, bins=8):
    """Class maps and distances of four levels; all distances are the middle of the bins."""
    maps = [np.zeros((1, n, classes), np.float32) for n in CELLS]
    sides = [np.zeros((1, n, 4 * bins), np.float32) for n in CELLS]
    maps[0][0, 8 * 2 + 5, 1] = 0.9  # column 5, row 2: centre (44, 20)
    for side, distance in enumerate((1, 2, 0, 1)):
        sides[0][0, 8 * 2 + 5, side * bins + distance] = 100
    maps[3][0, 0, 2] = 0.6  # the one cell of stride 64: centre (32, 32), 3.5 strides each way
    return [*maps, *sides]


def check(found):
    np.testing.assert_allclose(found.xyxy, [[36, 4, 44, 28], [0, 0, 64, 64]], atol=1e-4)
    np.testing.assert_allclose(found.score, [0.9, 0.6])
    assert found.class_id.tolist() == [1, 2]


def test_golden_raw_in_any_order():
    arrays = raw()
    for order in itertools.islice(itertools.permutations(range(8)), 0, None, 997):
        check(picodet.decode({f"o{i}": arrays[at] for i, at in enumerate(order)}, OPTIONS))


def test_golden_decoded():
    boxes = np.array([[[1, 2, 30, 40], [2, 2, 30, 40], [50, 50, 60, 60]]], np.float32)
    scores = np.array([[[0.1, 0.2, 0.7], [0.9, 0.8, 0.6]]], np.float32)
    for outputs in ({"b": boxes, "s": scores}, {"s": scores, "b": boxes}):
        found = picodet.decode(outputs, OPTIONS)
        assert found.xyxy.tolist() == [[1, 2, 30, 40], [50, 50, 60, 60]]
        np.testing.assert_allclose(found.score, [0.9, 0.7])
        assert found.class_id.tolist() == [1, 0]


ROWS = np.array([[2, 0.9, 1, 2, 30, 40], [0, 0.8, 1, 2, 31, 40], [1, 0.7, 0, 0, 9, 9]], np.float32)


def test_golden_finished():
    number = np.array([2], np.int32)
    for outputs in ({"rows": ROWS, "n": number}, {"n": number, "rows": ROWS}):
        found = picodet.decode(outputs, OPTIONS)
        assert found.xyxy.tolist() == [[1, 2, 30, 40], [1, 2, 31, 40]]
        np.testing.assert_allclose(found.score, [0.9, 0.8])
        assert found.class_id.tolist() == [2, 0]


def test_nothing_found():
    assert len(picodet.decode({str(i): a * 0 for i, a in enumerate(raw())}, OPTIONS)) == 0
    for rows, number in (
        (np.zeros((0, 6)), 0),
        (np.full((1, 6), -1.0), 1),
        (np.full((1, 6), -1.0), 0),
    ):
        for confidence in (0.5, 0.0):
            found = picodet.decode(
                {"rows": rows, "n": np.array([number])}, OPTIONS.replace(confidence=confidence)
            )
            assert len(found) == 0
    empty = {"b": np.zeros((1, 0, 4), np.float32), "s": np.zeros((1, 2, 0), np.float32)}
    assert picodet.decode(empty, OPTIONS).xyxy.shape == (0, 4)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    arrays = raw()
    arrays[0][0, 3, 0] = np.nan
    arrays[4][0, 8 * 2 + 5, 4] = np.inf
    arrays[3][0, 0, 2] = 0
    found = picodet.decode({str(i): a for i, a in enumerate(arrays)}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 2
    rows = ROWS.copy()
    rows[0, 1], rows[1, 2] = np.nan, np.inf
    found = picodet.decode({"rows": rows, "n": np.array([3])}, OPTIONS)
    assert found.class_id.tolist() == [1]
    assert found.dropped == 2


@pytest.mark.parametrize(
    "outputs",
    [
        {"rows": np.zeros((3, 7)), "n": np.array([1])},
        {"b": np.zeros((1, 9, 4)), "s": np.zeros((1, 2, 8))},
        {"b": np.zeros((2, 9, 4)), "s": np.zeros((2, 2, 9))},
    ],
)
def test_wrong_shapes(outputs):
    with pytest.raises(HeadError, match=r"expected \[N, 6\] and \[1\], or \[1, N, 4\]"):
        picodet.decode(outputs, OPTIONS)
    with pytest.raises(HeadError, match=r"expected \[1, 64, classes\]"):
        picodet.decode({str(i): a for i, a in enumerate(raw()[:-1])}, OPTIONS)


def test_numbers_that_cannot_be_right():
    for number in (4, -1, np.nan):
        with pytest.raises(HeadError, match="expected 0 to 3"):
            picodet.decode({"rows": ROWS, "n": np.array([number])}, OPTIONS)
    with pytest.raises(HeadError, match="whole numbers from 0 to 1; got 2"):
        picodet.decode({"rows": ROWS, "n": np.array([3])}, OPTIONS.replace(num_classes=2))


def test_boxes_come_in_input_pixels():
    assert picodet.CONSTANTS["scale_factor"]((320, 416)) == (1, 1)
    assert picodet.CONSTANTS["im_shape"]((320, 416)) == (320, 416)
