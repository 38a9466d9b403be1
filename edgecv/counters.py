"""What a pipeline counts: frames that came, went, were dropped or skipped; ages and rates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from edgecv.crew import Trial
from edgecv.plan import Plan
from edgecv.record import Record

WINDOW_S = 5.0
"""A rate is that of the last seconds."""
_AGES = 1024
_FLOORS = {50: 1, 90: 64, 99: 662}
"""Samples below which a percentile is not told: the early-stopping floors of MLPerf LoadGen."""


class Ages(Record):
    """How old frames were when their results were there, over the last 1024 of them.

    Attributes:
        n: frames whose arrival was noted.
        p50: milliseconds; None where `n` is too small to say. So are the others.
        p90: from 64 frames on.
        p99: from 662 frames on.
    """

    n: int = 0
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, ages_s: Sequence[float]) -> Ages:
        """Summarise ages in seconds."""
        n = len(ages_s)
        told = {
            f"p{q}": round(float(np.percentile(ages_s, q)) * 1e3, 2) if n >= floor else None
            for q, floor in _FLOORS.items()
        }
        return cls(n, **told)


class StreamStats(Record):
    """One stream so far. ``frames_in == frames_out + dropped + skipped + in_flight`` at any time.

    Attributes:
        stream: its name.
        policy: ``latest`` or ``every``.
        epoch: of the newest frame.
        frames_in: frames that the source gave.
        frames_out: results that were handed out.
        dropped: frames that a newer one replaced, or that were under way when the pipeline stopped.
        skipped: frames that the gate held back, or that were no usable image.
        in_flight: frames that wait or are worked on.
        waiting: those of them that no worker has taken yet.
        fps: results a second, over the last 5 s.
        age_ms: from the arrival of a frame to its result.
        resets: times that the tracker was made to forget: new epochs, and clocks that went back.
    """

    stream: str
    policy: str
    epoch: int
    frames_in: int
    frames_out: int
    dropped: int
    skipped: int
    in_flight: int
    waiting: int
    fps: float
    age_ms: Ages
    resets: int


class SinkStats(Record):
    """One sink so far.

    Attributes:
        sink: its address, or what kind of object it is.
        written: results that it took.
        dropped: results that it was too slow for.
        failed: results that it raised an error about.
        waiting: results in its queue.
        error: the last error, in one line; empty without any.
    """

    sink: str
    written: int
    dropped: int
    failed: int
    waiting: int
    error: str


class PipelineStats(Record):
    """A pipeline so far.

    Attributes:
        seconds: since the start.
        streams: in the order of the sources.
        sinks: in their order.
        stage_ms: mean wall time of each stage of a frame; stages of several frames overlap.
        ready: results that wait to be taken.
        plan: how frames are worked on.
        trials: what was tried to find it.
    """

    seconds: float
    streams: tuple[StreamStats, ...]
    sinks: tuple[SinkStats, ...]
    stage_ms: dict[str, float]
    ready: int
    plan: Plan
    trials: tuple[Trial, ...]


class Counts:
    """What one stream counts; written under the pipeline's lock."""

    def __init__(self) -> None:
        self.frames_in = self.frames_out = self.dropped = self.skipped = 0
        self.resets = 0
        self.start = time.monotonic()
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._moments: deque[float] = deque(maxlen=4096)

    @property
    def in_flight(self) -> int:
        """Frames that came and have not gone."""
        return self.frames_in - self.frames_out - self.dropped - self.skipped

    def age(self, seconds: float) -> None:
        """Note how old a frame was when its result was there."""
        self._ages.append(seconds)

    def handed_out(self) -> None:
        """Note that a result was taken."""
        self.frames_out += 1
        self._moments.append(time.monotonic())

    def fps(self) -> float:
        """Results a second, over the last WINDOW_S."""
        now = time.monotonic()
        while self._moments and self._moments[0] < now - WINDOW_S:
            self._moments.popleft()
        return round(len(self._moments) / max(1e-3, min(WINDOW_S, now - self.start)), 2)

    def ages(self) -> Ages:
        """Summarise the ages noted last."""
        return Ages.of(tuple(self._ages))
