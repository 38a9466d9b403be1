import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import ultraface

HW = (240, 320)
N = 4420
OPTIONS = ultraface.Options(input_hw=HW)


def tensors(priors=False):
    scores = np.zeros((1, N, 2), np.float32)
    scores[..., 0] = 1
    boxes = np.zeros((1, N, 4), np.float32)
    if not priors:
        boxes[..., 2:] = 1
    else:
        boxes[..., 0] = 1e-3
    return scores, boxes


def test_golden_decoded():
    scores, boxes = tensors()
    for at, score, box in (
        (7, 0.9, (0.1, 0.2, 0.3, 0.5)),
        (8, 0.8, (0.11, 0.2, 0.3, 0.5)),
        (99, 0.95, (-0.05, 0.5, 0.25, 0.75)),
        (100, 0.6, (0.5, 0.5, 0.6, 0.6)),
    ):
        scores[0, at] = 1 - score, score
        boxes[0, at] = box
    for outputs in ({"scores": scores, "boxes": boxes}, {"a": boxes, "b": scores}):
        found = ultraface.decode(outputs, OPTIONS)
        expected = [[-16, 120, 80, 180], [32, 48, 96, 120]]
        np.testing.assert_allclose(found.xyxy, expected, rtol=1e-5)
        np.testing.assert_allclose(found.score, [0.95, 0.9])
        assert found.class_id.tolist() == [1, 1]


@pytest.mark.parametrize("priors", [None, True])
def test_golden_offsets_to_priors(priors):
    scores, boxes = tensors(priors=True)
    # Stride 8: 40 columns of 3 priors; column 10, row 5, second prior: 16 px around (84, 44).
    at = (5 * 40 + 10) * 3 + 1
    scores[0, at] = 0.1, 0.9
    boxes[0, at] = 2, -1, 0, np.log(2) / 0.2
    # Stride 64, last cell (4, 3), last prior: 256 px around (288, 224), limited to the input.
    scores[0, -1] = 0.2, 0.8
    boxes[0, -1] = 0, 0, 0, 0
    options = ultraface.Options(input_hw=HW, priors=priors)
    found = ultraface.decode({"scores": scores, "boxes": boxes}, options)
    centre, half = (84 + 2 * 0.1 * 16, 44 - 0.1 * 16), (8, 16)
    expected = [
        [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]],
        [288 - 128, 224 - 120, 288 + 128, 224 + 120],
    ]
    np.testing.assert_allclose(found.xyxy, expected, rtol=1e-5)


def test_labels_can_be_shifted():
    scores, boxes = tensors()
    scores[0, 3, 1] = 0.9
    options = ultraface.Options(input_hw=HW, label_offset=1)
    assert ultraface.decode({"s": scores, "b": boxes}, options).class_id.tolist() == [0]
    with pytest.raises(HeadError, match="label_offset: expected 0 or 1; got 2"):
        ultraface.decode({"s": scores, "b": boxes}, ultraface.Options(input_hw=HW, label_offset=2))


@pytest.mark.parametrize("priors", [False, True])
def test_nothing_found(priors):
    scores, boxes = tensors(priors)
    assert len(ultraface.decode({"s": scores, "b": boxes}, OPTIONS)) == 0
    empty = {"s": np.zeros((1, 0, 2), np.float32), "b": np.zeros((1, 0, 4), np.float32)}
    assert len(ultraface.decode(empty, OPTIONS)) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("priors", [False, True])
def test_what_is_not_finite_is_dropped_and_counted(priors):
    scores, boxes = tensors(priors)
    scores[0, 3, 1] = np.nan
    scores[0, 5:7, 1] = 0.9
    boxes[0, 5, 2] = np.nan
    boxes[0, 6, 3] = 1e38
    found = ultraface.decode({"s": scores, "b": boxes}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 3


@pytest.mark.parametrize(
    "shapes",
    [
        {"s": (1, 10, 2)},
        {"s": (1, 10, 2), "b": (1, 11, 4)},
        {"s": (1, 10, 3), "b": (1, 10, 4)},
        {"s": (2, 10, 2), "b": (2, 10, 4)},
        {"s": (10, 2), "b": (10, 4)},
        {"s": (1, 10, 2), "b": (1, 10, 4), "l": (1, 10, 10)},
    ],
)
def test_wrong_shapes(shapes):
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(HeadError, match=r"expected \[1, N, 2\] and \[1, N, 4\]; got s \["):
        ultraface.decode(outputs, OPTIONS)


def test_offsets_need_as_many_rows_as_there_are_priors():
    outputs = {"s": np.zeros((1, 10, 2), np.float32), "b": np.zeros((1, 10, 4), np.float32)}
    options = ultraface.Options(input_hw=HW, priors=True)
    with pytest.raises(HeadError, match=r"expected \[1, 4420, 2\]"):
        ultraface.decode(outputs, options)
