"""Frames that the embedding program hands in: a `PushSource`.

    source = open_source("push:door", capacity=2)
    source.push(array, timestamp_s)      # from any thread
    source.end()

Nothing is copied and nothing is converted: the arrays belong to the source until their frame is
done with, so a program that uses its buffer again pushes with ``copy=True``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import Any

from edgecv import events
from edgecv.errors import StreamError, UsageError
from edgecv.planes import Planes, as_planes
from edgecv.raw_frames import RawFrame
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = False
_PREFIX = "push:"
_LONGEST_WAIT_S = 0.1


class Options(SourceOptions, kw_only=True):
    """How many frames may wait, and what happens to one more.

    Attributes:
        capacity: frames that wait at most.
        policy: ``latest``: the oldest waiting frame is dropped and counted; ``every``: `push`
            waits until there is room.
    """

    capacity: int = 2
    policy: str = "latest"


def recognise(address: Address) -> bool:
    """Tell whether it begins with ``push:``."""
    return isinstance(address, str) and address.startswith(_PREFIX)


def open_source(address: Address, options: Options, listener: events.Listener) -> PushSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    if not isinstance(address, str) or not recognise(address):
        raise UsageError("", where="source", expected=f"{_PREFIX}NAME", got=repr(address))
    check_positive("push", capacity=options.capacity)
    if options.policy not in ("latest", "every"):
        raise UsageError(
            "", where="source push: option policy", expected="latest or every",
            got=repr(options.policy),
        )  # fmt: skip
    name = options.stream or address.removeprefix(_PREFIX) or "push"
    return PushSource(name, options.capacity, policy=options.policy, listener=listener)


class PushSource:
    """A bounded queue of frames; `push` and `end` may be called by any thread.

    Attributes:
        stream: name of the stream.
        live: whether frames are lost if nobody takes them; True with the policy ``latest``.
        dropped: frames that were lost so far.
    """

    def __init__(
        self,
        stream: str = "push",
        capacity: int = 2,
        *,
        policy: str = "latest",
        listener: events.Listener = events.ignore,
    ) -> None:
        self.stream = stream
        self.live = policy == "latest"
        self.dropped = 0
        self._capacity, self._listener = capacity, listener
        self._waiting: deque[tuple[Planes, int, float, float]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._pushed = 0
        self._taken_by: object | None = None

    def push(
        self,
        data: Any,
        timestamp_s: float | None = None,
        *,
        format: str = "bgr",
        size_hw: tuple[int, int] | None = None,
        copy: bool = False,
        timeout_s: float | None = None,
    ) -> bool:
        """Hand in one picture.

        Args:
            data: what `edgecv.planes.as_planes` takes: one uint8 array, the planes, or bytes.
            timestamp_s: when it was taken, on the program's clock; None means now, by
                `time.monotonic`.
            format: of `edgecv.planes.FORMATS`.
            size_hw: (height, width) in pixels, needed for flat data.
            copy: copy it, because the caller writes into its arrays again.
            timeout_s: with the policy ``every``, the longest wait for room; None waits for ever.

        Returns:
            True; False where the timeout passed and the picture was not taken.

        Raises:
            ImageError: it does not fit the format.
            StreamError: the stream has been ended.
        """
        planes = as_planes(data, format, size_hw, where=f"frame of {self.stream}")
        arrival_s = monotonic()
        planes = planes.copy() if copy else planes
        lost = 0
        with self._changed:
            if not self.live:
                free = self._changed.wait_for(
                    lambda: self._ended or len(self._waiting) < self._capacity, timeout_s
                )
                if not free:
                    return False
            if self._ended:
                raise StreamError("the stream has been ended", where=self.stream)
            while len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                lost += 1
            at_s = arrival_s if timestamp_s is None else timestamp_s
            self._waiting.append((planes, self._pushed, at_s, arrival_s))
            self._pushed += 1
            self.dropped += lost
            self._changed.notify_all()
        if lost:
            reason = "a newer frame came before it was taken"
            self._listener(events.Dropped(self.stream, monotonic(), lost, reason))
        return True

    def end(self) -> None:
        """Say that no more frames come; those that wait are still taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield what is pushed, until `end`; see `edgecv.types.Source.frames`.

        A dropped frame leaves a gap in the numbers.

        Raises:
            StreamError: somebody else is taking the frames.
        """
        me = object()
        with self._changed:
            if self._taken_by is not None:
                raise StreamError("its frames are being taken already", where=self.stream)
            self._taken_by = me
        try:
            while not cancel.is_set():
                with self._changed:
                    if not self._waiting:
                        if self._ended:
                            return
                        self._changed.wait(_LONGEST_WAIT_S)
                        continue
                    planes, index, at_s, arrival_s = self._waiting.popleft()
                    self._changed.notify_all()
                yield RawFrame.of(
                    planes,
                    index=index,
                    timestamp_s=at_s,
                    stream=self.stream,
                    source=self.stream,
                    arrival_s=arrival_s,
                )
        finally:
            with self._changed:
                self._taken_by = None
