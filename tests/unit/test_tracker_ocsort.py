"""What makes it observation-centric: re-update, momentum and recovery, each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.results.detections import Detections
from edgecv.tracker import create_tracker
from tests.scenes import boxes_at, detections

WH = (40, 80)


def box(x: float, y: float = 100) -> Detections:
    return detections(boxes_at(np.array([[x, y]]), WH))


def test_who_stopped_while_hidden_is_found_where_it_was_seen() -> None:
    """The filter has run on; the last observation has not (recovery)."""
    ids = {}
    for name in ("ocsort", "bytetrack"):
        tracker = create_tracker(name)
        for k in range(20):
            tracker.update(box(100 + 8 * k), k / 25)
        for k in range(20, 32):
            tracker.update(Detections(), k / 25)
        ids[name] = int(tracker.update(box(100 + 8 * 19), 32 / 25).track_id[0])
    assert ids == {"ocsort": 1, "bytetrack": 0}


@pytest.mark.parametrize("missed", [1, 5, 12])
def test_the_way_while_hidden_is_made_good(missed: int) -> None:
    """It came back lower than expected: now it is as if it had been seen (re-update)."""
    hidden, seen = (create_tracker("ocsort", min_iou=0.01) for _ in range(2))
    for k in range(20):
        hidden.update(box(100), k / 25)
        seen.update(box(100), k / 25)
    for k in range(1, missed + 1):
        hidden.update(Detections(), (19 + k) / 25)
        seen.update(box(100, 100 + 30 * k / (missed + 1)), (19 + k) / 25)
    for tracker in (hidden, seen):
        assert tracker.update(box(100, 130), (20 + missed) / 25).track_id.tolist() == [1]
    one, other = hidden._tracks.motion, seen._tracks.motion
    assert one.velocity == pytest.approx(other.velocity, abs=1e-3)
    assert one.place == pytest.approx(other.place, abs=1e-3)
    assert one.var == pytest.approx(other.var, rel=1e-6)


def test_directions_are_compared_over_seconds() -> None:
    tracker = create_tracker("ocsort", momentum_s=0.1)
    for k in range(10):
        tracker.update(box(100 + 10 * k), k / 20)
    # Two frames before, it was 20 pixels to the left: ahead, up, back, and on the spot of then.
    there = boxes_at(np.array([[200, 100], [170, 80], [150, 100]], float), WH)
    turns = tracker._turns(np.array([0]), there.astype(np.float32))
    assert turns[0] == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_directions_to_the_left_are_a_circle_too() -> None:
    """Just above and just below of straight left are near each other, not 360 degrees apart."""
    tracker = create_tracker("ocsort", momentum_s=0.1)
    for k in range(10):
        tracker.update(box(300 - 10 * k, 100 - 0.1 * k), k / 20)
    turns = tracker._turns(np.array([0]), box(200, 100).xyxy)
    assert 0 < turns[0, 0] < 0.02


def test_a_track_that_was_seen_once_has_no_direction() -> None:
    tracker = create_tracker("ocsort")
    tracker.update(box(100), 0.0)
    turns = tracker._turns(np.array([0]), box(50).xyxy)
    assert turns.tolist() == [[0.0]]


@pytest.mark.parametrize(("weight", "expected"), [(0.0, [1, 0]), (0.2, [0, 1])])
def test_momentum_decides_between_two_that_overlap_alike(weight: float, expected: list) -> None:
    """One is a little nearer to the expected place, 200, but means that the object turned back."""
    wide = (200, 80)
    tracker = create_tracker("ocsort", momentum_weight=weight, momentum_s=0.04)
    for k in range(10):
        tracker.update(detections(boxes_at(np.array([[100.0 + 10 * k, 100]]), wide)), k / 25)
    pair = detections(boxes_at(np.array([[155.0, 100], [247, 100]]), wide))
    assert tracker.update(pair, 10 / 25).track_id.tolist() == expected


def test_low_scores_are_not_used() -> None:
    tracker = create_tracker("ocsort")
    assert tracker.min_score == 0.5
    tracker.update(box(100), 0.0)
    weak = detections(boxes_at(np.array([[100, 100]]), WH), 0.4)
    assert tracker.update(weak, 0.04).track_id.tolist() == [0]
