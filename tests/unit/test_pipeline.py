"""Frames through a pipeline: their order, what becomes of each, and who waits for whom."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgecv
from edgecv import events
from edgecv.counters import Ages, PipelineStats
from edgecv.errors import StreamError, UsageError
from edgecv.plan import Plan
from edgecv.results.detections import Detections
from edgecv.streaming import Stream, stream
from edgecv.types import Frame
from tests import models
from tests.pipelines import ListSink, ListSource, mean_model, settled


def number(result: Any) -> int:
    """Read back which frame a result is about."""
    return round(float(result.classes.score[0]) * 255)


def balanced(stats: PipelineStats) -> None:
    """Check that every frame went somewhere, once."""
    for one in stats.streams:
        assert one.frames_in == one.frames_out + one.dropped + one.skipped + one.in_flight, one


def ended(run: Stream) -> PipelineStats:
    """Check that nothing is left of a stream."""
    assert not settled()
    stats = run.stats
    balanced(stats)
    assert all(one.in_flight == 0 for one in stats.streams)
    return stats


@pytest.mark.parametrize("plan", [None, Plan(1), Plan(4), Plan(2, batch=3)], ids=str)
def test_every_frame_in_order(tmp_path: Path, plan: Plan | None) -> None:
    chance = random.Random(1)
    with mean_model(tmp_path, batch=None, pause=lambda: chance.random() / 200) as model:
        source = ListSource(200)
        run = stream(model, source, plan=plan)
        seen = []
        for frame, result in run:
            assert number(result) == frame.index
            assert result.source_hw == (16, 24)
            seen.append(frame.index)
            balanced(run.stats)
    assert seen == list(range(200))
    (one,) = ended(run).streams
    assert (one.policy, one.frames_in, one.dropped, one.skipped) == ("every", 200, 0, 0)
    assert one.age_ms.n == 200
    assert one.age_ms.p90 is not None
    assert one.age_ms.p99 is None
    assert (source.opened, source.closed) == (1, 1)


def test_latest_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    told: list[events.Event] = []
    with mean_model(tmp_path, pause=lambda: 0.02) as model:
        source = ListSource(200, live=True, pause=lambda _: 0.001)
        run = stream(model, source, listener=told.append)
        seen = [(frame.index, number(result)) for frame, result in run]
    indices = [index for index, _ in seen]
    assert indices == sorted(set(indices))
    assert all(index == value for index, value in seen)
    assert indices[-1] == 199, "the newest frame is never the one that is dropped"
    (one,) = ended(run).streams
    assert one.policy == "latest"
    assert one.dropped == 200 - len(seen) > 50
    drops = [event for event in told if isinstance(event, events.Dropped)]
    assert sum(event.count for event in drops) == one.dropped
    assert len(drops) < 20
    assert {event.stream for event in drops} == {"a"}


@pytest.mark.parametrize(("policy", "live"), [("every", True), ("latest", False)])
def test_the_policy_can_be_chosen(tmp_path: Path, policy: Any, live: bool) -> None:
    with mean_model(tmp_path, pause=lambda: 0.005) as model:
        run = stream(model, ListSource(40, live=live), policy=policy)
        seen = len(list(run))
    (one,) = ended(run).streams
    assert (one.dropped == 0) == (policy == "every")
    assert seen + one.dropped == 40


def test_a_slow_consumer_holds_the_source_up(tmp_path: Path) -> None:
    with mean_model(tmp_path) as model:
        source = ListSource(None)
        run = stream(model, source, plan=Plan(2))
        for count, _ in enumerate(run, 1):
            time.sleep(0.005)
            assert source.given - count <= 2 + 4 + 4 + 1, "workers, results, inbox, one in hand"
            if count == 50:
                break
        run.close()
    ended(run)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_frame_is_lost_or_counted_twice(tmp_path: Path, data: st.DataObject) -> None:
    chance = random.Random(data.draw(st.integers(0, 10**6)))
    slowest = {who: data.draw(st.sampled_from([0.0, 0.001, 0.004])) for who in "source model me"}
    lanes = [
        ListSource(
            data.draw(st.integers(0, 30)),
            stream=f"s{i}",
            live=data.draw(st.booleans()),
            pause=lambda _: chance.random() * slowest["s"],
        )
        for i in range(data.draw(st.integers(1, 4)))
    ]
    stop_at = data.draw(st.none() | st.integers(1, 20))
    held = data.draw(st.sampled_from([0, 1, 3]))
    plan = data.draw(st.sampled_from([None, Plan(1), Plan(3)]))
    with mean_model(tmp_path, pause=lambda: chance.random() * slowest["m"]) as model:
        run = stream(model, lanes, plan=plan, gate=lambda f: not held or f.index % (held + 1) == 0)
        seen: Counter[str] = Counter()
        last: dict[str, int] = {}
        for frame, result in run:
            assert number(result) == frame.index > last.get(frame.stream, -1)
            last[frame.stream] = frame.index
            seen[frame.stream] += 1
            time.sleep(chance.random() * slowest["e"])
            if sum(seen.values()) == stop_at:
                break
        run.close()
        stats = ended(run)
    for source, one in zip(lanes, stats.streams, strict=True):
        assert one.frames_in == source.given
        assert one.frames_out == seen[source.stream]
        if stop_at is None and not source.live:
            assert one.dropped == 0
            assert one.frames_in == source.count
        assert source.closed == source.opened == 1


def test_streams_share_the_model_fairly(tmp_path: Path) -> None:
    with mean_model(tmp_path, pause=lambda: 0.002) as model:
        # One stream has frames without end at once; the others must not starve.
        lanes = [ListSource(None, stream=f"s{i}") for i in range(5)]
        run = stream(model, lanes, plan=Plan(2))
        seen = Counter(frame.stream for (frame, _), _ in zip(run, range(250), strict=False))
        run.close()
    assert len(seen) == 5
    assert min(seen.values()) >= 0.8 * max(seen.values()), seen
    ended(run)


def test_a_gate_holds_frames_back(tmp_path: Path) -> None:
    with mean_model(tmp_path) as model:
        run = stream(model, ListSource(50), gate=lambda frame: frame.index % 5 == 0)
        assert [frame.index for frame, _ in run] == list(range(0, 50, 5))
    (one,) = ended(run).streams
    assert (one.skipped, one.dropped) == (40, 0)


def test_a_frame_that_is_no_image_is_skipped_and_told(tmp_path: Path) -> None:
    told: list[events.Event] = []

    class Mixed(ListSource):
        def frames(self, cancel: threading.Event) -> Any:
            for frame in super().frames(cancel):
                bad = np.zeros((0, 3, 3), np.uint8)
                yield frame.replace(image=bad) if frame.index in (3, 7) else frame

    with mean_model(tmp_path) as model:
        run = stream(model, Mixed(10), listener=told.append)
        assert [frame.index for frame, _ in run] == [0, 1, 2, 4, 5, 6, 8, 9]
    assert ended(run).streams[0].skipped == 2
    assert [type(event) for event in told] == [events.Skipped, events.Skipped]


def test_hooks_see_results_in_order_and_may_change_them(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(frame: Frame, result: Any) -> None:
        seen.append(frame.index)

    sink = ListSink()
    with mean_model(tmp_path) as model:
        run = stream(
            model,
            ListSource(30),
            hooks=[look, lambda frame, result: result.replace(source=f"was {frame.index}")],
            sinks=[sink],
            plan=Plan(4),
        )
        got = [result.source for _, result in run]
    assert seen == list(range(30))
    assert got == [result.source for _, result in sink.items] == [f"was {i}" for i in range(30)]


class Ids:
    """A tracker that counts what it sees."""

    min_score = 0.3

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def update(self, detections: Detections, timestamp_s: float, embeddings: Any = None) -> Any:
        self.calls.append(timestamp_s)
        ids = np.arange(1, len(detections) + 1, dtype=np.int32)
        ids[detections.score < 0.5] = 0
        return detections.replace(track_id=ids)

    def reset(self) -> None:
        self.calls.append("reset")


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> list[Ids]:
    """The trackers that a stream makes."""
    made: list[Ids] = []

    def fake(model: Any, count: int, name: Any, options: Any) -> Any:
        made.extend(Ids() for _ in range(count))
        return made, 0.8, model.with_options(confidence=0.3)

    monkeypatch.setattr("edgecv.streaming._trackers", fake)
    return made


def test_each_stream_has_a_tracker_that_forgets_at_a_new_epoch(
    tmp_path: Path, trackers: list[Ids]
) -> None:
    rows = [[10, 10, 50, 40, s, 1] for s in (0.9, 0.6, 0.4, 0.1)]
    path = models.null_detector(tmp_path / "d.null.json", rows)
    with edgecv.load(path, head="end2end", trusted=True) as model:
        one = ListSource(6, stream="a", epoch=lambda i: i // 2)
        run = stream(model, [one, ListSource(3, stream="b")], track=True)
        for _, result in run:
            assert result.detections.track_id is not None
            # 0.9 is above the model's own confidence, 0.6 below it but followed, 0.4 neither.
            assert result.detections.score == pytest.approx([0.9, 0.6])
            assert list(result.detections.track_id) == [1, 2]
    a, b = trackers
    assert a.calls == [0, 1 / 30, "reset", 2 / 30, 3 / 30, "reset", 4 / 30, 5 / 30]
    assert b.calls == [0, 1 / 30, 2 / 30]
    assert [s.resets for s in ended(run).streams] == [2, 0]


def test_a_clock_that_goes_back_makes_the_tracker_forget(
    tmp_path: Path, trackers: list[Ids]
) -> None:
    class Jumps(ListSource):
        def frames(self, cancel: threading.Event) -> Any:
            for frame in super().frames(cancel):
                yield frame.replace(timestamp_s=float(frame.index % 3))

    path = models.null_detector(tmp_path / "d.null.json")
    with edgecv.load(path, head="end2end", trusted=True) as model:
        assert len(list(stream(model, Jumps(5), track=True))) == 5
    assert trackers[0].calls == [0, 1, 2, "reset", 0, 1]


def test_results_come_before_the_error_of_their_source(tmp_path: Path) -> None:
    with mean_model(tmp_path, pause=lambda: 0.003) as model:
        run = stream(model, ListSource(12, error=StreamError("torn cable")), plan=Plan(3))
        assert [next(run)[0].index for _ in range(12)] == list(range(12))
        with pytest.raises(StreamError, match="torn cable"):
            next(run)
        assert list(run) == []
    ended(run)


@pytest.mark.parametrize("sources", [[], [ListSource(1), ListSource(1)]], ids=["none", "twice"])
def test_sources_that_cannot_be_meant(tmp_path: Path, sources: Any) -> None:
    sink = ListSink()
    with mean_model(tmp_path) as model, pytest.raises(UsageError):
        stream(model, sources, sinks=[sink])
    assert sink.closed == 1
    assert not settled()


def test_percentiles_need_enough_samples() -> None:
    assert Ages.of([]) == Ages()
    assert Ages.of([0.001]).p50 == 1.0
    assert Ages.of([0.001] * 63).p90 is None
    assert Ages.of([0.001] * 64).p90 == 1.0
    assert Ages.of([0.001] * 662).p99 == 1.0
