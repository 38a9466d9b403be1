import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import boxes


def reference_nms(xyxy, score, threshold, groups=None):
    """Suppress one pair at a time, in the order that the definition gives."""
    xyxy = np.asarray(xyxy, np.float32)
    order = sorted(range(len(score)), key=lambda i: -score[i])
    kept = []
    for i in order:
        for j in kept:
            if groups is not None and groups[i] != groups[j]:
                continue
            low = np.maximum(xyxy[i, :2], xyxy[j, :2])
            high = np.minimum(xyxy[i, 2:], xyxy[j, 2:])
            inner = np.prod(np.maximum(high - low, 0))
            sizes = [np.prod(np.maximum(xyxy[k, 2:] - xyxy[k, :2], 0)) for k in (i, j)]
            if inner > np.float32(threshold) * (sizes[0] + sizes[1] - inner):
                break
        else:
            kept.append(i)
    return kept


def random_boxes(rng, n, groups):
    """Make clustered boxes, so that many overlap, with scores of which some are equal."""
    centre = rng.random((max(1, n // 6), 2))[rng.integers(0, max(1, n // 6), n)] * 300
    centre = centre + rng.normal(0, 5, (n, 2))
    half = rng.random((n, 2)) * 30 + 5
    xyxy = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    score = np.round(rng.random(n), 2).astype(np.float32)
    return xyxy, score, rng.integers(0, groups, n).astype(np.int32)


coordinate = st.floats(-1e4, 1e4, width=32)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)
any_boxes = st.lists(box, max_size=12).map(lambda b: np.array(b, np.float32).reshape(-1, 4))
small = st.integers(0, 12).map(float)
corner = st.tuples(small, small, st.integers(1, 9).map(float), st.integers(1, 9).map(float))
candidate = st.tuples(corner, st.integers(0, 8), st.integers(0, 2))
thresholds = st.sampled_from([0.0, 0.25, 0.3, 0.45, 0.5, 0.75, 1.0])


def split(found):
    xywh = np.array([c[0] for c in found], np.float32).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    score = np.array([c[1] / 8 for c in found], np.float32)
    return xyxy, score, np.array([c[2] for c in found], np.int32)


def test_area_of_known_boxes_and_of_reversed_ones():
    xyxy = np.array([[0, 0, 2, 3], [5, 5, 5, 9], [4, 0, 0, 2], [4, 4, 0, 0]], np.float32)
    assert boxes.area(xyxy).tolist() == [6, 0, 0, 0]


def test_iou_of_known_pairs():
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0]], np.float32)
    expected = [[1, 1 / 3, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(boxes.iou(a, b), expected, atol=1e-7)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_of_no_boxes(n, m):
    assert boxes.iou(np.zeros((n, 4), np.float32), np.zeros((m, 4), np.float32)).shape == (n, m)


@given(any_boxes, any_boxes)
def test_iou_is_symmetric_and_in_0_to_1(a, b):
    one, other = boxes.iou(a, b), boxes.iou(b, a)
    np.testing.assert_array_equal(one, other.T)
    assert ((one >= 0) & (one <= 1)).all()


@given(any_boxes)
def test_a_box_that_is_not_empty_has_iou_1_with_itself(a):
    diagonal = np.diag(boxes.iou(a, a))
    # Areas below float32's smallest normal number are as good as empty.
    solid = boxes.area(a) > 1e-30
    np.testing.assert_allclose(diagonal[solid], 1)


@given(any_boxes)
def test_centre_form_and_back(a):
    xyxy = np.concatenate([np.minimum(a[:, :2], a[:, 2:]), np.maximum(a[:, :2], a[:, 2:])], 1)
    np.testing.assert_allclose(boxes.from_cxcywh(boxes.to_cxcywh(xyxy)), xyxy, atol=5e-3)


def test_centre_form_of_a_known_box():
    cxcywh = np.array([[5, 10, 4, 6]], np.float32)
    assert boxes.from_cxcywh(cxcywh).tolist() == [[3, 7, 7, 13]]
    assert boxes.to_cxcywh(np.array([[3, 7, 7, 13]], np.float32)).tolist() == cxcywh.tolist()
    assert boxes.from_cxcywh(np.zeros((0, 4), np.float32)).shape == (0, 4)


@given(any_boxes, st.integers(1, 5000), st.integers(1, 5000))
def test_clip_keeps_boxes_inside(a, height, width):
    clipped = boxes.clip(a, (height, width))
    assert (clipped >= 0).all()
    assert (clipped[:, 0::2] <= width).all()
    assert (clipped[:, 1::2] <= height).all()
    np.testing.assert_array_equal(boxes.clip(clipped, (height, width)), clipped)


def test_nms_of_nothing_and_of_one():
    none = boxes.nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5)
    assert none.shape == (0,)
    assert none.dtype == np.int64
    one = boxes.nms(np.ones((1, 4), np.float32), np.ones(1, np.float32), 0.5, np.zeros(1))
    assert one.tolist() == [0]


def test_nms_keeps_a_box_whose_iou_is_exactly_the_threshold():
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    score = np.array([0.9, 0.8], np.float32)
    assert boxes.nms(xyxy, score, 0.5).tolist() == [0, 1]
    assert boxes.nms(xyxy, score, 0.49).tolist() == [0]


def test_a_suppressed_box_suppresses_nothing():
    # 1 overlaps 0 and 2; 0 and 2 hardly overlap.
    xyxy = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    score = np.array([0.9, 0.8, 0.7], np.float32)
    assert boxes.nms(xyxy, score, 0.4).tolist() == [0, 2]


def test_groups_do_not_suppress_each_other():
    xyxy = np.array([[0, 0, 10, 10]] * 3, np.float32)
    score = np.array([0.7, 0.9, 0.8], np.float32)
    assert boxes.nms(xyxy, score, 0.5, np.array([0, 1, 0])).tolist() == [1, 2]
    assert boxes.nms(xyxy, score, 0.5).tolist() == [1]


def test_empty_boxes_do_not_suppress_each_other():
    xyxy = np.zeros((3, 4), np.float32)
    assert boxes.nms(xyxy, np.ones(3, np.float32), 0.0).tolist() == [0, 1, 2]


@given(st.lists(candidate, max_size=40), thresholds, st.booleans())
@settings(max_examples=200)
def test_nms_agrees_with_its_definition(found, threshold, grouped):
    xyxy, score, groups = split(found)
    kept = boxes.nms(xyxy, score, threshold, groups if grouped else None)
    assert kept.tolist() == reference_nms(xyxy, score, threshold, groups if grouped else None)


@given(st.lists(candidate, max_size=40), thresholds)
def test_what_nms_promises(found, threshold):
    xyxy, score, groups = split(found)
    kept = boxes.nms(xyxy, score, threshold, groups)
    assert (np.diff(score[kept]) <= 0).all()
    overlap = boxes.iou(xyxy, xyxy)
    same = groups[:, None] == groups
    among = overlap[np.ix_(kept, kept)] * same[np.ix_(kept, kept)]
    assert (np.triu(among, 1) <= threshold + 1e-6).all()
    for i in set(range(len(score))) - set(kept.tolist()):
        better = kept[(score[kept] >= score[i]) & (groups[kept] == groups[i])]
        assert (overlap[i, better] > threshold - 1e-6).any()
    again = boxes.nms(xyxy[kept], score[kept], threshold, groups[kept])
    assert again.tolist() == list(range(len(kept)))


@pytest.mark.parametrize("groups", [1, 3, 80])
@pytest.mark.parametrize("n", [2, 127, 128, 129, 400])
def test_many_boxes_agree_with_the_definition(n, groups):
    # Around and beyond the size of one block, where the work is cut up.
    xyxy, score, labels = random_boxes(np.random.default_rng(n * 100 + groups), n, groups)
    for wanted in (None, labels):
        kept = boxes.nms(xyxy, score, 0.45, wanted)
        assert kept.tolist() == reference_nms(xyxy, score, 0.45, wanted)
        assert len(kept) < n or n == 2


@pytest.mark.parametrize("seed", range(5))
def test_nms_agrees_with_opencv(seed):
    xyxy, _, _ = random_boxes(np.random.default_rng(seed), 120, 1)
    # OpenCV is not stable for equal scores, so none are equal here.
    score = np.random.default_rng(seed).permutation(120).astype(np.float32) / 120 + 0.01
    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    expected = cv2.dnn.NMSBoxes(xywh.astype(float).tolist(), score.tolist(), 0.0, 0.45)
    assert boxes.nms(xyxy, score, 0.45).tolist() == np.array(expected).ravel().tolist()
