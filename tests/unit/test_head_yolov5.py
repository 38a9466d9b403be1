import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import yolov5

OPTIONS = yolov5.Options(input_hw=(64, 128), confidence=0.4)


def tensor():
    """Two classes; rows 17 and 18 overlap, row 19 fails on its product, row 20 on objectness."""
    out = np.zeros((1, 63, 7), np.float32)
    out[0, :, 0] = np.linspace(4, 124, 63)
    out[0, 17] = 50, 30, 20, 10, 0.9, 0.1, 0.8
    out[0, 18] = 51, 30, 18, 10, 0.8, 0.1, 0.9
    out[0, 19] = 90, 30, 18, 10, 0.5, 0.5, 0.7
    out[0, 20] = 90, 30, 18, 10, 0.1, 0.9, 0.9
    out[0, 21] = 10, 10, 4, 4, 1.0, 0.5, 0.4
    return out


@pytest.mark.parametrize("num_classes", [0, 2])
def test_golden(num_classes):
    options = yolov5.Options(input_hw=(64, 128), confidence=0.4, num_classes=num_classes)
    found = yolov5.decode({"output": tensor()}, options)
    assert found.xyxy.tolist() == [[40, 25, 60, 35], [8, 8, 12, 12]]
    np.testing.assert_allclose(found.score, [0.72, 0.5], rtol=1e-6)
    assert found.class_id.tolist() == [1, 0]


def test_multi_label_counts_every_class():
    options = yolov5.Options(input_hw=(64, 128), confidence=0.4, multi_label=True)
    found = yolov5.decode({"output": tensor()}, options)
    np.testing.assert_allclose(found.score, [0.72, 0.5, 0.4], rtol=1e-6)
    assert found.class_id.tolist() == [1, 0, 1]


def test_fractions_are_seen_and_scaled():
    array = tensor()
    array[0, :, 0:4:2] /= 128
    array[0, :, 1:4:2] /= 64
    found = yolov5.decode({"output": array}, OPTIONS)
    np.testing.assert_allclose(found.xyxy, [[40, 25, 60, 35], [8, 8, 12, 12]], atol=1e-4)
    pixels = yolov5.Options(input_hw=(64, 128), confidence=0.4, normalized=False)
    assert yolov5.decode({"output": array}, pixels).xyxy.max() < 1


def test_nothing_found():
    assert len(yolov5.decode({"o": np.zeros((1, 63, 7), np.float32)}, OPTIONS)) == 0
    assert len(yolov5.decode({"o": np.zeros((1, 0, 7), np.float32)}, OPTIONS)) == 0


def test_what_is_not_finite_is_dropped_and_counted():
    array = tensor()
    array[0, 17, 4] = np.nan  # objectness
    array[0, 18, 6] = np.nan  # a class
    array[0, 21, 2] = np.inf  # a box
    array[0, 30, 4:6] = np.inf, 0.0  # no number as a product
    found = yolov5.decode({"o": array}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 4


@pytest.mark.parametrize(
    ("shape", "num_classes", "message"),
    [
        ((63, 7), 0, r"expected \[1, A, 5 \+ classes\]; got o \[63, 7\]"),
        ((1, 63, 5), 0, r"got o \[1, 63, 5\]"),
        ((1, 63, 7), 80, r"expected \[1, A, 85\]; got o \[1, 63, 7\]"),
        ((4, 63, 7), 2, r"got o \[4, 63, 7\]"),
        ((), 0, "wrong output shape"),
    ],
)
def test_wrong_shapes(shape, num_classes, message):
    with pytest.raises(HeadError, match=message):
        yolov5.decode({"o": np.zeros(shape, np.float32)}, yolov5.Options(num_classes=num_classes))
