import itertools

import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import tflite_ssd

OPTIONS = tflite_ssd.Options(input_hw=(100, 200), confidence=0.5)
BOXES = np.array([[[0.5, 0.25, 1.0, 0.75], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]], np.float32)
CLASSES = np.array([[2, 0, 5]], np.float32)
SCORES = np.array([[0.9, 0.75, 0.8]], np.float32)
COUNT = np.array([2], np.float32)  # the third row is padding


def check(found, classes=(2, 0)):
    np.testing.assert_allclose(found.xyxy, [[50, 50, 150, 100], [40, 10, 80, 30]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.9, 0.75])
    assert found.class_id.tolist() == list(classes)


OPERATOR = ("TFLite_Detection_PostProcess", ":1", ":2", ":3")
NAMES = {
    "operator": [OPERATOR[0], *(OPERATOR[0] + tail for tail in OPERATOR[1:])],
    "TensorFlow 2": [f"StatefulPartitionedCall:{i}" for i in (3, 2, 1, 0)],
    "operator's order": [f"StatefulPartitionedCall:{i}" for i in range(4)],
    "API": ["detection_boxes", "detection_classes", "detection_scores", "num_detections"],
    "nobody's": ["a", "b", "c", "d"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_golden_in_any_order(names):
    everything = dict(zip(names, (BOXES, CLASSES, SCORES, COUNT), strict=True))
    for order in itertools.permutations(names):
        check(tflite_ssd.decode({name: everything[name] for name in order}, OPTIONS))


@pytest.mark.parametrize("names", [NAMES["operator"], NAMES["TensorFlow 2"], NAMES["API"]])
def test_names_win_over_values(names):
    # A score of 1 and a class id of 1 look alike.
    boxes, one = BOXES[:, :1], np.ones((1, 1), np.float32)
    for class_id, score, count in ((1.0, 0.0, 0), (0.0, 1.0, 1)):
        arrays = (boxes, one * class_id, one * score, np.ones(1, np.float32))
        found = tflite_ssd.decode(dict(zip(names, arrays, strict=True)), OPTIONS)
        assert len(found) == count


def test_what_nothing_tells_apart_is_an_error_that_names_the_option():
    outputs = {
        "boxes": BOXES,
        "x": np.array([[1, 1, 0]], np.float32),
        "y": np.array([[1, 0, 1]], np.float32),
        "n": COUNT,
    }
    with pytest.raises(HeadError, match="nothing tells scores from class ids") as caught:
        tflite_ssd.decode(outputs, OPTIONS)
    assert caught.value.remedy == "name the scores: --head-option scores=x"
    found = tflite_ssd.decode(outputs, OPTIONS.replace(scores="x"))
    assert found.class_id.tolist() == [1, 0]
    found = tflite_ssd.decode(outputs, OPTIONS.replace(scores="y"))
    assert found.class_id.tolist() == [1]
    with pytest.raises(HeadError, match="scores: no such output: expected one of boxes, x, y, n"):
        tflite_ssd.decode(outputs, OPTIONS.replace(scores="z"))


def test_labels_can_be_shifted():
    outputs = {"a": BOXES, "b": CLASSES + 1, "c": SCORES, "d": COUNT}
    check(tflite_ssd.decode(outputs, OPTIONS.replace(label_offset=1)))
    check(tflite_ssd.decode(outputs, OPTIONS), (3, 1))
    with pytest.raises(HeadError, match="got -1"):
        tflite_ssd.decode(outputs, OPTIONS.replace(label_offset=2))


def test_further_outputs_of_the_api_are_not_looked_at():
    outputs = dict(zip(NAMES["API"], (BOXES, CLASSES, SCORES, COUNT), strict=True))
    outputs["raw_detection_boxes"] = np.full((1, 9, 4), np.nan, np.float32)
    check(tflite_ssd.decode(outputs, OPTIONS))


def test_nothing_found():
    for rows, count in ((3, 0), (0, 0), (3, 3)):
        outputs = {
            "a": np.zeros((1, rows, 4), np.float32),
            "b": np.zeros((1, rows), np.float32),
            "c": np.zeros((1, rows), np.float32),
            "d": np.array([count], np.float32),
        }
        found = tflite_ssd.decode(outputs, OPTIONS)
        assert len(found) == 0
        assert found.xyxy.shape == (0, 4)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    boxes, scores = BOXES.copy(), SCORES.copy()
    boxes[0, 0, 0] = np.inf
    scores[0, 1] = np.nan
    outputs = {"a": boxes, "b": CLASSES, "c": scores, "d": COUNT}
    found = tflite_ssd.decode(outputs, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 2


@pytest.mark.parametrize("count", [4, -1, np.nan])
def test_a_number_that_cannot_be_right(count):
    outputs = {"a": BOXES, "b": CLASSES, "c": SCORES, "d": np.array([count], np.float32)}
    with pytest.raises(HeadError, match="expected one number from 0 to 3"):
        tflite_ssd.decode(outputs, OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        {"a": BOXES[0]},
        {"b": CLASSES[:, :2]},
        {"d": np.zeros((3,), np.float32)},
        {"e": SCORES},
    ],
)
def test_wrong_shapes(change):
    outputs = {"a": BOXES, "b": CLASSES, "c": SCORES, "d": COUNT, **change}
    with pytest.raises(HeadError, match=r"head tflite_ssd: wrong output shape"):
        tflite_ssd.decode(outputs, OPTIONS)
