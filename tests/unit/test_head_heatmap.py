import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import heatmap

OPTIONS = heatmap.Options(input_hw=(64, 48))


def maps():
    """Three maps of 16 x 12 at stride 4."""
    out = np.zeros((1, 3, 16, 12), np.float32)
    out[0, 0, 5, 7], out[0, 0, 5, 8], out[0, 0, 4, 7] = 0.8, 0.3, 0.2
    out[0, 1, 0, 11], out[0, 1, 0, 10] = 0.5, 0.4  # in a corner: not moved
    out[0, 2, 9, 3], out[0, 2, 10, 3] = 0.2, 0.1
    return out


def test_golden():
    found = heatmap.decode({"o": maps()}, OPTIONS)
    # (7 + 1/4, 5 - 1/4), (11, 0) and (3, 9 + 1/4) cells of 4 pixels
    expected = [[29, 19, 0.8], [44, 0, 0.5], [12, 37, 0.2]]
    np.testing.assert_allclose(found.keypoints, [expected], rtol=1e-6)
    assert found.xyxy.tolist() == [[0, 0, 48, 64]]
    np.testing.assert_allclose(found.score, [0.5])
    assert found.class_id.tolist() == [0]


def test_without_refinement():
    found = heatmap.decode({"o": maps()}, OPTIONS.replace(refine="none"))
    assert found.keypoints[0, :, :2].tolist() == [[28, 20], [44, 0], [12, 36]]


def test_a_gaussian_is_found_within_a_quarter_cell():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :48]
    for _ in range(50):
        cx, cy = rng.uniform(3, 44), rng.uniform(3, 60)
        array = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)[None, None]
        found = heatmap.decode({"o": array}, heatmap.Options(input_hw=(256, 192)))
        off = np.abs(found.keypoints[0, 0, :2] / 4 - [cx, cy])
        assert off.max() <= 0.2501


def test_the_parabola_finds_the_centre_of_a_gaussian():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :48]
    options = heatmap.Options(input_hw=(256, 192), refine="dark")
    for _ in range(50):
        cx, cy = rng.uniform(7, 40), rng.uniform(7, 56)
        array = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)[None, None]
        found = heatmap.decode({"o": array}, options)
        assert np.abs(found.keypoints[0, 0, :2] / 4 - [cx, cy]).max() < 0.02
        assert found.keypoints[0, 0, 2] == pytest.approx(array.max(), rel=1e-5)


def test_the_parabola_leaves_alone_what_is_no_hill():
    array = np.zeros((1, 5, 16, 12), np.float32)
    array[0, 0] = 0.5  # flat
    array[0, 1, 0, 0] = 1  # in a corner
    array[0, 2] = -1
    array[0, 3, 8] = 1  # a ridge
    array[0, 4, 8, 6] = np.float32(3e38)
    plain = heatmap.decode({"o": array}, OPTIONS.replace(refine="none"))
    found = heatmap.decode({"o": array}, OPTIONS.replace(refine="dark"))
    np.testing.assert_allclose(found.keypoints, plain.keypoints, atol=1e-3)
    tiny = heatmap.decode({"o": np.eye(2)[None, None]}, OPTIONS.replace(refine="dark", blur=3))
    assert tiny.keypoints[0, 0, :2].tolist() == [0, 0]


def test_nothing_is_sure_and_the_confidence_decides():
    found = heatmap.decode({"o": np.zeros((1, 17, 16, 12))}, OPTIONS)
    assert (len(found), found.score.tolist()) == (1, [0])
    found = heatmap.decode({"o": maps()}, OPTIONS.replace(confidence=0.6))
    assert (len(found), found.keypoints.shape) == (0, (0, 3, 3))


def test_one_cell():
    found = heatmap.decode({"o": np.full((1, 2, 1, 1), 3.0)}, OPTIONS)
    assert found.keypoints.tolist() == [[[0, 0, 1], [0, 0, 1]]]


def test_refusals():
    for shape in ((1, 17, 16), (2, 17, 16, 12), (1, 0, 16, 12), (1, 17, 0, 12)):
        with pytest.raises(HeadError, match=r"expected \[1, K, h, w\]"):
            heatmap.decode({"o": np.zeros(shape)}, OPTIONS)
    with pytest.raises(HeadError, match="not finite"):
        heatmap.decode({"o": np.full((1, 17, 16, 12), np.nan)}, OPTIONS)
    with pytest.raises(HeadError, match="expected quarter, dark or none; got 'sharp'"):
        heatmap.decode({"o": maps()}, OPTIONS.replace(refine="sharp"))
    with pytest.raises(HeadError, match="blur: expected an odd number; got 4"):
        heatmap.decode({"o": maps()}, OPTIONS.replace(refine="dark", blur=4))
    with pytest.raises(HeadError, match="size of the model's input"):
        heatmap.decode({"o": maps()}, heatmap.Options())
