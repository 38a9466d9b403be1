import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import movenet

OPTIONS = movenet.Options(input_hw=(100, 200))


def single(**places):
    out = np.zeros((1, 1, 17, 3), np.float32)
    for i, values in places.items():
        out[0, 0, int(i[1:])] = values
    return out


def test_golden():
    array = single(k0=(0.1, 0.2, 0.9), k5=(0.5, 0.25, 0.5), k16=(0.9, 0.6, 0.3), k3=(0, 0, 0.2))
    found = movenet.decode({"o": array}, OPTIONS)
    # The box around keypoints 0, 5 and 16; keypoint 3 is not seen, but told.
    np.testing.assert_allclose(found.xyxy, [[40, 10, 120, 90]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [(0.9 + 0.5 + 0.3) / 3], rtol=1e-6)
    assert found.class_id.tolist() == [0]
    np.testing.assert_allclose(found.keypoints[0, 5], [50, 50, 0.5])
    np.testing.assert_allclose(found.keypoints[0, 3], [0, 0, 0.2])
    assert found.keypoints.shape == (1, 17, 3)


def test_what_is_seen_is_an_option():
    array = single(k0=(0.1, 0.2, 0.9), k5=(0.5, 0.25, 0.5))
    found = movenet.decode({"o": array}, OPTIONS.replace(seen=0.6))
    np.testing.assert_allclose(found.xyxy, [[40, 10, 40, 10]], rtol=1e-6)
    assert len(movenet.decode({"o": array}, OPTIONS.replace(seen=0.95))) == 0
    assert len(movenet.decode({"o": array}, OPTIONS.replace(confidence=0.8))) == 0
    assert len(movenet.decode({"o": np.zeros((1, 1, 17, 3))}, OPTIONS.replace(seen=0.0))) == 0


def test_nobody():
    found = movenet.decode({"o": single(k0=(0.5, 0.5, 0.1))}, OPTIONS)
    assert (len(found), found.xyxy.shape, found.keypoints.shape) == (0, (0, 4), (0, 17, 3))
    found = movenet.decode({"o": np.zeros((1, 6, 56))}, OPTIONS)
    assert (len(found), found.keypoints.shape) == (0, (0, 17, 3))


def test_several_people():
    array = np.zeros((1, 6, 56), np.float32)
    array[0, 1, :3] = 0.3, 0.4, 0.7
    array[0, 1, 48:51] = 0.5, 0.6, 0.8
    array[0, 1, 51:] = 0.2, 0.25, 0.6, 0.75, 0.9
    array[0, 3, 51:] = 0.2, 0.26, 0.6, 0.75, 0.8  # the same person
    array[0, 4, 51:] = 0.7, 0.8, 0.9, 0.9, 0.5
    found = movenet.decode({"o": array}, OPTIONS)
    np.testing.assert_allclose(found.xyxy, [[50, 20, 150, 60], [160, 70, 180, 90]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.9, 0.5])
    np.testing.assert_allclose(found.keypoints[0, 0], [80, 30, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 16], [120, 50, 0.8], rtol=1e-6)


def test_what_is_not_finite_is_not_seen():
    array = single(k0=(np.nan, 0.2, 0.9), k1=(0.1, 0.1, np.inf), k5=(0.5, 0.25, 0.5))
    found = movenet.decode({"o": array}, OPTIONS)
    assert found.keypoints[0, :2].tolist() == [[0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(found.score, [0.5])


def test_refusals():
    for shape in ((1, 17, 3), (1, 1, 18, 3), (2, 1, 17, 3), (1, 6, 57)):
        with pytest.raises(HeadError, match=r"expected \[1, 1, 17, 3\] or \[1, 6, 56\]"):
            movenet.decode({"o": np.zeros(shape, np.float32)}, OPTIONS)
    with pytest.raises(HeadError, match="size of the model's input"):
        movenet.decode({"o": single()}, movenet.Options())
