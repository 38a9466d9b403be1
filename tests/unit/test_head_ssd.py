import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import ssd

OPTIONS = ssd.Options(input_hw=(100, 200), confidence=0.5)


def rows(*values):
    return np.array(values, np.float32).reshape(1, 1, -1, 7)


GOLDEN = rows(
    [0, 1, 0.7, 0.1, 0.2, 0.3, 0.4],
    [0, 3, 0.9, 0.5, 0.5, 0.75, 1.0],
    [0, 1, 0.4, 0.1, 0.2, 0.3, 0.4],
    [-1, 0, 0, 0, 0, 0, 0],
    [0, 1, 0.99, 0.1, 0.1, 0.2, 0.2],  # behind the end of the list
)


def test_golden():
    found = ssd.decode({"detection_out": GOLDEN}, OPTIONS)
    np.testing.assert_allclose(found.xyxy, [[100, 50, 150, 100], [20, 20, 60, 40]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.9, 0.7])
    assert found.class_id.tolist() == [3, 1]


def test_labels_can_be_shifted():
    options = ssd.Options(input_hw=(100, 200), label_offset=1)
    assert ssd.decode({"o": GOLDEN}, options).class_id.tolist() == [2, 0, 0]


def test_a_shift_below_zero_is_an_error():
    with pytest.raises(HeadError, match="got -1"):
        ssd.decode({"o": GOLDEN}, ssd.Options(input_hw=(100, 200), label_offset=2))


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_found(n):
    empty = np.zeros((1, 1, n, 7), np.float32)
    assert len(ssd.decode({"o": empty}, OPTIONS)) == 0
    empty[..., 0] = -1
    assert len(ssd.decode({"o": empty}, OPTIONS)) == 0


def test_what_is_not_finite_is_dropped_and_counted():
    bad = rows([0, 1, np.nan, 0, 0, 1, 1], [0, 1, 0.9, 0, 0, np.inf, 1], [0, 1, 0.8, 0, 0, 1, 1])
    found = ssd.decode({"o": bad}, OPTIONS)
    assert found.xyxy.tolist() == [[0, 0, 200, 100]]
    assert found.dropped == 2


@pytest.mark.parametrize("shape", [(1, 200, 7), (1, 1, 200, 6), (2, 1, 200, 7), (1, 2, 200, 7)])
def test_wrong_shapes(shape):
    with pytest.raises(HeadError, match=r"expected \[1, 1, N, 7\]; got o \["):
        ssd.decode({"o": np.zeros(shape, np.float32)}, OPTIONS)


def test_the_size_of_the_input_is_needed():
    with pytest.raises(HeadError, match="input_hw"):
        ssd.decode({"o": GOLDEN}, ssd.Options())
