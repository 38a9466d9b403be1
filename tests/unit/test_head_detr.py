import numpy as np
import pytest
from scipy.special import expit, softmax

from edgecv.errors import HeadError
from edgecv.heads import detr
from edgecv.types import TensorSpec

OPTIONS = detr.Options(input_hw=(100, 200), confidence=0.5)
# Centre and size as fractions, and what they are in an input of 100 x 200.
CXCYWH = np.array([[0.5, 0.5, 0.5, 0.2], [0.1, 0.2, 0.2, 0.4], [0.9, 0.9, 0.2, 0.2]], np.float32)
XYXY = np.array([[50, 40, 150, 60], [0, 0, 40, 40], [160, 80, 200, 100]], np.float32)


def tensors(columns, fill=-9.0, **at):
    logits = np.full((3, columns), fill, np.float32)
    for place, value in at.items():
        query, column = map(int, place.strip("q").split("_"))
        logits[query, column] = value
    return {"logits": logits[None], "pred_boxes": CXCYWH[None]}


def test_golden_sigmoid_takes_every_class_of_a_query():
    outputs = tensors(80, q0_7=2.0, q0_3=1.0, q2_79=3.0, q1_5=-0.1)
    found = detr.decode(outputs, OPTIONS)
    np.testing.assert_allclose(found.score, expit([3, 2, 1]), rtol=1e-6)
    assert found.class_id.tolist() == [79, 7, 3]
    np.testing.assert_allclose(found.xyxy, XYXY[[2, 0, 0]], rtol=1e-5)
    best = detr.decode(outputs, OPTIONS.replace(multi_label=False))
    assert best.class_id.tolist() == [79, 7]


def test_golden_softmax_leaves_out_no_object():
    # 92 columns: COCO's ids and no object, which wins in the second query.
    outputs = tensors(92, fill=0.0, q0_17=8.0, q1_91=9.0, q1_3=8.0, q2_1=7.0, q2_2=6.5)
    found = detr.decode(outputs, OPTIONS)
    expected = softmax(outputs["logits"][0], axis=1)
    np.testing.assert_allclose(found.score, expected[[0, 2], [17, 1]], rtol=1e-5)
    assert found.class_id.tolist() == [17, 1]
    np.testing.assert_allclose(found.xyxy, XYXY[[0, 2]], rtol=1e-5)
    # One class for each query, even where a second one reaches the confidence.
    low = detr.decode(outputs, OPTIONS.replace(confidence=0.2))
    assert low.class_id.tolist() == [17, 1, 3]


def test_the_bound_on_detections_is_counted():
    found = detr.decode(tensors(80, fill=1.0), OPTIONS.replace(max_detections=100))
    assert len(found) == 100
    assert found.dropped == 3 * 80 - 100


def test_golden_rf_detr_is_sigmoid_whatever_the_width():
    outputs = tensors(5, q1_2=2.0, q0_4=1.0)
    outputs = {"dets": outputs["pred_boxes"], "labels": outputs["logits"]}
    found = detr.decode(outputs, OPTIONS)
    assert found.class_id.tolist() == [2, 4]
    np.testing.assert_allclose(found.xyxy, XYXY[[1, 0]], atol=1e-4)
    # With four classes named, the fifth column is none of them.
    four = detr.decode(outputs, OPTIONS.replace(num_classes=4))
    assert four.class_id.tolist() == [2]


def test_the_number_of_classes_tells_the_activation():
    outputs = tensors(4, q0_1=2.0)
    with pytest.raises(HeadError, match="nothing tells the activation of 4 columns") as caught:
        detr.decode(outputs, OPTIONS)
    assert "activation=sigmoid" in (caught.value.remedy or "")
    sigmoid = detr.decode(outputs, OPTIONS.replace(num_classes=4))
    np.testing.assert_allclose(sigmoid.score, expit([2]), rtol=1e-6)
    soft = detr.decode(outputs, OPTIONS.replace(num_classes=3))
    np.testing.assert_allclose(soft.score, softmax(outputs["logits"][0, 0])[1], rtol=1e-6)
    for activation, score in (("sigmoid", expit(2)), ("softmax", soft.score[0])):
        found = detr.decode(outputs, OPTIONS.replace(activation=activation))
        np.testing.assert_allclose(found.score, [score], rtol=1e-6)
    probabilities = {**outputs, "logits": np.where(outputs["logits"] > 0, 0.9, 0.0)}
    done = detr.decode(probabilities, OPTIONS.replace(activation="none"))
    np.testing.assert_allclose(done.score, [0.9])
    with pytest.raises(HeadError, match="activation: expected sigmoid, softmax or none"):
        detr.decode(outputs, OPTIONS.replace(activation="relu"))


def test_a_background_column_can_be_said():
    outputs = tensors(80, q0_79=5.0, q1_3=2.0)
    found = detr.decode(outputs, OPTIONS.replace(background=True))
    assert found.class_id.tolist() == [3]
    outputs = tensors(92, fill=0.0, q0_91=9.0)
    found = detr.decode(outputs, OPTIONS.replace(background=False))
    assert found.class_id.tolist() == [91]


def test_names_or_widths_tell_boxes_from_scores():
    outputs = tensors(80, q0_7=2.0)
    for names in (("a", "b"), ("b", "a")):
        arrays = dict(zip(names, outputs.values(), strict=True))
        for order in (names, names[::-1]):
            found = detr.decode({n: arrays[n] for n in order}, OPTIONS)
            assert found.class_id.tolist() == [7]
    four = tensors(4, q0_1=2.0)
    said = OPTIONS.replace(num_classes=4)
    assert detr.decode(four, said).class_id.tolist() == [1]
    nameless = {"a": four["logits"], "b": four["pred_boxes"]}
    with pytest.raises(HeadError, match="nothing tells boxes from scores") as caught:
        detr.decode(nameless, said)
    assert caught.value.remedy == "name the boxes: --head-option boxes=a"
    found = detr.decode(nameless, said.replace(boxes="b"))
    np.testing.assert_allclose(found.xyxy, XYXY[:1], rtol=1e-5)
    with pytest.raises(HeadError, match="boxes: no such pair of outputs"):
        detr.decode(nameless, said.replace(boxes="c"))


def test_outputs_beside_a_named_pair_are_ignored():
    outputs = {"last_hidden_state": np.zeros((1, 3, 256)), **tensors(80, q0_7=2.0)}
    assert detr.decode(outputs, OPTIONS).class_id.tolist() == [7]


def test_golden_one_tensor_with_probabilities():
    scores = np.zeros((3, 80), np.float32)
    scores[0, 7], scores[2, 1] = 0.75, 0.875
    rows = np.concatenate([CXCYWH, scores], axis=1)[None]
    found = detr.decode({"output0": rows}, OPTIONS)
    np.testing.assert_allclose(found.score, [0.875, 0.75])
    assert found.class_id.tolist() == [1, 7]
    np.testing.assert_allclose(found.xyxy, XYXY[[2, 0]], rtol=1e-5)


def test_golden_rows_of_six():
    rows = np.concatenate([CXCYWH, [[0.875, 7], [0.75, 0], [0.25, 1]]], axis=1)[None]
    found = detr.decode({"output0": rows.astype(np.float32)}, OPTIONS)
    np.testing.assert_allclose(found.score, [0.875, 0.75])
    assert found.class_id.tolist() == [7, 0]
    np.testing.assert_allclose(found.xyxy, XYXY[:2], rtol=1e-5, atol=1e-5)
    # Two classes look alike, but for their probabilities.
    rows[..., 4:] = [[0.875, 0.75], [0.125, 0.5], [0.25, 0.25]]
    found = detr.decode({"output0": rows.astype(np.float32)}, OPTIONS)
    assert found.class_id.tolist() == [0, 1, 1]


def test_golden_deployed():
    outputs = {
        "labels": np.array([[5, 0, 2]], np.int64),
        "boxes": XYXY[None],
        "scores": np.array([[0.9, 0.75, 0.25]], np.float32),
    }
    for names in (tuple(outputs), ("a", "b", "c")):
        renamed = dict(zip(names, outputs.values(), strict=True))
        found = detr.decode(renamed, OPTIONS)
        assert found.xyxy.tolist() == XYXY[:2].tolist()
        assert found.class_id.tolist() == [5, 0]
    fractions = {**outputs, "boxes": XYXY[None] / np.float32([200, 100, 200, 100])}
    found = detr.decode(fractions, OPTIONS)
    np.testing.assert_allclose(found.xyxy, XYXY[:2], rtol=1e-5)
    assert detr.CONSTANTS["orig_target_sizes"]((100, 200)) == (200, 100)


def test_nothing_found():
    assert len(detr.decode(tensors(80), OPTIONS)) == 0
    none = {"logits": np.zeros((1, 0, 92)), "pred_boxes": np.zeros((1, 0, 4))}
    found = detr.decode(none, OPTIONS)
    assert found.xyxy.shape == (0, 4)
    none["logits"] = none["logits"][..., :80]
    assert len(detr.decode(none, OPTIONS)) == 0
    assert len(detr.decode({"o": np.zeros((1, 0, 84))}, OPTIONS)) == 0


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    outputs = tensors(80, q0_7=2.0, q1_1=np.nan, q2_3=np.inf)
    boxes = CXCYWH.copy()
    boxes[0, 2] = np.nan
    boxes[2, 0] = np.inf
    found = detr.decode({**outputs, "pred_boxes": boxes[None]}, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 3


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": np.zeros((1, 3, 4)), "b": np.zeros((1, 2, 80))},
        {"a": np.zeros((1, 3, 5)), "b": np.zeros((1, 3, 80))},
        {"a": np.zeros((2, 3, 4)), "b": np.zeros((2, 3, 80))},
        {"a": np.zeros((1, 3, 4))},
        {"a": np.zeros((3, 84))},
    ],
)
def test_wrong_shapes(outputs):
    with pytest.raises(HeadError, match=r"expected \[1, Q, 4\] and \[1, Q, classes\], "):
        detr.decode(outputs, OPTIONS)


def test_wrong_number_of_classes():
    for count in (5, 79, 81):
        with pytest.raises(HeadError, match=rf"expected \[1, Q, 4\] and \[1, Q, {count}\]"):
            detr.decode(tensors(80), OPTIONS.replace(num_classes=count, activation="sigmoid"))
    rows = np.zeros((1, 300, 84), np.float32)
    with pytest.raises(HeadError, match="wrong output shape"):
        detr.decode({"output0": rows}, OPTIONS.replace(num_classes=79))


def test_pixels_of_the_branches():
    def pixels(**shapes):
        return detr.pixels_for([TensorSpec(n, s, "float32") for n, s in shapes.items()])

    assert pixels(logits=(1, 300, 80), pred_boxes=(1, 300, 4)).std == (255, 255, 255)
    assert pixels(output0=(1, 300, 84)).std == (255, 255, 255)
    for names in (
        {"logits": (1, 100, 92), "pred_boxes": (1, 100, 4)},
        {"dets": (1, 300, 4), "labels": (1, 300, 3)},
    ):
        assert pixels(**names).mean == (123.675, 116.28, 103.53)
