"""The heads whose result is a map: semantic, depth, anomaly."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.geometry import plan
from edgecv.heads import anomaly, depth, semantic
from edgecv.results.semantic import SemanticMap

HW = (4, 8)
SAME = plan(HW, HW, "stretch")
OPTIONS = semantic.Options(input_hw=HW)


def scores():
    """Three classes at stride 2; class 2 in the left half, class 1 elsewhere."""
    out = np.zeros((1, 3, 2, 4), np.float32)
    out[0, 1] = 1.5
    out[0, 2, :, :2] = 3
    return out


HALVES = [[2] * 4 + [1] * 4] * 4


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_scores_of_classes(layout, dtype):
    array = scores() if layout == "NCHW" else scores().transpose(0, 2, 3, 1)
    for options in (OPTIONS, OPTIONS.replace(layout=layout), OPTIONS.replace(num_classes=3)):
        found = semantic.decode({"o": array.astype(dtype)}, options).to_source(SAME)
        assert found.class_id.tolist() == HALVES


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(1, 4, 8), (1, 1, 4, 8), (1, 4, 8, 1)])
def test_class_ids(dtype, shape):
    if dtype is np.float32 and len(shape) == 4:
        pytest.skip("floats with a channel are scores")
    array = np.array(HALVES, dtype).reshape(shape)
    found = semantic.decode({"ArgMax": array}, OPTIONS)
    assert isinstance(found, SemanticMap)
    assert found.to_source(SAME).class_id.tolist() == HALVES


@pytest.mark.parametrize("shape", [(1, 4, 8), (1, 1, 4, 8), (1, 4, 8, 1)])
def test_one_foreground(shape):
    chance = np.full(HW, 0.25, np.float32)
    chance[:, 4:] = 0.75
    logit = np.log(chance / (1 - chance))

    def decode(values, **options):
        head_options = OPTIONS.replace(**options)
        found = semantic.decode({"o": values.reshape(shape)}, head_options).to_source(SAME)
        return found.class_id[0].tolist()

    halves = [0] * 4 + [1] * 4
    assert decode(chance) == decode(logit) == decode(chance, confidence=0.7) == halves
    assert decode(chance, confidence=0.2) == decode(logit, confidence=0.2) == [1] * 8
    assert decode(logit, confidence=0.8) == decode(chance, confidence=1.0) == [0] * 8
    assert decode(logit, confidence=0.0) == [1] * 8
    # What looks like probabilities may be said to be logits: all of them are above 0.
    assert decode(chance, logits=True) == [1] * 8


def test_quantized_probabilities_a_little_outside_are_no_logits():
    array = np.array([[[[-0.004, 0.3, 0.6, 1.004]]]], np.float32)
    found = semantic.decode({"o": array}, semantic.Options(input_hw=(1, 4)))
    assert found.to_source(plan((1, 4), (1, 4), "stretch")).class_id.tolist() == [[0, 0, 1, 1]]


def test_nothing_but_background():
    found = semantic.decode({"o": np.zeros((1, 4, 8), np.int64)}, OPTIONS)
    assert found.areas() == {0: 32}
    found = semantic.decode({"o": np.zeros((1, 21, 4, 8), np.float32)}, OPTIONS).to_source(SAME)
    assert found.areas() == {0: 32}


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((1, 3, 5, 5)), {}, r"one layout whose sizes fit 4x8; got o \[1, 3, 5, 5\]"),
        (np.zeros((1, 8, 8, 8)), {"input_hw": (8, 8)}, "one layout whose sizes fit 8x8"),
        (np.zeros((1, 3, 2, 4)), {"num_classes": 21}, "expected 21 classes"),
        (np.zeros((1, 3, 2, 4)), {"layout": "HWC"}, "expected auto or NCHW or NHWC; got HWC"),
        (np.zeros((1, 1, 4, 8)), {"num_classes": 5}, "one foreground and its background are 2"),
        (np.full((1, 4, 8), 7), {"num_classes": 5}, "cannot be: expected 0 to 4; got 7 to 7"),
        (np.full((1, 4, 8), -1), {}, "expected 0 to 32766; got -1 to -1"),
        (np.full((1, 3, 2, 4), np.nan), {}, "not finite: expected 24 numbers; got 24"),
        (np.full((1, 1, 4, 8), np.inf), {}, "not finite: expected 32 numbers; got 32"),
        (np.zeros((2, 3, 2, 4)), {}, "wrong output shape"),
        (np.zeros((1, 3)), {}, "wrong output shape"),
    ],
)
def test_semantic_refuses(array, options, message):
    with pytest.raises(HeadError, match=message):
        semantic.decode({"o": array}, OPTIONS.replace(**options))


def test_the_layout_can_be_said_where_the_sizes_fit_none():
    found = semantic.decode({"o": np.zeros((1, 3, 5, 5))}, OPTIONS.replace(layout="NCHW"))
    assert found.scores.shape == (3, 5, 5)


@pytest.mark.parametrize("shape", [(1, 4, 8), (1, 1, 4, 8), (1, 4, 8, 1)])
def test_depth(shape):
    values = np.arange(32, dtype=np.float32)
    found = depth.decode({"o": values.reshape(shape)}, depth.Options(kind="metric"))
    assert found.kind == "metric"
    np.testing.assert_array_equal(found.to_source(SAME).depth, values.reshape(HW))


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.zeros((1, 2, 4, 8)), "inverse", "wrong output shape"),
        (np.full((1, 4, 8), np.nan), "inverse", "not finite"),
        (np.zeros((1, 4, 8)), "feet", "expected inverse or relative or metric; got 'feet'"),
    ],
)
def test_depth_refuses(array, kind, message):
    with pytest.raises(HeadError, match=message):
        depth.decode({"o": array}, depth.Options(kind=kind))


HEAT = np.linspace(0, 0.8, 32, dtype=np.float32).reshape(1, 1, *HW)


def test_anomalib_2_in_any_order():
    outputs = {
        "pred_mask": HEAT > 0.5,
        "anomaly_map": HEAT,
        "pred_label": np.array([True]),
        "pred_score": np.array([0.7], np.float32),
    }
    found = anomaly.decode(outputs, anomaly.Options())
    assert found.score == pytest.approx(0.7)
    assert found.threshold == 0.5
    assert found.anomalous
    np.testing.assert_array_equal(found.mask, HEAT[0, 0] >= 0.5)
    stricter = anomaly.decode(outputs, anomaly.Options(threshold=0.75))
    assert not stricter.anomalous


def test_a_map_alone_scores_its_highest_place():
    found = anomaly.decode({"output": HEAT}, anomaly.Options())
    assert found.score == pytest.approx(0.8)
    assert found.threshold is None
    assert found.mask is None


def test_a_map_and_a_distance():
    found = anomaly.decode({"565": np.array([[34.5]]), "output": HEAT}, anomaly.Options())
    assert found.score == 34.5


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": HEAT, "b": HEAT},
        {"a": HEAT, "b": np.zeros(1), "c": np.zeros(1)},
        {"pred_score": np.zeros(1)},
        {"a": np.zeros((1, 3, 4, 8))},
    ],
)
def test_anomaly_refuses(outputs):
    with pytest.raises(HeadError, match="one map"):
        anomaly.decode(outputs, anomaly.Options())
