"""Instance masks of the YOLO family: which rows, which prototypes, and masks at source pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgecv.errors import HeadError
from edgecv.geometry import Geometry, plan
from edgecv.heads import yolo_seg
from edgecv.soft_masks import SoftMasks

K = 4


def options(**more):
    return yolo_seg.Options(**{"input_hw": (64, 128), "confidence": 0.5, "coefficients": K, **more})


def prototypes():
    """The left half, the right half, the upper half, everything."""
    maps = np.full((1, K, 16, 32), -1, np.float32)
    maps[0, 0, :, :16] = maps[0, 1, :, 16:] = maps[0, 2, :8] = maps[0, 3] = 1
    return maps


def rows():
    """Two classes, 40 anchors: one box twice, and another."""
    out = np.zeros((1, 6 + K, 40), np.float32)
    out[0, 0] = np.linspace(4, 124, 40)
    out[0, :6, 1], out[0, 6:, 1] = (64, 32, 80, 40, 0.9, 0.2), (1, 0, 0, 0)
    out[0, :6, 2], out[0, 6:, 2] = (65, 32, 80, 40, 0.8, 0.2), (0, 1, 0, 0)
    out[0, :6, 3], out[0, 6:, 3] = (20, 32, 16, 60, 0.1, 0.7), (0, 0, 1, 0)
    return out


SAME = Geometry((64, 128), (64, 128), (64, 128))


def check(found):
    np.testing.assert_allclose(found.score, [0.9, 0.7])
    assert found.class_id.tolist() == [0, 1]
    np.testing.assert_allclose(found.xyxy, [[24, 12, 104, 52], [12, 2, 28, 62]], atol=1e-4)
    masks = found.to_source(SAME).instance_masks
    expected = np.zeros((2, 64, 128), bool)
    expected[0, 12:52, 24:64] = True
    expected[1, 2:32, 12:28] = True
    assert (masks.full(0) == expected[0]).all()
    assert (masks.full(1) == expected[1]).all()


def test_golden_in_every_layout():
    maps = prototypes()
    check(yolo_seg.decode({"a": rows(), "b": maps}, options()))
    check(yolo_seg.decode({"b": maps, "a": rows()}, options(num_classes=2)))
    last = np.ascontiguousarray(maps.transpose(0, 2, 3, 1))
    transposed = np.ascontiguousarray(rows().transpose(0, 2, 1))
    check(yolo_seg.decode({"b": last, "a": transposed}, options(layout="anchor-free")))
    fractions = rows()
    fractions[0, 0:4:2] /= 128
    fractions[0, 1:4:2] /= 64
    check(yolo_seg.decode({"a": fractions, "b": maps}, options()))


def test_finished_rows():
    out = np.zeros((1, 5, 6 + K), np.float32)
    out[0, 0] = 24, 12, 104, 52, 0.9, 0, 1, 0, 0, 0
    out[0, 1] = 12, 2, 28, 62, 0.7, 1, 0, 0, 1, 0
    check(yolo_seg.decode({"a": out, "b": prototypes()}, options()))


def test_rows_with_objectness():
    cells = 8 * 16 + 4 * 8 + 2 * 4
    out = np.zeros((1, 3 * cells, 7 + K), np.float32)
    out[0, :, 0] = np.linspace(4, 124, 3 * cells)
    out[0, 1] = 64, 32, 80, 40, 0.9, 1, 0.2, 1, 0, 0, 0
    out[0, 2] = 65, 32, 80, 40, 0.8, 1, 0.2, 0, 1, 0, 0
    out[0, 3] = 20, 32, 16, 60, 1, 0.1, 0.7, 0, 0, 1, 0
    check(yolo_seg.decode({"a": out, "b": prototypes()}, options()))


def test_nothing_found():
    found = yolo_seg.decode({"a": rows() * 0, "b": prototypes()}, options())
    assert len(found) == len(found.masks) == 0
    assert len(found.to_source(SAME).instance_masks) == 0


def test_masks_that_are_not_finite_are_empty():
    out = rows()
    out[0, 6:, 1] = np.nan
    found = yolo_seg.decode({"a": out, "b": prototypes()}, options())
    assert found.to_source(SAME).instance_masks.area().tolist() == [0, 30 * 16]


def test_what_does_not_fit_is_refused():
    maps = prototypes()
    for outputs, more in (
        ({"a": rows()}, {}),
        ({"a": rows(), "b": rows()}, {}),
        ({"a": rows(), "b": maps[:, :3]}, {}),
        ({"a": rows(), "b": maps[..., :31]}, {}),
        ({"a": rows(), "b": maps}, {"prototypes_last": True}),
        ({"a": rows(), "b": maps}, {"num_classes": 3}),
        ({"a": rows(), "b": maps}, {"coefficients": 5}),
        ({"a": rows(), "b": maps}, {"input_hw": (0, 0)}),
        ({"a": rows()[:, :8], "b": maps}, {}),
        ({"a": rows(), "b": maps}, {"layout": "end2end"}),
    ):
        with pytest.raises(HeadError, match="wrong output shape"):
            yolo_seg.decode(outputs, options(**more))


def slow_mask(logits, box, geometry):
    """Interpolate the whole map at the centre of every source pixel, one by one."""
    height, width = geometry.source_hw
    (h, w), (sx, sy) = logits.shape, geometry.scale_xy
    in_h, in_w = geometry.input_hw
    seen = np.clip(box, 0, [in_w, in_h, in_w, in_h]).astype(np.float32)
    x1, y1, x2, y2 = geometry.boxes_to_source(seen[None])[0]
    out = np.zeros((height, width))
    for j in range(height):
        for i in range(width):
            if not (x1 <= i + 0.5 < x2 and y1 <= j + 0.5 < y2):
                continue
            x = ((i + 0.5) * sx + geometry.offset_xy[0]) * w / geometry.input_hw[1] - 0.5
            y = ((j + 0.5) * sy + geometry.offset_xy[1]) * h / geometry.input_hw[0] - 0.5
            x, y = min(max(x, 0), w - 1), min(max(y, 0), h - 1)
            c, r = min(int(x), w - 2), min(int(y), h - 2)
            fx, fy = x - c, y - r
            top = logits[r, c] * (1 - fx) + logits[r, c + 1] * fx
            low = logits[r + 1, c] * (1 - fx) + logits[r + 1, c + 1] * fx
            out[j, i] = top * (1 - fy) + low * fy
    return out


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(40, 50), (33, 71), (90, 20), (16, 16), (7, 5)]),
    st.sampled_from(["letterbox", "stretch", "crop"]),
)
def test_masks_are_those_of_a_whole_map_interpolated(seed, source_hw, resize):
    rng = np.random.default_rng(seed)
    geometry = plan(source_hw, (32, 64), resize)
    maps = rng.normal(size=(3, 8, 16)).astype(np.float32)
    coefficients = rng.normal(size=(2, 3)).astype(np.float32)
    low = rng.uniform(-5, 40, (2, 2))
    box = np.concatenate([low, low + rng.uniform(1, 40, (2, 2))], axis=1).astype(np.float32)
    # No edge of a box meets the centre of a pixel, where rounding would decide.
    edges = geometry.boxes_to_source(np.clip(box, 0, [64, 32, 64, 32]).astype(np.float32))
    assume((np.abs(edges % 1 - 0.5) > 1e-3).all())
    soft = SoftMasks.from_prototypes(coefficients, maps, box, (32, 64))
    assert len(soft[[1]]) == len(soft[np.array([True, False])]) == 1
    masks = soft.to_source(geometry)
    for n in range(2):
        logits = np.tensordot(coefficients[n], maps, 1)
        expected = slow_mask(logits, box[n], geometry)
        # OpenCV places samples to 1/32 of a cell, so what is close to 0 may fall to either side.
        sure = np.abs(expected) > 0.12
        assert (masks.full(n) == (expected > 0))[sure].all()
        assert not masks.full(n)[expected == 0].any()


def test_one_full_map_at_a_time_gives_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 8, 16)).astype(np.float32)
    coefficients = rng.normal(size=(9, 3)).astype(np.float32)
    box = np.tile(np.array([[3, 4, 50, 30]], np.float32), (9, 1))
    whole = SoftMasks.from_prototypes(coefficients, maps, box, (32, 64))
    monkeypatch.setattr("edgecv.soft_masks._BLOCK_VALUES", 2 * 8 * 16)
    parts = SoftMasks.from_prototypes(coefficients, maps, box, (32, 64))
    for a, b in zip(whole.crops, parts.crops, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    # A crop holds its own cells, not the map that it was cut out of.
    assert all(crop.base is None for crop in whole.crops)
