"""Lines: every real crossing counts once, whatever the sampling and the trembling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgecv.errors import UsageError
from edgecv.lines import LineCount, LineEvent, Lines
from edgecv.results.detections import Detections
from edgecv.zone_config import LineSpec
from tests.scenes import detections


def at(*points: tuple[float, float], track: int = 1, class_id: int = 0) -> Detections:
    """Detections of 20 x 40 whose bottom centres are at the points; ids from `track`."""
    boxes = [[x - 10, y - 40, x + 10, y] for x, y in points]
    ids = np.arange(track, track + len(points), dtype=np.int32)
    return detections(boxes, class_id=class_id).replace(track_id=ids)


def level(**fields) -> Lines:
    """A line from (100, 100) to (300, 100): down is in."""
    return Lines([LineSpec(**{"name": "a", "start": (100, 100), "end": (300, 100), **fields})])


def run(lines: Lines, way: list[tuple[float, float]]) -> tuple[int, int]:
    for k, point in enumerate(way):
        lines.update(at(point), k / 25)
    count = lines.counts["a"]
    return count.ins, count.outs


def test_down_is_in_and_up_is_out() -> None:
    lines = level()
    assert lines.update(at((200, 50)), 0.0) == ()
    assert lines.update(at((200, 150)), 1.0) == (LineEvent("in", "a", 1, 0, 1.0),)
    assert lines.update(at((200, 50)), 2.0) == (LineEvent("out", "a", 1, 0, 2.0),)
    assert lines.counts == {"a": LineCount(1, 1)}
    assert lines.to_json() == {"a": {"in": 1, "out": 1}}


def test_other_ways_of_the_line_turn_the_directions() -> None:
    assert run(level(start=(300, 100), end=(100, 100)), [(200, 50), (200, 150)]) == (0, 1)
    # From top to bottom: who goes left, goes to the right hand of a walker.
    upright = Lines([LineSpec(name="a", start=(200, 0), end=(200, 300))])
    assert run(upright, [(250, 100), (150, 100)]) == (1, 0)


def test_beside_the_line_nothing_is_crossed() -> None:
    assert run(level(), [(50, 50), (50, 150)]) == (0, 0)
    assert run(level(), [(350, 50), (350, 150)]) == (0, 0)
    # Around the end and back through the line: one way only.
    assert run(level(), [(350, 50), (350, 150), (200, 150), (200, 50)]) == (0, 1)


def test_trembling_on_the_line_counts_once() -> None:
    random = np.random.default_rng(0)
    path = [(200, 50 + k) for k in range(49)]
    path += [(200, 100 + random.uniform(-2.5, 2.5)) for _ in range(200)]
    path += [(200, 101 + k) for k in range(50)]
    assert run(level(), path) == (1, 0)


def test_near_and_back_is_no_crossing() -> None:
    assert run(level(), [(200, 50), (200, 101), (200, 102), (200, 50)]) == (0, 0)


def test_a_step_onto_the_line_itself() -> None:
    assert run(level(), [(200, 50), (200, 100), (200, 100), (200, 150)]) == (1, 0)
    assert run(level(margin=0), [(200, 50), (200, 100), (200, 50)]) == (0, 0)
    assert run(level(margin=0), [(200, 100), (200, 150), (200, 100), (200, 99)]) == (0, 1)


def test_crossing_inside_then_trembling_beyond_the_end() -> None:
    way = [(290, 50), (295, 101), (305, 101), (305, 99), (305, 101), (305, 150)]
    assert run(level(), way) == (1, 0)


def test_through_and_back_within_the_margin_and_then_around_the_end() -> None:
    way = [(290, 50), (295, 101), (295, 99), (305, 99), (305, 150)]
    assert run(level(), way) == (0, 0)


def test_who_first_appears_on_the_line_has_no_side() -> None:
    assert run(level(), [(200, 99), (200, 150)]) == (0, 0)
    assert run(level(), [(200, 99), (200, 150), (200, 50)]) == (0, 1)


def test_several_objects_and_classes() -> None:
    lines = level(class_ids=(1,))
    lines.update(at((150, 50), (200, 150), class_id=1), 0.0)
    lines.update(at((150, 50), track=9), 0.0)
    events = lines.update(at((150, 150), (200, 50), class_id=1), 0.1)
    assert [(event.kind, event.track_id) for event in events] == [("in", 1), ("out", 2)]
    assert lines.update(at((150, 150), track=9), 0.2) == ()


def test_ids_are_needed_and_those_of_0_are_nobody() -> None:
    lines = level()
    with pytest.raises(UsageError) as caught:
        lines.update(detections([[0, 0, 1, 1]]), 0.0)
    assert "a tracker's update()" in str(caught.value)
    lines.update(at((200, 50), track=0), 0.0)
    assert lines.update(at((200, 150), track=0), 0.1) == ()
    assert lines.update(at(), 0.2) == ()
    with pytest.raises(UsageError, match="goes backwards"):
        lines.update(at(), 0.1)


def test_reset_forgets_places_and_keeps_totals() -> None:
    lines = level()
    run(lines, [(200, 50), (200, 150)])
    lines.reset()
    lines.update(at((200, 50)), 0.0)
    assert lines.counts["a"] == LineCount(1, 0)


def test_nobody_stays_in_memory() -> None:
    lines = level()
    for track in range(1, 500):
        lines.update(at((200, 50), track=track), track * 1.0)
    assert len(lines._sides[0]) <= 62


def signed(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    way = (end - start) / np.hypot(*(end - start))
    return float(way[0] * (point - start)[1] - way[1] * (point - start)[0])


coordinate = st.floats(0, 400)
point = st.tuples(coordinate, coordinate).map(np.array)


@settings(max_examples=300)
@given(
    start=point,
    end=point,
    a=point,
    b=point,
    cuts=st.lists(st.floats(0, 1), max_size=12),
    jitter=st.integers(0, 1000),
)
def test_a_full_traversal_counts_exactly_once_whatever_the_sampling(
    start: np.ndarray,
    end: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    cuts: list[float],
    jitter: int,
) -> None:
    """Straight ways from clearly before to clearly behind, with and without noise."""
    assume(np.hypot(*(end - start)) > 50)
    before, behind = signed(a, start, end), signed(b, start, end)
    assume(min(abs(before), abs(behind)) > 5)
    random = np.random.default_rng(jitter)
    noise = 0.0 if jitter % 2 else 0.4
    way = [a, *(a + (b - a) * t for t in sorted(cuts)), b]
    way = [p + random.uniform(-noise, noise, 2) for p in way]
    lines = Lines([LineSpec(name="a", start=tuple(start), end=tuple(end))])
    counted = run(lines, [tuple(p) for p in way])
    # Where the way meets the line, in parts of it.
    meets = a + (b - a) * before / (before - behind) if before != behind else a
    share = float((meets - start) @ (end - start) / ((end - start) @ (end - start)))
    crosses = before * behind < 0
    slack = 3 * noise * np.hypot(*(b - a)) / (abs(before) + abs(behind)) / np.hypot(*(end - start))
    assume(not crosses or min(abs(share), abs(share - 1)) > slack + 1e-5)
    if crosses and 0 < share < 1:
        assert counted == ((1, 0) if behind > 0 else (0, 1))
    else:
        assert counted == (0, 0)
