"""What detections carry beside boxes: tracks, masks, keypoints, rotations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv import boxes
from edgecv.errors import UsageError
from edgecv.geometry import plan
from edgecv.masks import Masks
from edgecv.results.detections import Detections


def filled(n: int = 3) -> Detections:
    rng = np.random.default_rng(0)
    xywhr = np.stack(
        [
            rng.uniform(10, 30, n),
            rng.uniform(10, 30, n),
            rng.uniform(4, 9, n),
            rng.uniform(4, 9, n),
            rng.uniform(-1, 1, n),
        ],
        axis=1,
    ).astype(np.float32)
    full = np.zeros((n, 40, 40), bool)
    for i in range(n):
        full[i, 5 * i : 5 * i + 6, 3:9] = True
    return Detections(
        boxes.hull_of_rotated(xywhr),
        np.linspace(0.9, 0.5, n, dtype=np.float32),
        np.arange(n, dtype=np.int32),
        track_id=np.arange(1, n + 1, dtype=np.int32),
        masks=Masks.from_full(full),
        keypoints=rng.uniform(0, 40, (n, 4, 3)).astype(np.float32),
        xywhr=xywhr,
    )


def test_everything_is_picked_together():
    whole = filled()
    part = whole[[2, 0]]
    assert part.track_id.tolist() == [3, 1]
    assert part.instance_masks.offset_xy.tolist() == whole.instance_masks.offset_xy[[2, 0]].tolist()
    assert (part.keypoints == whole.keypoints[[2, 0]]).all()
    assert (part.xywhr == whole.xywhr[[2, 0]]).all()
    assert len(whole[np.zeros(3, bool)]) == 0


def test_json_keeps_everything():
    whole = filled()
    back = Detections.from_json(whole.to_json(()))
    assert back.track_id.tolist() == [1, 2, 3]
    difference = back.difference(whole)
    assert difference.score < 1e-6
    assert difference.box_px < 0.02
    assert difference.area == 0


def test_boxes_that_were_clipped_to_a_line_or_a_point_are_found_again():
    xyxy = np.array([[0, 0, 0, 421.823], [7, 9, 7, 9], [40, 3, 60, 8]], np.float32)
    thin = Detections(xyxy, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32))
    back = Detections.from_json(thin.to_json(()))
    assert back.difference(thin).unmatched == ()
    moved = xyxy.copy()
    moved[0, 1] = 3
    difference = thin.replace(xyxy=moved).difference(thin)
    assert difference.unmatched == pytest.approx((0.9, 0.9))
    assert Detections().difference(thin).unmatched == pytest.approx((0.9, 0.8, 0.7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"track_id": np.zeros(2, np.int32)}, r"track_id: expected shape \(3,\); got \(2,\)"),
        ({"xywhr": np.zeros((3, 4), np.float32)}, r"xywhr: expected shape \(3, 5\)"),
        ({"keypoints": np.zeros((3, 2, 2), np.float32)}, r"keypoints: expected shape \(3, K, 3\)"),
        ({"masks": Masks.empty((4, 4))}, "masks: expected 3; got 0"),
    ],
)
def test_arrays_are_parallel(change, message):
    with pytest.raises(ValueError, match=message):
        filled().replace(**change)


def test_masks_that_are_not_there_are_a_clear_error():
    with pytest.raises(UsageError, match="these detections have no masks"):
        _ = Detections().instance_masks


def test_differences_of_keypoints_rotations_and_masks_are_seen():
    whole = filled()
    points = whole.keypoints.copy()
    points[:, :, 2] = 0.9
    base = whole.replace(keypoints=points)
    moved = points.copy()
    moved[0, 0, 0] += 7
    found = base.replace(keypoints=moved).difference(base)
    assert found.box_px == pytest.approx(7, abs=1e-3)
    moved[0, 0, 2] = 0.1
    assert base.replace(keypoints=moved).difference(base).box_px == 0, "one side does not see it"
    assert whole.replace(keypoints=None).difference(whole).box_px == math.inf
    turned = whole.xywhr.copy()
    turned[0, 4] += 0.5
    assert whole.replace(xywhr=turned).difference(whole).box_px > 0.5
    assert whole.replace(masks=whole.masks[[1, 2, 0]]).difference(whole).area == 1


@given(st.floats(-3, 3), st.floats(1, 20), st.floats(1, 20), st.integers(1, 3))
def test_a_rectangle_told_another_way_is_the_same(angle, width, height, quarter):
    box = np.array([[30, 30, width, height, angle]], np.float32)
    sides = (height, width) if quarter % 2 else (width, height)
    other = np.array([[30, 30, *sides, angle + quarter * math.pi / 2]], np.float32)
    hull, one = boxes.hull_of_rotated(box), np.ones(1, np.float32)
    a = Detections(hull, one, np.zeros(1, np.int32), xywhr=box)
    assert a.replace(xywhr=other).difference(a).box_px < 1e-3


@given(
    st.tuples(st.integers(20, 900), st.integers(20, 900)),
    st.floats(-3, 3),
    st.sampled_from(["letterbox", "letterbox-topleft", "crop"]),
)
def test_oriented_boxes_come_back_to_the_source(source_hw, angle, resize):
    geometry = plan(source_hw, (320, 320), resize)
    box = np.array([[100, 120, 80, 30, angle]], np.float32)
    corners = boxes.corners_of_rotated(box)
    expected = geometry.points_to_source(corners)
    found = boxes.corners_of_rotated(geometry.rotated_to_source(box))
    # Rounding to whole pixels stretches a letterbox by less than one pixel in its shorter side.
    side = min(geometry.resized_hw)
    assert np.abs(found - expected).max() <= 100 / side / min(geometry.scale_xy) + 0.1


def test_stretching_keeps_the_centre_and_upright_boxes():
    geometry = plan((100, 400), (200, 200), "stretch")
    box = np.array([[50, 60, 20, 40, 0], [50, 60, 20, 40, math.pi / 2]], np.float32)
    found = geometry.rotated_to_source(box)
    assert found[:, :2].tolist() == [[100, 30], [100, 30]]
    hulls = boxes.hull_of_rotated(found)
    assert hulls[0] == pytest.approx([80, 20, 120, 40], abs=1e-3)
    assert hulls[1] == pytest.approx([60, 25, 140, 35], abs=1e-3)


@pytest.mark.parametrize("sides", [(80, 4), (4, 80)])
def test_stretching_keeps_the_direction_of_the_longer_side(sides):
    geometry = plan((100, 400), (200, 200), "stretch")
    box = np.array([[50, 60, *sides, 0.5]], np.float32)
    found = geometry.rotated_to_source(box)[0]
    # The middles of the two short sides, before and after.
    along = np.array([math.cos(0.5), math.sin(0.5)])
    along = along if sides[0] > sides[1] else along[::-1] * [-1, 1]
    ends = geometry.points_to_source(box[0, :2] + np.outer([-40, 40], along).astype(np.float32))
    expected = math.atan2(*(ends[1] - ends[0])[::-1])
    turned = found[4] if found[2] >= found[3] else found[4] + math.pi / 2
    assert math.remainder(turned - expected, math.pi) == pytest.approx(0, abs=1e-5)
    assert max(found[2:4]) == pytest.approx(np.linalg.norm(ends[1] - ends[0]), rel=1e-5)
