import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import fastestdet

OPTIONS = fastestdet.Options(input_hw=(32, 64), confidence=0.5)


def tensor():
    """Two rows and four columns of cells, three classes."""
    out = np.zeros((1, 8, 2, 4), np.float32)
    out[0, :, 1, 2] = 0.9, 0, 0, 0, 0, 0.1, 0.7, 0.2
    out[0, :, 0, 1] = 0.8, np.arctanh(0.5), np.arctanh(-0.25), np.log(1 / 3), 50, 0.9, 0.05, 0.05
    out[0, :, 0, 3] = 0.9, 0, 0, 0, 0, 0.1, 0.1, 0.1
    return out


def test_golden():
    found = fastestdet.decode({"758": tensor()}, OPTIONS)
    # Cell (2, 1): centre (2, 1) / (4, 2), half the input wide and high.
    # Cell (1, 0): centre (1.5 / 4, -0.25 / 2), a quarter wide, as high as the input.
    expected = [[16, -20, 32, 12], [16, 8, 48, 24]]
    np.testing.assert_allclose(found.xyxy, expected, atol=1e-4)
    np.testing.assert_allclose(found.score, [0.8**0.6 * 0.9**0.4, 0.9**0.6 * 0.7**0.4], rtol=1e-6)
    assert found.class_id.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(1, 8, 2, 4), (1, 8, 0, 4), (1, 8, 0, 0)])
def test_nothing_found(shape):
    found = fastestdet.decode({"o": np.zeros(shape, np.float32)}, OPTIONS)
    assert len(found) == 0


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    array = tensor()
    array[0, 0, 1, 2] = np.nan
    array[0, 3, 0, 1] = np.nan
    array[0, 0, 1, 0] = np.inf
    found = fastestdet.decode({"o": array}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 3


@pytest.mark.filterwarnings("error")
def test_scores_just_below_zero_and_wild_sizes_are_no_error():
    array = tensor()
    array[0, 0, 0, 0] = -0.004
    array[0, 3:5, 1, 2] = -1e6, 1e6
    found = fastestdet.decode({"o": array}, OPTIONS)
    assert len(found) == 2
    assert np.isfinite(found.xyxy).all()


@pytest.mark.parametrize(
    ("shape", "num_classes", "message"),
    [
        ((1, 5, 2, 4), 0, r"expected \[1, 5 \+ classes, H, W\]; got o \[1, 5, 2, 4\]"),
        ((1, 85, 22), 0, r"got o \[1, 85, 22\]"),
        ((2, 8, 2, 4), 0, r"got o \[2, 8, 2, 4\]"),
        ((1, 8, 2, 4), 80, r"expected \[1, 85, H, W\]; got o \[1, 8, 2, 4\]"),
    ],
)
def test_wrong_shapes(shape, num_classes, message):
    options = fastestdet.Options(input_hw=(32, 64), num_classes=num_classes)
    with pytest.raises(HeadError, match=message):
        fastestdet.decode({"o": np.zeros(shape, np.float32)}, options)
