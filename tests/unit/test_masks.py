"""Instance masks: crops, run lengths, overlaps, outlines, the way to the source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from edgecv.geometry import plan
from edgecv.masks import Masks, compress, decompress, paint, run_lengths

bitmaps = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda hw: arrays.arrays(bool, hw)
)
blobs = bitmaps.map(lambda m: np.kron(m, np.ones((5, 7), bool)))


@given(st.one_of(bitmaps, blobs))
def test_the_code_is_coco_s(mask):
    text = compress(run_lengths(mask))
    assert text == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert (paint(decompress(text), mask.shape) == mask).all()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=30))
def test_any_text_is_a_code_or_a_clear_error(text):
    try:
        mask = paint(decompress(text), (3, 4))
    except ValueError as error:
        mask, said = None, str(error)
    assert said.startswith("mask: ") if mask is None else mask.shape == (3, 4)


@given(bitmaps)
def test_crops_hold_what_the_mask_holds(mask):
    masks = Masks.from_full(mask[None])
    assert (masks.full(0) == mask).all()
    assert masks.area()[0] == mask.sum()
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0] * 4
    assert masks.xyxy()[0].tolist() == box


@given(st.integers(0, 2**32 - 1))
def test_overlaps_are_those_of_full_masks(seed):
    rng = np.random.default_rng(seed)
    full = np.zeros((5, 20, 30), bool)
    for mask in full:
        y, x = rng.integers(0, 20), rng.integers(0, 30)
        mask[y : y + rng.integers(0, 12), x : x + rng.integers(0, 12)] = rng.random() > 0.2
    masks = Masks.from_full(full)
    found = masks.iou(masks[::-1])
    for i, a in enumerate(full):
        for j, b in enumerate(full[::-1]):
            union = (a | b).sum()
            assert found[i, j] == pytest.approx((a & b).sum() / union if union else 0, abs=1e-6)


def test_no_masks_at_all():
    none = Masks.empty((4, 5))
    assert len(none) == 0
    assert none.area().shape == (0,)
    assert none.xyxy().shape == (0, 4)
    assert none.iou(Masks.from_full(np.ones((2, 4, 5), bool))).shape == (0, 2)
    assert none.to_source(plan((8, 9), (4, 5), "stretch")).size_hw == (8, 9)
    assert len(Masks.from_json([], (4, 5))) == 0


def test_masks_are_picked_like_arrays():
    full = np.zeros((3, 4, 5), bool)
    full[1, 2, 3] = full[2, 0, 0] = True
    masks = Masks.from_full(full)
    for index in ([2, 1], np.array([2, 1]), slice(None, 0, -1)):
        assert [masks[index].full(i).tolist() for i in (0, 1)] == full[[2, 1]].tolist()
    assert len(masks[np.array([True, False, True])]) == 2


def test_an_outline_goes_through_the_centres_of_the_border():
    full = np.zeros((1, 10, 12), bool)
    full[0, 2:5, 3:8] = True
    (outline,) = Masks.from_full(full).polygons(0)
    assert outline.min(axis=0).tolist() == [3.5, 2.5]
    assert outline.max(axis=0).tolist() == [7.5, 4.5]
    assert Masks.from_full(np.zeros((1, 3, 3), bool)).polygons(0) == []


def test_a_mask_comes_back_to_the_source():
    """A square over the input's middle lies in the source's middle, at the source's scale."""
    geometry = plan((100, 200), (50, 50), "letterbox")
    full = np.zeros((1, 50, 50), bool)
    full[0, 20:30, 10:40] = True
    found = Masks.from_full(full).to_source(geometry)
    assert found.size_hw == (100, 200)
    assert found.xyxy()[0] == pytest.approx([40, 30, 160, 70], abs=2)


@pytest.mark.parametrize(
    ("offset", "crop", "message"),
    [
        ((3, 0), np.ones((2, 3), bool), "expected crops inside 5x4; got 3x2 at"),
        ((-1, 0), np.ones((2, 3), bool), "expected crops inside"),
        ((0, 0), np.ones((2, 3), np.uint8), r"expected \(h, w\) bool; got .* uint8"),
    ],
)
def test_crops_lie_inside(offset, crop, message):
    with pytest.raises(ValueError, match=message):
        Masks((4, 5), np.array([offset], np.int32), (crop,))


def test_codes_of_another_size_are_refused():
    code = Masks.from_full(np.ones((1, 3, 3), bool)).to_json(0)
    with pytest.raises(ValueError, match=r"expected size \[4, 5\]; got \[3, 3\]"):
        Masks.from_json([code], (4, 5))
    with pytest.raises(ValueError, match="expected runs of 9 pixels"):
        Masks.from_json([{**code, "counts": "07"}], (3, 3))
