import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import simcc

OPTIONS = simcc.Options(input_hw=(64, 48))


def bins():
    x, y = np.zeros((1, 3, 96), np.float32), np.zeros((1, 3, 128), np.float32)
    x[0, 0, 31], y[0, 0, 100] = 0.9, 0.7
    x[0, 1, 95], y[0, 1, 0] = 0.5, 1.4
    x[0, 2], y[0, 2, 3] = -1, 0.6
    return x, y


def test_golden():
    x, y = bins()
    found = simcc.decode({"simcc_x": x, "simcc_y": y}, OPTIONS)
    expected = [[15.5, 50, 0.7], [47.5, 0, 0.5], [0, 1.5, 0]]
    np.testing.assert_allclose(found.keypoints, [expected], rtol=1e-6)
    assert found.xyxy.tolist() == [[0, 0, 48, 64]]
    np.testing.assert_allclose(found.score, [0.4], rtol=1e-6)


def test_the_axes_are_told_by_name_or_size():
    x, y = bins()
    expected = simcc.decode({"simcc_x": x, "simcc_y": y}, OPTIONS)
    for outputs in ({"simcc_y": y, "simcc_x": x}, {"a": y, "b": x}, {"a": x, "b": y}):
        assert simcc.decode(outputs, OPTIONS) == expected
    square = simcc.Options(input_hw=(64, 64))
    x, y = np.zeros((1, 1, 128)), np.zeros((1, 1, 128))
    x[0, 0, 20], y[0, 0, 80] = 1, 1
    for outputs in ({"simcc_y": y, "simcc_x": x}, {"a": x, "b": y}):
        assert simcc.decode(outputs, square).keypoints.tolist() == [[[10, 40, 1]]]


def test_nothing_is_sure_and_the_confidence_decides():
    x, y = bins()
    found = simcc.decode({"x": x * 0, "y": y * 0}, OPTIONS)
    assert (len(found), found.score.tolist()) == (1, [0])
    found = simcc.decode({"x": x, "y": y}, OPTIONS.replace(confidence=0.5))
    assert (len(found), found.keypoints.shape) == (0, (0, 3, 3))


def test_refusals():
    x, y = bins()
    for outputs in (
        {"x": x},
        {"x": x[0], "y": y[0]},
        {"x": x[:, :2], "y": y},
        {"x": x[:0], "y": y},
    ):
        with pytest.raises(HeadError, match=r"expected \[1, K, W \* r\] and \[1, K, H \* r\]"):
            simcc.decode(outputs, OPTIONS)
    with pytest.raises(HeadError, match="not finite"):
        simcc.decode({"x": x * np.nan, "y": y}, OPTIONS)
    with pytest.raises(HeadError, match="size of the model's input"):
        simcc.decode({"x": x, "y": y}, simcc.Options())
