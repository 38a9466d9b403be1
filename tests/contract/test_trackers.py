"""Every tracker: rows kept, ids unique and lasting, time in seconds, nothing that grows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import EdgecvError, plugins
from edgecv.errors import DependencyMissingError, UsageError
from edgecv.masks import Masks
from edgecv.results.detections import Detections
from edgecv.tracker import create_tracker
from tests.scenes import Straight, boxes_at, detections, follow, frames, ids_of_each

NAMES = plugins.names("trackers")
each = pytest.mark.parametrize("name", NAMES)


@each
def test_options_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown option: expected one of .*max_lost_s"):
        create_tracker(name, max_age=3)
    with pytest.raises(UsageError, match="high_score: expected 0 to 1; got 2"):
        create_tracker(name, high_score=2)
    with pytest.raises(UsageError, match="max_lost_s: expected a number; got '1'"):
        create_tracker(name, max_lost_s="1")
    assert 0 <= create_tracker(name).min_score <= 1


@each
def test_a_missing_solver_is_said_before_the_first_frame(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecv import association

    association.solver.cache_clear()
    monkeypatch.setitem(sys.modules, "lap", None)
    with pytest.raises(DependencyMissingError) as caught:
        create_tracker(name)
    assert "edgecv[track]" in str(caught.value)
    association.solver.cache_clear()


@each
def test_nothing_for_ever(name: str) -> None:
    tracker = create_tracker(name)
    for k in range(300):
        found = tracker.update(Detections(), k / 25)
        assert found.track_id is not None
        assert found.track_id.shape == (0,)
        assert found.track_id.dtype == np.int32
    assert len(tracker.lost()) == 0


@each
def test_the_first_frame_gets_ids_and_later_ones_when_sure(name: str) -> None:
    tracker = create_tracker(name, confirm_hits=3)
    one, two = [0, 0, 20, 40], [100, 0, 120, 40]
    assert tracker.update(detections([one]), 0).track_id.tolist() == [1]
    seen = [tracker.update(detections([one, two]), k / 25).track_id.tolist() for k in (1, 2, 3)]
    assert seen == [[1, 0], [1, 0], [1, 2]]


@each
def test_everything_else_stays_as_it_was(name: str) -> None:
    full = np.zeros((2, 8, 10), bool)
    full[:, 2:5, 3:6] = True
    given = detections([[0, 0, 20, 40], [50, 0, 70, 40]], [0.05, 0.9], [3, 4]).replace(
        dropped=7,
        masks=Masks.from_full(full),
        keypoints=np.ones((2, 3, 3), np.float32),
        xywhr=np.array([[10, 20, 20, 40, 0], [60, 20, 20, 40, 0]], np.float32),
    )
    found = create_tracker(name).update(given, 0.0)
    assert found.track_id.tolist() == [0, 1]
    for field in ("xyxy", "score", "class_id", "keypoints", "xywhr", "dropped", "masks"):
        assert np.all(getattr(found, field) is getattr(given, field)), field


@each
def test_objects_that_cross_keep_their_ids(name: str) -> None:
    scene = Straight([[50, 100], [450, 130]], [[100, 0], [-100, 0]], (40, 80), jitter=1)
    assert ids_of_each(follow(create_tracker(name), scene, frames(4))) == [{1}, {2}]


@each
def test_an_object_that_is_hidden_is_found_again(name: str) -> None:
    scene = Straight([[50, 100], [600, 300]], [[120, 0], [0, 0]], (40, 80), jitter=0.5)
    tracker = create_tracker(name)

    def visible(t: float) -> list[bool]:
        return [not 1.5 < t < 2.2, True]

    lost_at = []
    rows = []
    for t, ids in follow(tracker, scene, frames(4), visible):
        rows.append((t, ids))
        lost = tracker.lost()
        if len(lost):
            assert lost.track_id.tolist() == [1]
            lost_at.append((t, float(lost.xyxy[0, 0])))
    assert ids_of_each(rows) == [{1}, {2}]
    # It was expected where it really was.
    for t, left in lost_at:
        assert left == pytest.approx(50 + 120 * t - 20, abs=10)
    assert len(lost_at) == 17


@each
def test_an_object_that_is_gone_for_too_long_is_another(name: str) -> None:
    scene = Straight([[50, 100]], [[0, 0]], (40, 80))
    tracker = create_tracker(name, max_lost_s=1.0)
    rows = follow(tracker, scene, frames(4), lambda t: [not 1 < t < 2.5])
    assert ids_of_each(rows) == [{1, 2}]


@each
@pytest.mark.parametrize("seed", range(5))
def test_every_id_survives_a_third_of_the_frames_dropped(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    n = 12
    # Rows of traffic in two directions, as seen from above, with some overlap.
    start = np.stack([random.uniform(0, 300, n), 60.0 * np.arange(n)], axis=1)
    velocity = np.stack([random.uniform(60, 200, n) * random.choice([-1, 1], n), np.zeros(n)], 1)
    scene = Straight(start, velocity, (60, 70), jitter=1.5, seed=seed)
    rows = list(follow(create_tracker(name), scene, frames(6, drop=0.3, seed=seed)))
    assert len(rows) < 125
    assert ids_of_each(rows) == [{int(i)} for i in rows[0][1]]
    assert len(set(rows[0][1].tolist())) == n


@each
@pytest.mark.parametrize("seed", range(3))
def test_a_queue_moves_on_by_more_than_its_gaps(name: str, seed: int) -> None:
    """Counting frames instead of seconds would give everybody the id of who goes before."""
    scene = Straight([[-60.0 * k, 100] for k in range(8)], [[250, 0]] * 8, (40, 80), jitter=0.5)
    first = [k / 25 for k in range(10)]  # long enough to see how fast they are
    rest = [t for t in frames(6, drop=0.5, seed=seed) if t > first[-1]]
    assert np.diff(rest).max() * 250 > 60
    ids = ids_of_each(follow(create_tracker(name), scene, first + rest))
    assert ids == [{next(iter(found))} for found in ids]
    assert len(set.union(*ids)) == 8


@each
@pytest.mark.parametrize("fps", [2, 5, 120])
def test_time_is_in_seconds_whatever_the_frame_rate(name: str, fps: float) -> None:
    scene = Straight([[50, 100], [450, 240]], [[40, 0], [-40, 0]], (60, 90), jitter=0.5)
    rows = follow(create_tracker(name), scene, frames(5, fps=fps))
    assert ids_of_each(rows) == [{1}, {2}]


@each
def test_who_stands_still_is_kept_by_a_look_now_and_then(name: str) -> None:
    """A motion gate lets a frame through every five seconds."""
    scene = Straight([[50, 100], [300, 100]], [[0, 0], [0, 0]], (40, 80), jitter=0.5)
    times = frames(2) + [2 + 5.04 * k for k in range(1, 10)]
    assert ids_of_each(follow(create_tracker(name), scene, times)) == [{1}, {2}]


@each
def test_objects_come_and_go(name: str) -> None:
    tracker = create_tracker(name)
    starts = np.arange(10) * 1.0
    scene = Straight([[-100 * s, 100] for s in starts], [[100, 0]] * 10, (40, 80))

    def visible(t: float) -> list[bool]:
        x = 100 * (t - starts)
        return [0 <= left <= 350 for left in x]

    ids = ids_of_each(follow(tracker, scene, frames(14), visible))
    assert [len(found) for found in ids] == [1] * 10
    assert sorted(i for found in ids for i in found) == list(range(1, 11))


@each
def test_an_id_keeps_its_class(name: str) -> None:
    box = [[0, 0, 40, 80]]
    classes = [0] * 10 + [1] + [0] * 10
    for across, expected in ((False, [0]), (True, [1])):
        tracker = create_tracker(name, across_classes=across)
        ids = [
            int(tracker.update(detections(box, class_id=c), k / 25).track_id[0])
            for k, c in enumerate(classes)
        ]
        assert ids[:10] == ids[11:] == [1] * 10
        assert ids[10:11] == expected


@each
def test_embeddings_tell_apart_what_motion_cannot(name: str) -> None:
    """Two objects meet, stay together unseen, and one turns back: only looks tell which."""
    looks = np.array([[1, 0, 0], [0, 1, 0]], np.float32)

    def run(vectors: np.ndarray | None) -> list[list[int]]:
        tracker = create_tracker(name)
        out = []
        for k in range(60):
            # They bounce off each other at frame 30, while one hides the other.
            gap = abs(30 - k) * 2 + 4
            boxes = boxes_at(np.array([[300 - gap, 100], [300 + gap, 100]]), (40, 80))
            if 24 <= k <= 36:
                out.append([])
                tracker.update(Detections(), k / 25)
                continue
            ids = tracker.update(detections(boxes), k / 25, vectors).track_id.tolist()
            out.append(ids)
        return out

    plain, helped = run(None), run(looks)
    assert plain[0] == helped[0]
    assert helped[-1] == helped[0]
    assert plain[-1] != plain[0], "the scene is too easy to need embeddings"


@each
def test_embeddings_that_do_not_fit_are_an_error(name: str) -> None:
    tracker, box = create_tracker(name), detections([[0, 0, 9, 9]])
    with pytest.raises(UsageError, match=r"embeddings: expected shape \(1, D\); got \(2, 4\)"):
        tracker.update(box, 0.0, np.ones((2, 4), np.float32))
    with pytest.raises(UsageError, match="without a direction"):
        tracker.update(box, 0.0, np.zeros((1, 4), np.float32))
    assert tracker.update(box, 0.0, np.ones((1, 4), np.float32)).track_id.tolist() == [1]
    assert tracker.update(Detections(), 0.1, np.zeros((0, 4), np.float32)).track_id.tolist() == []
    with pytest.raises(UsageError, match="expected 4 numbers each; got 5"):
        tracker.update(box, 0.2, np.ones((1, 5), np.float32))
    assert tracker.update(box, 0.1, np.ones((1, 4), np.float32)).track_id.tolist() == [1]


@each
def test_time_that_goes_backwards_is_an_error_until_reset(name: str) -> None:
    tracker, box = create_tracker(name), detections([[0, 0, 40, 80]])
    assert tracker.update(box, 5.0).track_id.tolist() == [1]
    with pytest.raises(UsageError, match=r"timestamp_s: .*expected 5 or later; got 1"):
        tracker.update(box, 1.0)
    with pytest.raises(UsageError, match="a finite number"):
        tracker.update(box, float("nan"))
    assert tracker.update(box, 5.0).track_id.tolist() == [1], "the same moment again"
    tracker.reset()
    assert tracker.update(box, 1.0).track_id.tolist() == [2], "ids are never given twice"


@each
def test_a_long_silence_ends_all_tracks(name: str) -> None:
    tracker, box = create_tracker(name, confirm_hits=1), detections([[0, 0, 40, 80]])
    assert tracker.update(box, 0.0).track_id.tolist() == [1]
    assert tracker.update(box, 4.0).track_id.tolist() == [1], "one slow frame is no reason"
    assert tracker.update(box, 3600.0).track_id.tolist() == [2]


@each
def test_memory_is_bounded(name: str) -> None:
    """Every frame shows 100 other objects; the camera sees them once more at most."""
    tracker = create_tracker(name, confirm_hits=1, max_lost_s=1e6, max_tracks=1000)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2) * 100.0
    for k in range(40):
        found = tracker.update(detections(boxes_at(grid + 1e4 * k, (40, 80))), k / 25)
        assert found.track_id.tolist() == list(range(100 * k + 1, 100 * k + 101))
    assert len(tracker.lost()) == 900
    kept = set(tracker.lost().track_id.tolist())
    assert kept == set(range(3001 - 0, 3901)), "those unseen for longest go first"
    crowd = boxes_at(np.arange(1200)[:, None] * (100.0, 0) - (1e6, 0), (40, 80))
    found = tracker.update(detections(crowd), 2.0)
    assert (found.track_id > 0).sum() == 1000
    assert len(tracker.lost()) == 0


box = st.tuples(st.floats(0, 400), st.floats(0, 400), st.floats(5, 150), st.floats(5, 150)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
row = st.tuples(box, st.floats(0.0, 1.0, width=32), st.integers(0, 2))
film = st.lists(st.lists(row, max_size=8), min_size=1, max_size=8)


def _frame(rows: list) -> Detections:
    return detections(
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.array([r[1] for r in rows], np.float32),
        np.array([r[2] for r in rows], np.int32),
    )


@each
@settings(max_examples=60, deadline=None)
@given(film=film, steps=st.lists(st.floats(0, 3), min_size=8, max_size=8))
def test_ids_are_unique_and_rows_stay(name: str, film: list, steps: list[float]) -> None:
    tracker, t = create_tracker(name), 0.0
    class_of: dict[int, int] = {}
    for rows, step in zip(film, steps, strict=False):
        given = _frame(rows)
        found = tracker.update(given, t)
        t += step
        assert np.array_equal(found.xyxy, given.xyxy)
        ids = found.track_id[found.track_id > 0].tolist()
        assert len(ids) == len(set(ids))
        lost = tracker.lost()
        assert not set(ids) & set(lost.track_id.tolist())
        assert np.isfinite(lost.xyxy).all()
        for id, class_id in zip(found.track_id.tolist(), given.class_id.tolist(), strict=True):
            if id:
                assert class_of.setdefault(id, class_id) == class_id


@each
@settings(max_examples=40, deadline=None)
@given(film=film, seed=st.integers(0, 1000))
def test_the_order_of_detections_does_not_matter(name: str, film: list, seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = create_tracker(name), create_tracker(name)
    for k, rows in enumerate(film):
        # Boxes that are exactly alike have no order of their own.
        frame = _frame([(tuple(np.add(r[0], random.random(4))), *r[1:]) for r in rows])
        order = random.permutation(len(frame))
        straight = one.update(frame, k / 10).track_id
        mixed = other.update(frame[order], k / 10).track_id
        assert mixed.tolist() == straight[order].tolist()


@each
@settings(max_examples=40, deadline=None)
@given(film=film, power=st.integers(-4, 6))
def test_the_scale_of_the_image_does_not_matter(name: str, film: list, power: int) -> None:
    one, other = create_tracker(name), create_tracker(name)
    for k, rows in enumerate(film):
        frame = _frame(rows)
        larger = frame.replace(xyxy=frame.xyxy * np.float32(2.0**power))
        assert (
            one.update(frame, k / 10).track_id.tolist()
            == other.update(larger, k / 10).track_id.tolist()
        )


@each
def test_it_is_documented(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/tracking.md").read_text()
    assert f"| `{name}` |" in page
    for option in plugins.load("trackers", name).Options.record_fields:
        assert f"`{option}`" in page, option


def test_an_unknown_tracker_lists_those_that_exist() -> None:
    with pytest.raises(EdgecvError, match="bytetrack"):
        create_tracker("nope")
