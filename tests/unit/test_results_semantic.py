"""Class maps: at source size, by area, and back from JSON."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.geometry import Geometry, plan
from edgecv.results import Difference
from edgecv.results.semantic import UNSEEN, SemanticMap, SemanticScores
from edgecv.types import Array


def class_map(rows: list[list[int]]) -> SemanticMap:
    return SemanticMap(np.array(rows, np.int16))


def bilinear(image: Array, geometry: Geometry) -> Array:
    """Interpolate (h, w) at the centres of the source's pixels, in float64, by the definition."""
    (height, width), (rows, columns) = geometry.source_hw, image.shape
    x = (np.arange(width) + 0.5) * geometry.scale_xy[0] + geometry.offset_xy[0]
    y = (np.arange(height) + 0.5) * geometry.scale_xy[1] + geometry.offset_xy[1]
    x = np.clip(x * columns / geometry.input_hw[1] - 0.5, 0, columns - 1)
    y = np.clip(y * rows / geometry.input_hw[0] - 0.5, 0, rows - 1)
    x0, y0 = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
    fx, fy = x - x0, (y - y0)[:, None]
    upper = image[y0][:, x0] * (1 - fx) + image[y0][:, x0 + 1] * fx
    lower = image[y0 + 1][:, x0] * (1 - fx) + image[y0 + 1][:, x0 + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(3, 200), st.integers(3, 60)),
    st.sampled_from(["stretch", "letterbox", "letterbox-topleft", "crop"]),
    st.integers(2, 7),
    st.integers(0, 999),
)
def test_scores_are_interpolated_and_then_decided(source_hw, resize, classes, seed):
    random = np.random.default_rng(seed)
    # Smooth scores, so that some classes never win and are skipped.
    scores = random.normal(0, 1, (classes, 6, 8)).astype(np.float32)
    scores += random.normal(0, 2, (classes, 1, 1)).astype(np.float32)
    geometry = plan(source_hw, (24, 32), resize, crop_ratio=0.8)
    found = SemanticScores(scores).to_source(geometry).class_id
    exact = np.stack([bilinear(score.astype(np.float64), geometry) for score in scores])
    rows, columns = geometry.visible()
    seen = np.zeros(source_hw, bool)
    seen[rows, columns] = True
    assert (found[~seen] == UNSEEN).all()
    top = np.sort(exact, axis=0)
    # OpenCV's weights may be steps of 1/32; a lead that this cannot turn around decides.
    sure = seen & (top[-1] - top[-2] > 0.5)
    assert (found[sure] == exact.argmax(axis=0)[sure]).all()
    if resize == "stretch":
        sure = top[-1] - top[-2] > 1e-4
        assert (found[sure] == exact.argmax(axis=0)[sure]).all()


def test_between_two_classes_a_third_may_win():
    """Interpolating scores is not interpolating decisions: in the middle the third is best."""
    scores = np.array([[[1, 0]], [[0, 1]], [[0.75, 0.75]]], np.float32)
    found = SemanticScores(scores).to_source(plan((1, 4), (1, 2), "stretch"))
    # Of source pixels at 0.25 of the way, scores are 0.75, 0.25 and 0.75: the first of equals.
    assert found.class_id.tolist() == [[0, 0, 1, 1]]
    found = SemanticScores(scores).to_source(plan((1, 16), (1, 2), "stretch"))
    assert found.class_id.tolist() == [[0] * 6 + [2] * 4 + [1] * 6]


def test_a_foreground_is_decided_at_source_size():
    scores = np.array([[[0.0, 1.0]]], np.float32)
    geometry = plan((1, 8), (1, 2), "stretch")
    assert SemanticScores(scores, 0.5).to_source(geometry).class_id.tolist() == [[0] * 4 + [1] * 4]
    assert SemanticScores(scores, 0.9).to_source(geometry).class_id.tolist() == [[0] * 6 + [1] * 2]


def test_class_ids_take_the_nearest():
    found = class_map([[3, 0], [0, 9]]).to_source(plan((4, 4), (8, 8), "stretch"))
    assert found.class_id.tolist() == [[3, 3, 0, 0], [3, 3, 0, 0], [0, 0, 9, 9], [0, 0, 9, 9]]
    cut = class_map([[5]]).to_source(plan((2, 4), (2, 2), "crop"))
    assert cut.class_id.tolist() == [[UNSEEN, 5, 5, UNSEEN]] * 2


def test_areas():
    found = class_map([[2, 2, UNSEEN], [0, 2, 5]])
    assert found.areas() == {0: 1, 2: 3, 5: 1}
    assert list(found) == [(0, 1), (2, 3), (5, 1)]
    assert len(found) == 3
    assert found.mask(2).tolist() == [[True, True, False], [False, True, False]]


def test_areas_of_many_rows_with_other_classes():
    ids = np.zeros((600, 3), np.int16)
    ids[590:] = 7
    assert SemanticMap(ids).areas() == {0: 1770, 7: 30}


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_json_holds_every_pixel(height, width, seed):
    ids = np.random.default_rng(seed).integers(-1, 3, (height, width)).astype(np.int16)
    found = SemanticMap(ids)
    data = json.loads(json.dumps(found.to_json(["a", "b"])))
    assert SemanticMap.from_json(data) == found
    assert sum(item["pixels"] for item in data["semantic"]) == np.count_nonzero(ids >= 0)


def test_the_code_is_that_of_cocos_tools():
    pycocotools = pytest.importorskip("pycocotools.mask")
    ids = np.random.default_rng(1).integers(0, 3, (13, 17)).astype(np.int16)
    for item in SemanticMap(ids).to_json(())["semantic"]:
        mask = pycocotools.decode(item["mask"])
        np.testing.assert_array_equal(mask.astype(bool), ids == item["class_id"])


def test_difference_is_the_share_of_other_pixels():
    a, b = class_map([[0, 1], [1, 1]]), class_map([[0, 1], [1, 2]])
    assert a.difference(b).area == 0.25
    assert a.difference(class_map([[0]])).area == 1.0
    assert a.difference(a) == Difference()


def test_a_class_that_is_lost_has_no_counterpart():
    ids = np.zeros((40, 50), np.int16)
    ids[:5, :10] = 7
    ids[39, :3] = 4  # a speckle
    ids[20] = UNSEEN
    whole, without = SemanticMap(ids), SemanticMap(np.where(ids > 0, 0, ids).astype(np.int16))
    moved = SemanticMap(np.roll(ids, 2, axis=1))
    for a, b in ((whole, without), (without, whole)):
        difference = a.difference(b)
        assert difference.unmatched == (1.0,)
        assert difference.area == pytest.approx(53 / 2000)
    assert moved.difference(whole).unmatched == (), "an IoU of 2 / 3"
    assert SemanticMap(np.roll(ids, 6, axis=1)).difference(whole).unmatched == (1.0,)


def test_another_type_or_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected \(H, W\) int16; got \(2, 2\) int64"):
        SemanticMap(np.zeros((2, 2), np.int64))


def test_a_large_image_does_not_hold_every_class_at_its_size():
    """A 12 megapixel image, 21 classes that all win somewhere: 1 GB at float32 if all were held."""
    scores = np.random.default_rng(0).normal(0, 1, (21, 33, 44)).astype(np.float32)
    geometry = plan((3000, 4000), (513, 513), "stretch")
    tracemalloc.start()
    try:
        found = SemanticScores(scores).to_source(geometry)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.areas()) == 21
    # OpenCV's arrays are numpy's, and counted: two maps of scores, ids and a mask.
    assert peak < 200e6
