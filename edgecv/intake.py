"""The first stage of a pipeline: a thread for each source, and frames for the workers in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgecv.lane import Lane
from edgecv.types import Frame

Gate = Callable[[Frame], bool]
"""Tells whether a frame is worth running; called by the thread of the frame's source."""


class Intake:
    """Reads all sources, and bounds the frames that are under way.

    Args:
        lanes: one a stream.
        lock: the pipeline's; the counters of the lanes change under it.
        limit: most frames that are with workers, or done and not handed out.
        gate: holds frames back, or None.
        changed: called where a stream has ended, under the lock.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        lock: threading.RLock,
        *,
        limit: int,
        gate: Gate | None,
        changed: Callable[[], None],
    ) -> None:
        self._lanes, self._limit, self._gate, self._changed = lanes, limit, gate, changed
        self._space, self._work = threading.Condition(lock), threading.Condition(lock)
        self._cancel = threading.Event()
        self._stopped = False
        self._turn = 0
        self.under_way = 0
        """Frames that a worker took and that have not been handed out."""
        self.error: BaseException | None = None
        """What a source raised. The frames that came before it are still given out."""
        self.threads = [
            threading.Thread(
                target=self._read, args=(lane,), name=f"edgecv-{lane.source.stream}", daemon=True
            )
            for lane in lanes
        ]

    def start(self) -> None:
        """Open the sources."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Wake all who wait, and give nothing more; called under the lock."""
        self._stopped = True
        self._cancel.set()
        self._space.notify_all()
        self._work.notify_all()

    def end(self) -> None:
        """Take no more frames from the sources; those that wait are still given."""
        self._cancel.set()
        with self._work:
            for lane in self._lanes:
                lane.ended = True
            self._space.notify_all()
            self._work.notify_all()
            self._changed()

    @property
    def drained(self) -> bool:
        """Whether no worker will get another frame; asked under the lock."""
        ended = self.error is not None or all(lane.ended for lane in self._lanes)
        return ended and not any(lane.inbox for lane in self._lanes)

    def take(self, most: int) -> Sequence[tuple[Any, ...]]:
        """Give a worker frames, of the streams in turn; wait for the first.

        Returns:
            (frame, lane, place in the lane's order) each; none where no more will come.
        """
        with self._work:
            while not self._stopped:
                free = min(most, self._limit - self.under_way)
                jobs: list[tuple[Frame, Lane, int]] = []
                while len(jobs) < free and (lane := self._next_lane()) is not None:
                    jobs.append(lane.take())
                if jobs:
                    self.under_way += len(jobs)
                    self._space.notify_all()
                    return jobs
                if self.drained:
                    break
                self._work.wait()
            return ()

    def let_go(self, lane: Lane) -> None:
        """Count a frame that was handed out or left out; called under the lock."""
        self.under_way -= 1
        lane.under_way -= 1
        self._work.notify()

    def _next_lane(self) -> Lane | None:
        for i in range(len(self._lanes)):
            at = (self._turn + i) % len(self._lanes)
            if self._lanes[at].inbox:
                self._turn = at + 1
                return self._lanes[at]
        return None

    def _read(self, lane: Lane) -> None:
        """Take a source's frames into the stream's inbox; the work of its thread."""
        try:
            frames = lane.source.frames(self._cancel)
            try:
                for frame in frames:
                    if frame.arrival_s is None:
                        frame = frame.replace(arrival_s=time.monotonic())
                    wanted = self._gate is None or self._gate(frame)
                    if not self._accept(lane, frame, wanted):
                        break
            finally:
                close = getattr(frames, "close", None)
                if close is not None:
                    close()
            lane.drops.flush()
        except BaseException as error:
            # The other streams end with it.
            self.error = self.error or error
            self._cancel.set()
        finally:
            with self._work:
                lane.ended = True
                self._space.notify_all()
                self._work.notify_all()
                self._changed()

    def _accept(self, lane: Lane, frame: Frame, wanted: bool) -> bool:
        """Queue a frame, count it in any case; return False where no more are wanted."""
        with self._space:
            lane.counts.frames_in += 1
            if not wanted:
                lane.counts.skipped += 1
                return not self._cancel.is_set()
            while lane.full and not lane.latest and not self._cancel.is_set():
                self._space.wait()
            if self._cancel.is_set():
                lane.counts.dropped += 1
                return False
            dropped = lane.full
            if dropped:
                lane.drop_oldest()
            lane.inbox.append(frame)
            self._work.notify()
        if dropped:
            lane.drops.add()
        return True
