"""One stream on its way through a pipeline: its queue, its order, its tracker, its counters."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from edgecv.counters import Counts, StreamStats
from edgecv.crew import Outcome
from edgecv.events import Dropped, Listener
from edgecv.outlet import Teller
from edgecv.types import Frame, Source

if TYPE_CHECKING:
    from edgecv.result import Result


class Follower(Protocol):
    """What is asked of a tracker."""

    def update(self, detections: Any, timestamp_s: float, embeddings: Any = None) -> Any:
        """Return the detections of the next frame with `track_id` filled in."""

    def reset(self) -> None:
        """Forget all tracks."""


class Lane:
    """One stream.

    Args:
        source: of its frames.
        latest: keep the newest frames and drop what is older; else the source waits.
        capacity: frames that may wait for a worker.
        tracker: of this stream alone, or None.
        keep: after tracking, detections below this score stay only with a track; None keeps all.
        listener: takes `Dropped`.
    """

    def __init__(
        self,
        source: Source,
        *,
        latest: bool,
        capacity: int,
        tracker: Follower | None,
        keep: float | None,
        listener: Listener,
    ) -> None:
        self.source, self.latest, self.capacity = source, latest, capacity
        self.inbox: deque[Frame] = deque()
        self.finished: dict[int, tuple[Frame, Outcome]] = {}
        """Outcomes that wait for those before them, by their place in the order."""
        self.taken = self.next = self.under_way = 0
        self.ended = False
        self.counts = Counts()
        self._tracker, self._keep = tracker, keep
        self._epoch: int | None = None
        self._time = float("-inf")
        name = source.stream
        self.drops = Teller(
            lambda n: listener(Dropped(name, time.monotonic(), n, "newer frames have come"))
        )

    @property
    def full(self) -> bool:
        """Whether no further frame may wait."""
        return len(self.inbox) >= self.capacity

    def drop_oldest(self) -> None:
        """Make room for a newer frame."""
        self.inbox.popleft()
        self.counts.dropped += 1

    def take(self) -> tuple[Frame, Lane, int]:
        """Hand the oldest waiting frame to a worker, with its place in the order."""
        job = self.inbox.popleft(), self, self.taken
        self.taken += 1
        self.under_way += 1
        return job

    def abandon(self) -> None:
        """Count what has not come out as dropped, and let go of it."""
        self.counts.dropped += len(self.inbox) + self.under_way
        self.under_way = 0
        self.inbox.clear()
        self.finished.clear()

    def follow(self, frame: Frame, result: Result) -> Result:
        """Let the tracker give ids to what was found; called in the order of the frames."""
        if self._epoch is None:
            self._epoch = frame.epoch
        stale = frame.epoch != self._epoch or frame.timestamp_s < self._time
        self._epoch, self._time = frame.epoch, frame.timestamp_s
        if self._tracker is None:
            return result
        if stale:
            # Another connection, or a clock that was set back: nothing links it to what was before.
            self._tracker.reset()
            self.counts.resets += 1
        found: Any = self._tracker.update(result.value, frame.timestamp_s)
        if self._keep is not None:
            found = found[(found.score >= self._keep) | (found.track_id > 0)]
        return result.replace(value=found)

    def stats(self) -> StreamStats:
        """Return what was counted so far."""
        counts = self.counts
        return StreamStats(
            stream=self.source.stream,
            policy="latest" if self.latest else "every",
            epoch=self._epoch or 0,
            frames_in=counts.frames_in,
            frames_out=counts.frames_out,
            dropped=counts.dropped,
            skipped=counts.skipped,
            in_flight=counts.in_flight,
            waiting=len(self.inbox),
            fps=counts.fps(),
            age_ms=counts.ages(),
            resets=counts.resets,
        )
