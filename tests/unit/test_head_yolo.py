import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import yolo

OPTIONS = yolo.Options(input_hw=(64, 128), confidence=0.5)


def tensor():
    """Three classes, six anchors; the boxes of anchors 1 and 2 overlap by 0.8."""
    out = np.zeros((1, 7, 20), np.float32)
    out[0, 0, :] = np.linspace(4, 124, 20)
    out[0, :4, 1] = 50, 30, 20, 10
    out[0, :4, 2] = 51, 30, 18, 10
    out[0, :4, 3] = 100, 40, 8, 4
    out[0, 4:, 1] = 0.1, 0.9, 0.2
    out[0, 4:, 2] = 0.1, 0.8, 0.7
    out[0, 4:, 3] = 0.6, 0.3, 0.2
    out[0, 4:, 4] = 0.2, 0.3, 0.49
    return out


def test_golden():
    found = yolo.decode({"output0": tensor()}, OPTIONS)
    assert found.xyxy.tolist() == [[40, 25, 60, 35], [96, 38, 104, 42]]
    np.testing.assert_allclose(found.score, [0.9, 0.6])
    assert found.class_id.tolist() == [1, 0]
    assert found.dropped == 0
    types = (found.xyxy.dtype, found.score.dtype, found.class_id.dtype)
    assert types == (np.float32, np.float32, np.int32)


def test_transposed_tensors_give_the_same():
    array = np.ascontiguousarray(tensor().transpose(0, 2, 1))
    for options in (
        {},
        {"num_classes": 3},
        {"transposed": True},
        {"transposed": True, "multi_label": True},
    ):
        found = yolo.decode(
            {"o": array}, yolo.Options(input_hw=(64, 128), confidence=0.75, **options)
        )
        assert found.xyxy.tolist() == [[40, 25, 60, 35]]


def test_num_classes_decides_which_axis_holds_them():
    # 7 anchors and 20 channels: the longer axis would be taken for the anchors.
    array = np.zeros((1, 20, 7), np.float32)
    array[0, :4, 3] = 30, 30, 10, 10
    array[0, 4 + 9, 3] = 0.9
    found = yolo.decode({"o": array}, yolo.Options(input_hw=(64, 64), num_classes=16))
    assert found.class_id.tolist() == [9]
    assert found.xyxy.tolist() == [[25, 25, 35, 35]]


@pytest.mark.parametrize("normalized", [None, True])
def test_fractions_are_scaled_by_width_and_height(normalized):
    array = tensor()
    array[0, 0:4:2] /= 128
    array[0, 1:4:2] /= 64
    options = yolo.Options(input_hw=(64, 128), confidence=0.5, normalized=normalized)
    found = yolo.decode({"o": array}, options)
    np.testing.assert_allclose(found.xyxy, [[40, 25, 60, 35], [96, 38, 104, 42]], atol=1e-4)


def test_one_broken_anchor_does_not_hide_that_boxes_are_fractions():
    array = tensor()
    array[0, 0:4:2] /= 128
    array[0, 1:4:2] /= 64
    for value in (np.inf, np.nan):
        array[0, 0, 9] = value
        found = yolo.decode({"o": array}, OPTIONS)
        np.testing.assert_allclose(found.xyxy[0], [40, 25, 60, 35], atol=1e-4)


def test_fractions_without_an_input_size_are_an_error():
    with pytest.raises(HeadError, match="size of the model's input"):
        yolo.decode({"o": tensor() / 1000}, yolo.Options(normalized=True))


def test_multi_label_counts_every_class():
    options = yolo.Options(input_hw=(64, 128), confidence=0.5, multi_label=True)
    found = yolo.decode({"o": tensor()}, options)
    np.testing.assert_allclose(found.score, [0.9, 0.7, 0.6])
    assert found.class_id.tolist() == [1, 2, 0]


def test_nothing_above_the_confidence():
    found = yolo.decode({"o": np.zeros((1, 7, 20), np.float32)}, OPTIONS)
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)
    assert len(yolo.decode({"o": np.zeros((1, 7, 0))}, yolo.Options(num_classes=3))) == 0


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_is_not_finite_is_dropped_and_counted(multi_label):
    array = tensor()
    array[0, 5, 1] = np.nan
    array[0, 0, 3] = np.inf
    array[0, 4, 7] = np.inf
    options = yolo.Options(input_hw=(64, 128), confidence=0.75, multi_label=multi_label)
    found = yolo.decode({"o": array}, options)
    assert found.class_id.tolist() == [1]
    np.testing.assert_allclose(found.score, [0.8])
    assert found.dropped == 2
    array[0, 4, 3] = 0.95
    assert yolo.decode({"o": array}, options).dropped == 3


@pytest.mark.parametrize(
    ("shape", "num_classes", "message"),
    [
        ((1, 84), 0, r"expected \[1, 4 \+ classes, A\]; got o \[1, 84\]"),
        ((2, 84, 100), 0, r"got o \[2, 84, 100\]"),
        ((1, 84, 100), 3, r"expected \[1, 7, A\] .*; got o \[1, 84, 100\]"),
        ((1, 4, 100), 0, r"got o \[1, 4, 100\]"),
    ],
)
def test_wrong_shapes(shape, num_classes, message):
    with pytest.raises(HeadError, match=message):
        yolo.decode({"o": np.zeros(shape, np.float32)}, yolo.Options(num_classes=num_classes))


def test_two_outputs_are_refused():
    with pytest.raises(HeadError, match=r"expected 1; got 2 \(a, b\)"):
        yolo.decode({"a": tensor(), "b": tensor()}, OPTIONS)


def test_keypoints_in_the_place_of_scores_are_noticed():
    array = tensor()
    array[0, 6, 1] = 47.5
    with pytest.raises(HeadError, match=r"head yolo: .*expected scores in 0-1; got 47.5"):
        yolo.decode({"o": array}, OPTIONS)


def test_integer_tensors_are_taken_as_they_are():
    array = np.zeros((1, 6, 30), np.int32)
    array[0, :, 8] = 30, 20, 10, 10, 0, 1
    found = yolo.decode({"o": array}, OPTIONS)
    assert found.xyxy.tolist() == [[25, 15, 35, 25]]
    assert found.class_id.tolist() == [1]
