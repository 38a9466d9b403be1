"""Zones: who is inside, entries and exits, dwell; the file that describes them; the drawing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgecv.drawing import color_of
from edgecv.errors import UsageError
from edgecv.lines import Lines
from edgecv.results.detections import Detections
from edgecv.zone_config import LineSpec, ZoneConfig, ZoneSpec
from edgecv.zone_drawing import draw_zones
from edgecv.zones import ZoneCount, ZoneEvent, Zones, contains
from tests.scenes import detections

SQUARE = ((100.0, 100.0), (200.0, 100.0), (200.0, 200.0), (100.0, 200.0))


def at(x: float, y: float, track: int | None = 1, class_id: int = 0) -> Detections:
    """One detection whose bottom centre is at x, y."""
    found = detections([[x - 10, y - 40, x + 10, y]], class_id=class_id)
    return found if track is None else found.replace(track_id=np.array([track], np.int32))


def square(**fields) -> Zones:
    return Zones([ZoneSpec(**{"name": "a", "points": SQUARE, **fields})])


def test_a_visit() -> None:
    zones = square(grace_s=0.5)
    assert zones.update(at(50, 150), 0.0) == ()
    assert zones.update(at(110, 150), 1.0) == (ZoneEvent("entry", "a", 1, 0, 1.0),)
    assert zones.update(at(190, 150), 3.5) == ()
    assert zones.counts["a"] == ZoneCount(1, 1, 0)
    assert zones.dwell_s("a") == {1: 2.5}
    assert zones.update(at(250, 150), 3.9) == ()
    assert zones.counts["a"] == ZoneCount(0, 1, 0)
    assert zones.update(at(250, 150), 4.1) == (ZoneEvent("exit", "a", 1, 0, 3.5, 2.5),)
    assert zones.counts["a"] == ZoneCount(0, 1, 1)
    assert zones.dwell_s("a") == {}
    assert zones.to_json() == {"a": {"occupancy": 0, "entries": 1, "exits": 1}}


def test_trembling_at_the_border_is_one_visit() -> None:
    zones = square(grace_s=0.5)
    random = np.random.default_rng(0)
    for k in range(200):
        zones.update(at(200 + random.normal(0, 3), 150), k / 25)
    assert zones.counts["a"].entries == 1
    assert zones.counts["a"].exits == 0


def test_who_vanishes_inside_has_left() -> None:
    zones = square(grace_s=1)
    zones.update(at(150, 150), 0.0)
    assert zones.update(Detections(track_id=np.zeros(0, np.int32)), 1.0) == ()
    (event,) = zones.update(Detections(track_id=np.zeros(0, np.int32)), 1.5)
    assert (event.kind, event.timestamp_s, event.dwell_s) == ("exit", 0.0, 0.0)


def test_a_gap_longer_than_the_grace_makes_two_visits() -> None:
    zones = square(grace_s=1)
    zones.update(at(150, 150), 0.0)
    zones.update(at(250, 150), 0.9)
    kinds = [event.kind for event in zones.update(at(150, 150), 1.5)]
    assert kinds == ["exit", "entry"]


def test_a_slow_camera_sees_one_visit() -> None:
    zones = square(grace_s=1)
    for k in range(10):
        zones.update(at(150, 150), k * 3.0)
    assert zones.counts["a"] == ZoneCount(1, 1, 0)
    assert zones.dwell_s("a") == {1: 27.0}


def test_without_ids_only_the_occupancy_is_known() -> None:
    zones = square()
    assert zones.update(at(150, 150, None), 0.0) == ()
    assert zones.counts["a"] == ZoneCount(1, 0, 0)
    with pytest.raises(UsageError, match=r"detections\.track_id: dwell time needs"):
        zones.dwell_s("a")
    # What is not followed yet is present, and has not entered.
    assert zones.update(at(150, 150, 0), 0.1) == ()
    assert zones.counts["a"] == ZoneCount(1, 0, 0)


def test_classes_anchors_and_fractions() -> None:
    zones = square(class_ids=(2,))
    zones.update(at(150, 150, class_id=1), 0.0)
    assert zones.counts["a"].occupancy == 0
    zones.update(at(150, 150, class_id=2), 0.1)
    assert zones.counts["a"].occupancy == 1
    box = detections([[90, 60, 210, 120]])
    inside = {
        "bottom_center": 1, "center": 0, "top_center": 0, "bottom_left": 0, "bottom_right": 0,
        "top_left": 0, "top_right": 0, "center_left": 0, "center_right": 0,
    }  # fmt: skip
    for anchor, expected in inside.items():
        zones = square(anchor=anchor)
        zones.update(box, 0.0)
        assert zones.counts["a"].occupancy == expected, anchor
    spec = ZoneSpec(name="a", points=((0, 0), (0.5, 0), (0.5, 1), (0, 1)), units="fractions")
    zones = Zones([spec], (100, 400))
    assert next(iter(zones.polygons.values())).tolist() == [[0, 0], [200, 0], [200, 100], [0, 100]]
    with pytest.raises(UsageError, match="size_hw"):
        Zones([spec])


def test_time_and_reset() -> None:
    zones = square()
    zones.update(at(150, 150), 5.0)
    with pytest.raises(UsageError, match="goes backwards"):
        zones.update(at(150, 150), 4.0)
    zones.reset()
    zones.update(at(150, 150, 2), 1.0)
    assert zones.counts["a"] == ZoneCount(1, 2, 0)
    assert zones.update(Detections(), 1.5) == ()


def test_nobody_stays_in_memory() -> None:
    zones = square()
    for track in range(1, 500):
        zones.update(at(150, 150, track), track * 1.0)
    assert len(zones.dwell_s("a")) <= 2
    assert zones.counts["a"].entries == 499


corner = st.tuples(st.integers(0, 100), st.integers(0, 100))


@settings(deadline=None)
@given(
    polygon=st.lists(corner, min_size=3, max_size=8),
    points=st.lists(st.tuples(st.floats(-10, 110), st.floats(-10, 110)), min_size=1, max_size=8),
)
def test_contains_against_winding_of_angles(polygon: list, points: list) -> None:
    """Off the border, inside means that the sides turn around the point an odd number of times.

    The turns of each side as an angle are another method than crossing a ray.
    """
    corners = np.array(polygon, float)
    here = np.array(points)
    a, b = corners, np.roll(corners, -1, axis=0)
    expected = []
    for p in here:
        near = [_distance(p, u, v) for u, v in zip(a, b, strict=True)]
        assume(min(near) > 1e-3)
        angle = np.arctan2(*(b - p).T[::-1]) - np.arctan2(*(a - p).T[::-1])
        turns = ((angle + np.pi) % (2 * np.pi) - np.pi).sum() / (2 * np.pi)
        expected.append(round(turns) % 2 == 1)
    assert contains(corners, here).tolist() == expected
    # OpenCV knows simple polygons alone.
    hull = cv2.convexHull(corners.astype(np.float32))
    if len(hull) >= 3:
        for p, inside in zip(here, contains(hull[:, 0].astype(float), here), strict=True):
            distance = cv2.pointPolygonTest(hull, (float(p[0]), float(p[1])), True)
            if abs(distance) > 1e-3:
                assert inside == (distance > 0)


def _distance(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    way = b - a
    length = float(way @ way)
    t = 0.0 if length == 0 else float(np.clip((p - a) @ way / length, 0, 1))
    return float(np.hypot(*(p - a - t * way)))


def test_neighbours_share_no_point_and_lose_none() -> None:
    left = np.array([[0, 0], [5, 0], [5, 10], [0, 10]], float)
    points = np.stack(np.meshgrid(np.arange(0, 10), np.arange(0, 10)), -1).reshape(-1, 2) * 1.0
    inside = contains(left, points).astype(int) + contains(left + np.array([5, 0]), points)
    assert (inside == 1).all()


CONFIG = {
    "version": 1,
    "zones": [{"name": "door", "points": [[0, 0], [100, 0], [50, 80.5]], "grace_s": 2}],
    "lines": [{"name": "gate", "start": [0.1, 0.5], "end": [0.9, 0.5], "units": "fractions"}],
}


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "zones.json"
    path.write_text(json.dumps(CONFIG))
    config = ZoneConfig.read(path)
    assert config.zones[0].points == ((0, 0), (100, 0), (50, 80.5))
    assert config.lines[0].anchor == "bottom_center"
    assert ZoneConfig.parse(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UsageError, match="cannot be read"):
        ZoneConfig.read(tmp_path / "nope.json")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": 2}, r"version: expected 1"),
        ({"zone": []}, r"zone: unknown field"),
        ({"zones": [{"name": "a"}]}, r"zones\[0\]\.points: missing field"),
        ({"zones": [{"name": "a", "points": [[0, 0], [1, 1]]}]}, r"zones\[0\]\.points: expected"),
        ({"zones": [{"name": "a", "points": [[0, 0], [1, 0], [5, 0]]}]}, "without area"),
        ({"zones": [{"name": "", "points": SQUARE}]}, r"zones\[0\]\.name"),
        ({"zones": [{"name": "a", "points": SQUARE}] * 2}, r"zones: a name occurs twice.*'a'"),
        ({"zones": [{"name": "a", "points": SQUARE, "anchor": "feet"}]}, r"anchor: expected one"),
        ({"zones": [{"name": "a", "points": SQUARE, "units": "fractions"}]}, "0 to 1"),
        ({"lines": [{"name": "a", "start": [1, 1], "end": [1, 1]}]}, r"lines\[0\]: start and end"),
        ({"lines": [{"name": "a", "start": [1, 1], "end": [1, 2], "margin": -1}]}, "margin"),
    ],
)
def test_a_fault_is_named(change: dict, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        ZoneConfig.parse(json.loads(json.dumps({**CONFIG, **change})), "zones.json")


def test_drawing_shows_zones_lines_and_counts() -> None:
    config = ZoneConfig.parse(CONFIG)
    image = np.full((200, 300, 3), 128, np.uint8)
    zones, lines = Zones(config.zones, (200, 300)), Lines(config.lines, (200, 300))
    before = draw_zones(image, zones, lines)
    assert before.shape == image.shape
    assert (image == 128).all(), "the image itself is not drawn on"
    assert (before[30, 50] != 128).any(), "the zone is tinted"
    assert (before[100, 40] != 128).any(), "the line is drawn"
    assert (before[190, 290] == 128).all()
    zones.update(at(50, 30), 0.0)
    assert not np.array_equal(draw_zones(image, zones, lines), before), "the counts are shown"
    assert np.array_equal(draw_zones(image), image)


def test_line_spec_is_a_record() -> None:
    spec = LineSpec(name="a", start=(0, 0), end=(1, 0))
    assert spec.replace(margin=0.2).margin == 0.2


def test_the_count_of_a_zone_stands_in_its_lower_left_corner() -> None:
    zone = {"name": "a", "points": [[100, 40], [240, 40], [280, 180], [60, 180]]}
    zones = Zones(ZoneConfig.parse({"zones": [zone]}).zones)
    drawn = draw_zones(np.full((200, 300, 3), 128, np.uint8), zones)
    plate = (drawn == color_of(4)).all(axis=2)
    assert plate[168:178, 60:120].mean() > 0.4
    assert plate[25:38].sum() == 0, "nothing stands on the upper edge, where heads are"
