"""What makes it ByteTrack: boxes of low score keep tracks, and begin none."""

from __future__ import annotations

import numpy as np

from edgecv.motchallenge import Boxes
from edgecv.results.detections import Detections
from edgecv.track_scores import count
from edgecv.tracker import create_tracker
from tests.scenes import Straight, detections, frames

BOX = [[0, 0, 40, 80]]


def test_a_low_score_keeps_a_track() -> None:
    tracker = create_tracker("bytetrack")
    ids = [
        int(tracker.update(detections(BOX, score), k / 25).track_id[0])
        for k, score in enumerate([0.9, 0.2, 0.15, 0.1, 0.09, 0.2, 0.9])
    ]
    # Below low_score it is not seen, and a lost track is not found again by an unsure box.
    assert ids == [1, 1, 1, 1, 0, 0, 1]


def test_a_low_score_begins_no_track() -> None:
    tracker = create_tracker("bytetrack")
    for k, score in enumerate([0.4] * 5 + [0.55] * 5):
        assert tracker.update(detections(BOX, score), k / 25).track_id.tolist() == [0]
    assert tracker.update(detections(BOX, 0.6), 1.0).track_id.tolist() == [0]
    assert tracker.update(detections(BOX, 0.6), 1.1).track_id.tolist() == [1]


def test_a_low_box_must_fit_better() -> None:
    tracker = create_tracker("bytetrack")
    tracker.update(detections(BOX), 0.0)
    aside = [[16, 0, 56, 80]]  # IoU 24 / 56 = 0.43
    assert tracker.update(detections(aside, 0.3), 0.04).track_id.tolist() == [0]
    assert tracker.update(detections(aside, 0.9), 0.08).track_id.tolist() == [1]


def test_a_sure_box_goes_first() -> None:
    tracker = create_tracker("bytetrack")
    tracker.update(detections(BOX), 0.0)
    both = detections([[1, 0, 41, 80], [8, 0, 48, 80]], [0.3, 0.9])
    assert tracker.update(both, 0.04).track_id.tolist() == [0, 1]


def test_the_model_is_to_let_low_scores_through() -> None:
    assert create_tracker("bytetrack").min_score == 0.1
    assert create_tracker("bytetrack", low_score=0.5).min_score == 0.5
    assert create_tracker("bytetrack", low_score=0.9).min_score == 0.5


def test_it_beats_its_own_first_round_alone() -> None:
    """Objects pass behind each other; hidden ones score low. SORT has no second round."""
    truth, found = [], {"byte": [], "sort": []}
    for seed in range(4):
        random = np.random.default_rng(seed)
        n, base = 10, seed * 1000
        start = np.stack([random.uniform(0, 600, n), 20.0 * np.arange(n)], axis=1)
        velocity = np.stack(
            [random.uniform(30, 150, n) * random.choice([-1, 1], n), np.zeros(n)], 1
        )
        scene = Straight(start, velocity, (50, 110), jitter=2, seed=seed)
        trackers = {
            "byte": create_tracker("bytetrack"),
            "sort": create_tracker("bytetrack", low_score=0.5),
        }
        for frame, t in enumerate(frames(8), 1):
            boxes = scene(t)
            # What lies lower in the picture is nearer, and hides what is behind.
            hidden = np.zeros(n)
            for i in range(n):
                for j in range(i + 1, n):
                    size = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(
                        boxes[i, :2], boxes[j, :2]
                    )
                    share = size.clip(0).prod() / (50 * 110)
                    hidden[i] = max(hidden[i], share)
            score = np.clip(0.95 - 0.85 * hidden + random.normal(0, 0.05, n), 0.01, 0.99)
            truth += [(base + frame, base + i, *boxes[i]) for i in range(n)]
            for name, tracker in trackers.items():
                ids = tracker.update(detections(boxes, score), t).track_id
                found[name] += [
                    (base + frame, base + int(id), *box)
                    for id, box in zip(ids, boxes, strict=True)
                    if id
                ]
    metrics = {name: count(_boxes(truth), _boxes(rows)).metrics() for name, rows in found.items()}
    byte, sort = metrics["byte"], metrics["sort"]
    for name in ("mota", "idf1", "hota", "recall"):
        assert byte[name] > sort[name] + 0.02, (name, byte, sort)
    assert byte["idsw"] <= sort["idsw"]


def _boxes(rows: list) -> Boxes:
    table = np.array(rows)
    return Boxes.of(table[:, 0], table[:, 1], table[:, 2:])


def test_detections_may_be_none_at_any_time() -> None:
    tracker = create_tracker("bytetrack")
    tracker.update(detections(BOX), 0.0)
    tracker.update(Detections(), 0.1)
    assert tracker.lost().track_id.tolist() == [1]
    assert tracker.update(detections(BOX), 0.2).track_id.tolist() == [1]
