"""Source -> model -> tracker -> sinks: stages in threads, bounded in between, stopped at once.

::

    source thread --inbox--> workers --in order--> finisher thread --> results, and a queue a sink
     (one a stream)          (shared)              (tracker, hooks)

A stream's inbox keeps the newest frames (``latest``) or makes its source wait (``every``). Workers
take frames from the streams in turn. No more frames are under way than there are workers and places
for results, so a consumer that is slow holds up the workers, and through them the sources, or makes
them drop. Every wait ends when the pipeline is stopped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from edgecv.counters import PipelineStats
from edgecv.crew import Crew, Outcome, plans
from edgecv.errors import ImageError, UsageError
from edgecv.events import Event, Listener, Skipped, ignore
from edgecv.intake import Gate, Intake
from edgecv.lane import Follower, Lane
from edgecv.outlet import Outlet
from edgecv.plan import Plan
from edgecv.throughput import join
from edgecv.types import Frame, Sink, Source

if TYPE_CHECKING:
    from edgecv.model import Model
    from edgecv.result import Result

Policy = Literal["latest", "every"]
Hook = Callable[[Frame, "Result"], "Result | None"]
"""Sees each result in the order of its stream, after the tracker; may return one in its place."""

STOP_S = 1.0
"""`Pipeline.close` waits no longer for threads. One that is inside of foreign code, such as a very
slow inference, ends by itself when it comes back."""
_INBOX = {"latest": 1, "every": 4}
_STAGES = ("preprocess", "infer", "postprocess", "follow")
_READY = {"latest": 1, "every": 4}
_SINK_QUEUE = 8


class Pipeline:
    """Frames of several streams through one model; results come out in the order of each stream.

    Args:
        model: stays the caller's, and open.
        sources: one a stream, with names that differ.
        policy: ``latest`` or ``every`` for all streams; None goes by each source's `live`.
        trackers: one a stream, or none at all.
        keep: after tracking, detections below this score stay only with a track; None keeps all.
        sinks: name -> sink; they are closed with the pipeline.
        gate: holds frames back.
        hooks: called in turn with each result.
        plan: pins how frames are worked on. By default it is measured on the first frames where all
            streams are ``every``; else the engine is used as opened, by one worker for one stream
            and by two for several.
        listener: takes events of sinks and of drops.
        most: results after which it ends.

    Raises:
        UsageError: no source, or two of one name.
    """

    def __init__(
        self,
        model: Model,
        sources: Sequence[Source],
        *,
        policy: Policy | None = None,
        trackers: Sequence[Follower] = (),
        keep: float | None = None,
        sinks: Mapping[str, Sink] | None = None,
        gate: Gate | None = None,
        hooks: Sequence[Hook] = (),
        plan: Plan | None = None,
        listener: Listener = ignore,
        most: int | None = None,
    ) -> None:
        _check_names([source.stream for source in sources])
        lock = threading.RLock()
        self._done, self._ready = threading.Condition(lock), threading.Condition(lock)
        self._hooks, self._listener, self._most = tuple(hooks), listener, most
        listener = self._tell
        self._lanes = []
        for i, source in enumerate(sources):
            latest = source.live if policy is None else policy == "latest"
            self._lanes.append(
                Lane(
                    source,
                    latest=latest,
                    capacity=_INBOX["latest" if latest else "every"],
                    tracker=trackers[i] if trackers else None,
                    keep=keep,
                    listener=listener,
                )
            )
        live = any(lane.latest for lane in self._lanes)
        self._outlets = [
            Outlet(sink, name, capacity=_SINK_QUEUE, wait=not live, listener=listener)
            for name, sink in (sinks or {}).items()
        ]
        if plan is not None:
            tries: Sequence[Plan] = (plan,)
        elif live:
            tries = (Plan(min(2, len(sources))),)
        else:
            tries = plans(model)
        working = max(one.workers * one.batch for one in tries)
        self._intake = Intake(
            self._lanes,
            lock,
            limit=working + _READY["latest" if live else "every"],
            gate=gate,
            changed=self._done.notify_all,
        )
        self._crew = Crew(model, self._intake.take, self._give, self._fail, tries)
        self._results: deque[tuple[Frame, Result, Lane]] = deque()
        self._stopped = self._finished = False
        self._error: BaseException | None = None
        self._sums = dict.fromkeys(_STAGES, 0.0)
        self._timed = 0
        self._start: float | None = None
        self.on_ready: Callable[[], None] = _nothing
        """Called by a thread of the pipeline when `get` has something new to say."""
        self._finisher = threading.Thread(target=self._finish, name="edgecv-finisher", daemon=True)

    def start(self) -> None:
        """Open the sources and begin; a second call does nothing."""
        if self._start is None:
            self._start = time.monotonic()
            for lane in self._lanes:
                lane.counts.start = self._start
            for outlet in self._outlets:
                outlet.thread.start()
            self._crew.start()
            self._finisher.start()
            self._intake.start()

    def get(self, *, wait: bool = True) -> tuple[Frame, Result] | None:
        """Return the next result with its frame, or None where there is none.

        With `wait` None means that the pipeline has ended; without it, see `ended`.

        Raises:
            EdgecvError: whatever ended the pipeline. What a source raises comes after the results
                of the frames that it gave before.
        """
        with self._ready:
            while not self._results and not self.ended and wait:
                self._ready.wait()
            if self._error is not None:
                raise self._error
            if self._stopped or not self._results:
                if self._finished and self._intake.error is not None:
                    raise self._intake.error
                return None
            frame, result, lane = self._results.popleft()
            lane.counts.handed_out()
            self._intake.let_go(lane)
            return frame, result

    @property
    def ended(self) -> bool:
        """Whether `get` will never have another result."""
        return self._error is not None or self._stopped or (self._finished and not self._results)

    def finish(self) -> None:
        """Take no more frames; the results of those under way still come. Returns at once."""
        self._intake.end()

    def stop(self) -> None:
        """Tell every thread to end, and return at once."""
        with self._ready:
            self._stopped = True
            self._wake()

    def close(self) -> bool:
        """Stop, and wait until all threads have ended, for STOP_S at most; may be called twice.

        Returns:
            Whether all have ended.
        """
        self.stop()
        with self._ready:
            if self._start is None:
                self._start = time.monotonic()
                for outlet in self._outlets:
                    outlet.thread.start()  # closes its sink
        threads = [*self._intake.threads, *self._crew.threads, self._finisher]
        if join([*threads, *(outlet.thread for outlet in self._outlets)], STOP_S):
            return False
        with self._ready:
            self._results.clear()
            for lane in self._lanes:
                lane.abandon()
        return True

    def stats(self) -> PipelineStats:
        """Return what was counted so far."""
        with self._ready:
            return PipelineStats(
                seconds=round(time.monotonic() - self._start, 3) if self._start else 0.0,
                streams=tuple(lane.stats() for lane in self._lanes),
                sinks=tuple(outlet.stats() for outlet in self._outlets),
                stage_ms={k: round(v / max(1, self._timed), 3) for k, v in self._sums.items()},
                ready=len(self._results),
                plan=self._crew.plan,
                trials=self._crew.trials,
            )

    def _wake(self) -> None:
        self._intake.stop()
        self._crew.stop()
        for outlet in self._outlets:
            outlet.stop()
        self._done.notify_all()
        self._ready.notify_all()
        self.on_ready()

    def _fail(self, error: BaseException) -> None:
        with self._ready:
            self._error = self._error or error
            self._stopped = True
            self._wake()

    def _tell(self, event: Event) -> None:
        """Tell the caller; a listener that raises, in whatever thread, ends the pipeline."""
        try:
            self._listener(event)
        except BaseException as error:
            self._fail(error)

    def _give(self, job: tuple[Any, ...], outcome: Outcome) -> None:
        """Take a worker's outcome."""
        frame, lane, place = job
        with self._done:
            lane.finished[place] = frame, outcome
            self._done.notify()

    def _finish(self) -> None:
        """Track, call the hooks and hand out, in the order of each stream; its thread's work."""
        try:
            while self._timed != self._most and (item := self._next_finished()) is not None:
                lane, frame, outcome = item
                if isinstance(outcome, ImageError):
                    self._leave_out(lane, frame, outcome)
                else:
                    self._hand_out(lane, frame, outcome)
            self._intake.end()
            self._crew.stop()
            for outlet in self._outlets:
                if not self._stopped:
                    outlet.finish()
            failed = [o.close_error for o in self._outlets if o.close_error is not None]
            with self._ready:
                if failed and not self._stopped:
                    self._error = self._error or failed[0]
                self._finished = True
                self._ready.notify_all()
            self.on_ready()
        except BaseException as error:
            self._fail(error)

    def _next_finished(self) -> tuple[Lane, Frame, Outcome] | None:
        with self._done:
            while not self._stopped:
                for lane in self._lanes:
                    if lane.next in lane.finished:
                        frame, outcome = lane.finished.pop(lane.next)
                        lane.next += 1
                        return lane, frame, outcome
                if self._intake.drained and self._intake.under_way == len(self._results):
                    break
                self._done.wait()
            return None

    def _leave_out(self, lane: Lane, frame: Frame, error: ImageError) -> None:
        with self._done:
            lane.counts.skipped += 1
            self._intake.let_go(lane)
        self._tell(Skipped(frame.stream, time.monotonic(), 1, error.message))

    def _hand_out(self, lane: Lane, frame: Frame, result: Result) -> None:
        start = time.perf_counter()
        result = lane.follow(frame, result)
        for hook in self._hooks:
            changed = hook(frame, result)
            result = result if changed is None else changed
        follow_ms = (time.perf_counter() - start) * 1e3
        for outlet in self._outlets:
            outlet.offer(frame, result)
        timings = result.timings_ms
        with self._ready:
            for stage in _STAGES[:-1]:
                self._sums[stage] += getattr(timings, stage)
            self._sums["follow"] += follow_ms
            self._timed += 1
            if frame.arrival_s is not None:
                lane.counts.age(time.monotonic() - frame.arrival_s)
            self._results.append((frame, result, lane))
            self._ready.notify()
        self.on_ready()


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise UsageError("no source", where="sources", expected="at least one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "two sources of one name: their results could not be told apart",
            where="sources",
            got=", ".join(map(repr, twice)),
            remedy="name them when you open them, with stream=",
        )


def _nothing() -> None:
    pass
