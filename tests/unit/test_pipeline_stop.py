"""A pipeline stops at once in every state, leaves no thread, and says what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecv import outlet
from edgecv.errors import EdgecvError, InferenceError, SinkError, StreamError
from edgecv.pipeline import STOP_S
from edgecv.plan import Plan
from edgecv.streaming import Stream, stream
from edgecv.types import Frame
from tests.pipelines import ListSink, ListSource, mean_model, settled, threads


class Timed:
    """Measures how long a block takes, and says that it was less than a stop may take."""

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self.start < STOP_S


def states(folder: Path, gate: threading.Event) -> dict[str, Callable[[], Stream]]:
    """Make streams that come to rest in one state each; `gate` lets go what would block."""
    quick, slow = folder / "quick", folder / "slow"
    quick.mkdir()
    slow.mkdir()

    def hold(frame: Frame, result: Any) -> None:
        gate.wait(0.3)

    return {
        "source waits for its camera": lambda: stream(
            mean_model(quick), ListSource(None, live=True, pause=lambda i: 0.0 if i < 3 else 60.0)
        ),
        "source hangs at its end": lambda: stream(mean_model(quick), ListSource(3, hang=True)),
        "source waits for the inbox": lambda: stream(mean_model(quick), ListSource(None)),
        "frames come faster than they are taken": lambda: stream(
            mean_model(slow, pause=lambda: 0.05), ListSource(None, live=True, pause=lambda _: 1e-3)
        ),
        "several streams": lambda: stream(
            mean_model(quick),
            [ListSource(None, stream=f"s{i}", live=i % 2 == 0) for i in range(8)],
            plan=Plan(4),
        ),
        "a hook waits": lambda: stream(mean_model(quick), ListSource(None), hooks=[hold]),
        "a sink is slow": lambda: stream(
            mean_model(quick), ListSource(None), sinks=[ListSink(pause=0.2)]
        ),
    }


STATES = [
    "source waits for its camera", "source hangs at its end", "source waits for the inbox",
    "frames come faster than they are taken", "several streams", "a hook waits", "a sink is slow",
]  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", ["close", "break", "drop", "other thread", "not begun"])
def test_it_stops_at_once(tmp_path: Path, state: str, how: str) -> None:
    gate = threading.Event()
    run: Stream | None = states(tmp_path, gate)[state]()
    assert run is not None
    if how == "not begun":
        with Timed():
            run.close()
    elif how == "break":
        loop: Iterator[Any] | None = iter(run)
        run = None
        for _ in loop:  # type: ignore[union-attr]
            time.sleep(0.1)
            break
        with Timed():
            loop = None
    else:
        next(run)
        time.sleep(0.1)
        with Timed():
            if how == "close":
                run.close()
                run.close()
            elif how == "drop":
                run = None
            else:
                timer = threading.Timer(0.2, run.stop)
                timer.start()
                list(run)
                timer.join()
    gate.set()
    assert not threads()


def test_a_waiting_consumer_is_woken(tmp_path: Path) -> None:
    with mean_model(tmp_path) as model:
        run = stream(model, ListSource(0, hang=True))
        threading.Timer(0.1, run.stop).start()
        with Timed():
            assert list(run) == []
    assert not threads()


def test_a_run_in_the_engine_is_not_waited_for_longer_than_a_second(tmp_path: Path) -> None:
    block = threading.Event()
    model = mean_model(tmp_path, block=block)
    run = stream(model, ListSource(None))
    threading.Timer(0.1, run.stop).start()
    start = time.monotonic()
    assert list(run) == []
    assert time.monotonic() - start < STOP_S + 0.5
    assert threads()
    block.set()
    assert not settled(), "it ends by itself when the engine comes back"


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


class BadSource(ListSource):
    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        raise StreamError("source")


ERRORS: dict[str, Callable[[Path], Stream]] = {
    "open": lambda p: stream(mean_model(p), BadSource()),
    "source": lambda p: stream(mean_model(p), ListSource(2, error=StreamError("source"))),
    "one of several": lambda p: stream(
        mean_model(p), [ListSource(None), ListSource(2, stream="b", error=StreamError("source"))]
    ),
    "gate": lambda p: stream(mean_model(p), ListSource(None), gate=raises(ValueError("gate"))),
    "infer": lambda p: stream(
        mean_model(p, fail_at=5, error=InferenceError("infer")), ListSource(None)
    ),
    "memory": lambda p: stream(mean_model(p, fail_at=5, error=MemoryError("m")), ListSource(None)),
    "hook": lambda p: stream(mean_model(p), ListSource(None), hooks=[raises(KeyError("hook"))]),
    "listener": lambda p: stream(
        mean_model(p, pause=lambda: 0.01),
        ListSource(None, live=True, pause=lambda _: 1e-3),
        listener=raises(RuntimeError("listener")),
    ),
    "listener of a sink": lambda p: stream(
        mean_model(p),
        ListSource(None),
        sinks=[ListSink(fail=lambda _: True)],
        listener=raises(RuntimeError("listener of a sink")),
    ),
    "closing a sink": lambda p: stream(
        mean_model(p), ListSource(3), sinks=[ListSink(close_error=SinkError("not finished"))]
    ),
}


@pytest.mark.parametrize("stage", ERRORS)
def test_an_error_in_any_stage_ends_it_with_that_error(tmp_path: Path, stage: str) -> None:
    run = ERRORS[stage](tmp_path)
    start = time.monotonic()
    with pytest.raises((EdgecvError, ValueError, KeyError, RuntimeError, MemoryError)) as caught:
        for _ in run:
            pass
    word = {"open": "source", "one of several": "source", "memory": "m",
            "closing a sink": "not finished"}.get(stage, stage)  # fmt: skip
    assert word in str(caught.value)
    assert time.monotonic() - start < 10
    assert not threads()
    assert list(run) == []
    assert all(one.in_flight == 0 for one in run.stats.streams)


@pytest.mark.parametrize("live", [True, False])
def test_a_dead_sink_does_not_hold_up_the_others(
    tmp_path: Path, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "PATIENCE_S", 0.2)
    block = threading.Event()
    dead, good = ListSink(block=block), ListSink()
    with mean_model(tmp_path) as model:
        source = ListSource(300, live=live, pause=lambda _: 1e-3 if live else 0.0)
        run = stream(model, source, policy="every", sinks=[dead, good])
        seen = [frame.index for frame, _ in run]
    assert seen == list(range(300))
    assert [frame.index for frame, _ in good.items] == seen
    first, second = run.stats.sinks
    assert (second.written, second.dropped) == (300, 0)
    assert first.written == 0
    assert first.dropped >= 290
    block.set()
    assert not settled()
    assert dead.closed == good.closed == 1
    assert run.stats.sinks[0].written + run.stats.sinks[0].dropped == 300


def test_a_failing_sink_is_tried_again_and_told(tmp_path: Path) -> None:
    told: list[Any] = []
    sink = ListSink(fail=lambda call: 10 <= call < 40)
    with mean_model(tmp_path) as model:
        run = stream(model, ListSource(100), sinks=[sink], listener=told.append)
        assert len(list(run)) == 100
    (one,) = run.stats.sinks
    # While it fails it is not waited for, so that some of the 100 may be dropped, not tried.
    assert (one.sink, one.failed, one.error) == (
        "ListSink",
        min(30, sink.calls - 9),
        "sink test: no",
    )
    assert one.failed > 0
    assert one.written == len(sink.items)
    assert one.written + one.failed + one.dropped == 100
    failures = [event for event in told if isinstance(event, outlet.SinkFailed)]
    assert failures
    assert failures[0].reason == "sink test: no"
    assert sink.closed == 1


def test_a_listener_may_stop_the_stream(tmp_path: Path) -> None:
    with mean_model(tmp_path) as model:
        box: list[Stream] = []
        run = stream(
            model,
            ListSource(None),
            sinks=[ListSink(fail=lambda call: call > 5)],
            listener=lambda event: box[0].stop(),
        )
        box.append(run)
        list(run)
    box.clear()
    assert not threads()
    assert run.stats.sinks[0].failed >= 1


@pytest.mark.parametrize(("policy", "lost"), [("every", False), ("latest", True)])
def test_a_slow_sink(tmp_path: Path, policy: Any, lost: bool) -> None:
    sink = ListSink(pause=0.01)
    with mean_model(tmp_path) as model:
        source = ListSource(60, pause=lambda _: 0.002)
        run = stream(model, source, policy=policy, sinks=[sink])
        seen = [frame.index for frame, _ in run]
    (one,) = run.stats.sinks
    assert one.written == len(sink.items)
    assert one.written + one.dropped == len(seen)
    assert (one.dropped > 0) == lost
    written = [frame.index for frame, _ in sink.items]
    assert written == sorted(written)
    assert written[-1] == seen[-1], "what waits at the end is delivered"
    assert not threads()


def test_hundreds_of_streams_leave_nothing_behind(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with mean_model(tmp_path) as model:
        for count in range(300):
            with stream(model, ListSource(None, live=count % 2 == 0), plan=Plan(2)) as run:
                next(run)
    assert not threads()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
