import math

import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import yolox

# 64 x 32: 8 x 4 cells of 8 px, 4 x 2 of 16, 2 x 1 of 32.
HW = (64, 32)
OPTIONS = yolox.Options(input_hw=HW, confidence=0.4)


def tensor():
    out = np.zeros((1, 42, 7), np.float32)
    out[0, 4 * 2 + 3] = 0.5, 0.25, math.log(2), 0, 0.9, 0.1, 0.8  # column 3, row 2 of stride 8
    out[0, 32 + 2 * 1 + 1] = 0, 0, 0, math.log(0.5), 0.8, 0.6, 0.1  # column 1, row 1 of stride 16
    out[0, 40 + 1] = 0.5, 0.5, 0, 0, 0.3, 1, 0  # column 0, row 1 of stride 32; too weak
    return out


def test_golden():
    found = yolox.decode({"output": tensor()}, OPTIONS)
    # centre (28, 18), size (16, 8); centre (16, 16), size (16, 8)
    np.testing.assert_allclose(found.xyxy, [[20, 14, 36, 22], [8, 12, 24, 20]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.72, 0.48], rtol=1e-6)
    assert found.class_id.tolist() == [1, 0]


def test_the_input_is_not_written_to():
    array = tensor()
    yolox.decode({"output": array}, OPTIONS)
    np.testing.assert_array_equal(array, tensor())


def test_decoded_files_hold_centre_and_size():
    array = np.zeros((1, 42, 6), np.float32)
    array[0, 5] = 20, 30, 10, 8, 0.9, 0.9
    options = yolox.Options(input_hw=HW, decoded=True)
    assert yolox.decode({"o": array}, options).xyxy.tolist() == [[15, 26, 25, 34]]


def test_other_strides():
    array = np.zeros((1, 2, 6), np.float32)
    array[0, 1] = 0.5, 0.5, 0, 0, 1, 1
    options = yolox.Options(input_hw=HW, strides=(32,))
    assert yolox.decode({"o": array}, options).xyxy.tolist() == [[0, 32, 32, 64]]
    # As it comes from JSON.
    options = yolox.Options(input_hw=HW, strides=[32])
    assert yolox.decode({"o": array}, options).xyxy.tolist() == [[0, 32, 32, 64]]


@pytest.mark.parametrize("strides", [(), (8, 0)])
def test_strides_that_cannot_be(strides):
    with pytest.raises(HeadError, match="head yolox: strides"):
        yolox.decode({"o": tensor()}, yolox.Options(input_hw=HW, strides=strides))


def test_sides_that_no_stride_divides_are_rounded_up():
    # 33 x 40 -> 5 x 5, 3 x 3, 2 x 2
    array = np.zeros((1, 38, 6), np.float32)
    assert len(yolox.decode({"o": array}, yolox.Options(input_hw=(33, 40)))) == 0


def test_nothing_found():
    assert len(yolox.decode({"o": np.zeros((1, 42, 7), np.float32)}, OPTIONS)) == 0


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    array = tensor()
    array[0, 11, 2] = 200  # a size that overflows
    array[0, 35, 0] = np.nan
    array[0, 3] = np.nan
    array[0, 4, :] = -np.inf, 0, np.inf, 0, 1, 1, 1
    found = yolox.decode({"o": array}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 42, 5), r"expected \[1, 42, 5 \+ classes\]"),
        ((1, 41, 7), r"expected .* for input 64x32 and strides 8, 16, 32; got o \[1, 41, 7\]"),
        ((42, 7), r"got o \[42, 7\]"),
        ((2, 42, 7), r"got o \[2, 42, 7\]"),
        ((), "wrong output shape"),
    ],
)
def test_wrong_shapes(shape, message):
    with pytest.raises(HeadError, match=message):
        yolox.decode({"o": np.zeros(shape, np.float32)}, OPTIONS)


def test_wrong_number_of_classes():
    options = yolox.Options(input_hw=HW, num_classes=80)
    with pytest.raises(HeadError, match=r"expected \[1, 42, 85\]"):
        yolox.decode({"o": tensor()}, options)
