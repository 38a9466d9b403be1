"""A sink behind a bounded queue and a thread of its own, so that it holds nobody up.

Where frames are lost anyway (``latest``), a full queue loses its oldest result. Where every frame
counts (``every``), it is waited for, but not for long: a sink that moves nothing for PATIENCE_S, or
whose last delivery failed, is not waited for again until it has delivered something.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from edgecv.counters import SinkStats
from edgecv.errors import EdgecvError
from edgecv.events import Dropped, Event, Listener
from edgecv.types import Frame, Sink

PATIENCE_S = 2.0
GRACE_S = 0.3
"""So long a sink may go on delivering what waits when the pipeline is stopped."""
_TELL_S = 1.0


class SinkFailed(Event):
    """A sink could not deliver; it will be tried again with the next result.

    Attributes:
        sink: its address.
        reason: one line.
        count: failures that this event is about.
    """

    sink: str
    reason: str
    count: int


class Teller:
    """Calls a listener at most once a second and adds up what happens in between."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell, self._untold, self._last = tell, 0, float("-inf")

    def add(self, count: int = 1) -> None:
        """Count; tell if the last time is long enough ago."""
        self._untold += count
        if time.monotonic() - self._last >= _TELL_S:
            self.flush()

    def flush(self) -> None:
        """Tell what has not been told."""
        count, self._untold = self._untold, 0
        if count:
            self._last = time.monotonic()
            self._tell(count)


class Outlet:
    """One sink of a pipeline.

    Args:
        sink: closed at the end.
        name: what statistics and events call it.
        capacity: results that may wait.
        wait: wait for the sink where its queue is full, up to PATIENCE_S.
        listener: takes `Dropped` and `SinkFailed`.
    """

    def __init__(
        self, sink: Sink, name: str, *, capacity: int, wait: bool, listener: Listener
    ) -> None:
        self._sink, self.name, self._capacity, self._wait = sink, name, capacity, wait
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[tuple[Frame, Any]] = deque()
        self._ending = self._stopped = self._closed = False
        self._trusted = True
        self._deadline = float("inf")
        self._moved = time.monotonic()
        self._written = self._dropped = self._failed = 0
        self._stream = self._error = ""
        self.close_error: Exception | None = None
        self._tell_drops = Teller(
            lambda n: listener(
                Dropped(self._stream, time.monotonic(), n, f"sink {name} is too slow")
            )
        )
        self._tell_failures = Teller(
            lambda n: listener(SinkFailed(self._stream, time.monotonic(), name, self._error, n))
        )
        self.thread = threading.Thread(target=self._run, name=f"edgecv-sink-{name}", daemon=True)

    def offer(self, frame: Frame, result: Any) -> None:
        """Queue a result for the sink; see the module for what a full queue does."""
        with self._changed:
            if self._wait and self._trusted:
                deadline = time.monotonic() + PATIENCE_S
                while self._full() and self._trusted and not self._stopped:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        self._trusted = False
                    self._changed.wait(max(0.0, left))
            if self._stopped:
                self._dropped += 1
                return
            full = self._full()
            if full:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append((frame, result))
            self._changed.notify_all()
        if full:  # a listener may stop the pipeline, whose lock comes before this one
            self._tell_drops.add()

    def _full(self) -> bool:
        return len(self._queue) >= self._capacity

    def finish(self) -> None:
        """Deliver what waits and close the sink; return when it is done, stopped or stuck."""
        with self._changed:
            self._ending = True
            self._moved = time.monotonic()
            self._changed.notify_all()
            while not self._closed and not self._stopped:
                left = self._moved + PATIENCE_S - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        self.stop()

    def stop(self) -> None:
        """Give the sink GRACE_S for what waits, drop the rest and close it; return at once."""
        with self._changed:
            if not self._stopped:
                self._deadline = time.monotonic() + GRACE_S
            self._stopped = self._ending = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._deliver(*item)
        finally:
            try:
                self._sink.close()
            except Exception as error:
                self.close_error = error
                self._error = one_line(error)
            self._tell_drops.flush()
            self._tell_failures.flush()
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    def _next(self) -> tuple[Frame, Any] | None:
        with self._changed:
            while not self._queue and not self._ending:
                self._changed.wait()
            if time.monotonic() >= self._deadline:
                self._dropped += len(self._queue)
                self._queue.clear()
            item = self._queue.popleft() if self._queue else None
            self._changed.notify_all()
            return item

    def _deliver(self, frame: Frame, result: Any) -> None:
        self._stream = frame.stream
        try:
            self._sink.write(frame, result)
        except Exception as error:
            self._failed += 1
            self._error = one_line(error)
            self._trusted = False
            self._tell_failures.add()
        else:
            self._written += 1
            self._trusted = True
        with self._changed:
            self._moved = time.monotonic()
            self._changed.notify_all()

    def stats(self) -> SinkStats:
        """Return what was counted so far."""
        with self._changed:
            return SinkStats(
                self.name,
                self._written,
                self._dropped,
                self._failed,
                len(self._queue),
                self._error,
            )


def one_line(error: BaseException) -> str:
    """Word an error in one line."""
    if isinstance(error, EdgecvError):
        return error.message
    return " ".join(f"{type(error).__name__}: {error}".split())
