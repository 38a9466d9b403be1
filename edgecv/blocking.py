"""Wait for calls that cannot be interrupted, and give the wait up when told to.

Cameras and network libraries block inside of a call for as long as they like, and offer no way to
end it from outside. So each connection makes its calls on a thread of its own, one at a time. Who
waits looks at `cancel` every 50 ms and may leave; the thread then ends as soon as the library
returns, which the library's own time limits bound, and closes what it holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Protocol, TypeVar

from edgecv.errors import StreamError

T = TypeVar("T")
Item = TypeVar("Item", covariant=True)

POLL_S = 0.05
"""How often a wait looks whether it is still wanted."""
_PATIENCE_S = 0.3


class GivenUp(Exception):  # noqa: N818  # not an error: somebody set `cancel`
    """The wait for a call was cancelled; the call itself may still be running."""


class Reader(Protocol[Item]):
    """Something whose calls block. All three are called on one thread."""

    def open(self) -> None:
        """Open it. Raises StreamError where that fails."""

    def read(self) -> Item | None:
        """Return the next item, or None at the end. Raises StreamError where it is lost."""

    def close(self) -> None:
        """Let go of everything; called once, also where `open` failed or was never called."""


class Worker:
    """A thread that makes calls for another one; started with the first call.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], bool]] = SimpleQueue()
        self._results: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        # A daemon: a program must be able to exit while a library still blocks.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def call(
        self, function: Callable[[], T], cancel: threading.Event, limit_s: float | None = None
    ) -> T:
        """Make a call on the thread and wait for what it returns or raises.

        Args:
            function: what to call.
            cancel: ends the wait. After that only `close` may be called.
            limit_s: longest wait; None waits as long as the call takes.

        Raises:
            GivenUp: `cancel` was set.
            StreamError: the limit has passed.
        """
        if not self._started:
            self._thread.start()
            self._started = True
        self._jobs.put((function, False))
        start = monotonic()
        while True:
            try:
                good, value = self._results.get(timeout=POLL_S)
            except Empty:
                if cancel.is_set():
                    raise GivenUp from None
                if limit_s is not None and monotonic() - start > limit_s:
                    raise StreamError("no answer", expected=f"one within {limit_s:g} s") from None
                continue
            if good:
                result: T = value
                return result
            raise value

    def close(self, last: Callable[[], None]) -> None:
        """Let the thread make one last call and end; wait for that a short while only.

        Args:
            last: frees what the calls have opened; what it raises is dropped.
        """
        if not self._started:
            last()
            return
        self._jobs.put((last, True))
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while True:
            function, final = self._jobs.get()
            try:
                self._results.put((True, function()))
            except BaseException as error:  # handed to the caller
                self._results.put((False, error))
            del function
            if final:
                return


def read_all(
    reader: Reader[T],
    cancel: threading.Event,
    name: str,
    *,
    open_limit_s: float | None = None,
    limit_s: float | None = None,
) -> Generator[T, None, None]:
    """Open a reader and yield what it reads, until its end or until `cancel` is set.

    Args:
        reader: is closed in any case.
        cancel: is obeyed within about 50 ms, whatever the reader does.
        name: of the thread that reads.
        open_limit_s: longest wait until it is open; the reader's own limits should be shorter.
        limit_s: longest wait for one item.

    Raises:
        StreamError: as the reader does, or the limit has passed.
    """
    worker = Worker(name)
    try:
        worker.call(reader.open, cancel, open_limit_s)
        while not cancel.is_set():
            item = worker.call(reader.read, cancel, limit_s)
            if item is None:
                return
            yield item
            del item
    except GivenUp:
        return
    finally:
        worker.close(reader.close)
