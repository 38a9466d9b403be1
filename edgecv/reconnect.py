"""Keep a live stream going: notice that it was lost or stands still, wait, connect again.

States::

    connecting --first frame--> streaming
    connecting, streaming --failure, silence, the same picture for too long--> waiting
    waiting --pause over--> connecting
    any --end of the source, cancel, too many failures in a row--> stopped

Everything happens in the thread that iterates; the clock, the pause and the random numbers can be
given by a test.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from edgecv import events
from edgecv.errors import EdgecvError, StreamError, StreamRefusedError, UsageError
from edgecv.raw_frames import pixels_of, same_pixels
from edgecv.record import Record
from edgecv.types import Frame, Source

State = Literal["connecting", "streaming", "waiting", "stopped"]


class Policy(Record, kw_only=True):
    """When a connection is given up, and how long to wait before the next.

    The pause after the n-th failure in a row is ``first_delay_s * 2 ** (n - 1)``, at most
    `max_delay_s`, times a random factor between ``1 - jitter`` and 1, so that a hundred cameras
    do not come back in the same moment.

    Attributes:
        first_delay_s: pause after the first failure.
        max_delay_s: longest pause.
        jitter: 0 to 1; share of a pause that is left to chance.
        attempts: failures in a row after which the stream has failed for good; None never.
        healthy_s: a connection that delivered frames for so long ends the row of failures. One
            that delivers a frame and breaks, again and again, is waited for longer and longer.
        open_s: a connection without a first frame after so long is given up.
        silent_s: one without a further frame after so long is frozen.
        identical_s: one whose picture has not changed at all for so long is frozen; None does not
            look. Real cameras have noise; screens, games and test pictures may stand still.
    """

    first_delay_s: float = 0.5
    max_delay_s: float = 30.0
    jitter: float = 0.5
    attempts: int | None = None
    healthy_s: float = 10.0
    open_s: float = 30.0
    silent_s: float = 10.0
    identical_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.to_fields().items():
            low = 0 if name in ("first_delay_s", "jitter", "healthy_s") else 1e-9
            high = 1.0 if name == "jitter" else float("inf")
            if value is not None and not low <= value <= high:
                raise UsageError(
                    "out of range",
                    where=f"reconnect policy: {name}",
                    expected="0 to 1" if name == "jitter" else "a positive number",
                    got=repr(value),
                )

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the pause after a failure.

        Args:
            attempt: failures in a row, from 1.
            chance: in [0, 1), even.
        """
        longest = min(self.max_delay_s, self.first_delay_s * 2.0 ** min(attempt - 1, 60))
        return longest * (1 - self.jitter * chance)


class _Watch(threading.Event):
    """The `cancel` of one connection: set when the stream's own is, or when a deadline passes."""

    def __init__(self, cancel: threading.Event, clock: Callable[[], float], limit_s: float) -> None:
        super().__init__()
        self._cancel, self._clock = cancel, clock
        self.limit_s = limit_s
        self.start = clock()

    def restart(self, limit_s: float) -> None:
        """Count the time from now on."""
        self.limit_s, self.start = limit_s, self._clock()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self._clock() - self.start > self.limit_s

    def is_set(self) -> bool:
        return super().is_set() or self._cancel.is_set() or self.late

    def wait(self, timeout: float | None = None) -> bool:
        left = max(0.0, self.limit_s - (self._clock() - self.start)) + 1e-3
        if timeout is None or left < timeout:
            self._cancel.wait(left)
            return timeout is None or self.is_set()
        self._cancel.wait(timeout)
        return self.is_set()


class Reconnect:
    """A live source that comes back.

    The frames of the source are passed on with an index that goes on over all connections, and
    with an epoch that counts up at each reconnect, each change of size, and wherever the source
    itself begins a new one.

    Attributes:
        state: what it does now.
        epoch: of the last frame.
    """

    def __init__(
        self,
        source: Source,
        policy: Policy | None = None,
        *,
        listener: events.Listener = events.ignore,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        """Wrap a source.

        Args:
            source: is opened anew for each connection. Where it ends without an error, it has
                ended for good.
            policy: when to give up, how long to wait.
            listener: takes the events.
            clock: seconds that only go forward.
            chance: an even random number in [0, 1).
            wait: waits for an event to be set, or so many seconds.
        """
        self.source = source
        self.policy = policy or Policy()
        self.state: State = "stopped"
        self.epoch = 0
        self._listener, self._clock, self._chance, self._wait = listener, clock, chance, wait
        self._frames = self._failures = 0
        self._next_index = 0

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.source.stream

    @property
    def live(self) -> bool:
        """Whether frames are lost if nobody takes them."""
        return self.source.live

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield the frames of one connection after the other; see `edgecv.types.Source.frames`.

        Raises:
            StreamRefusedError: trying again does not help.
            StreamError: as often in a row as the policy allows.
        """
        reason = "closed"
        try:
            while not cancel.is_set():
                connection = _Connection(self, cancel)
                yield from connection.frames()
                lost = connection.lost
                if cancel.is_set():
                    break
                if lost is None:
                    reason = "the source has ended"
                    return
                self._tell(events.Disconnected, lost.message, connection.count)
                self._failures += 1
                most = self.policy.attempts
                if isinstance(lost, StreamRefusedError) or (most and self._failures >= most):
                    raise lost
                self.state = "waiting"
                delay = self.policy.delay_s(self._failures, self._chance())
                self._tell(events.Reconnecting, delay, self._failures)
                if self._wait(cancel, delay):
                    break
            reason = "cancelled"
        except Exception as error:
            reason = error.message if isinstance(error, EdgecvError) else repr(error)
            raise
        finally:
            self.state = "stopped"
            self._tell(events.Ended, reason, self._frames)

    def _tell(self, kind: type[events.Event], *facts: Any) -> None:
        self._listener(kind(self.stream, self._clock(), *facts))


class _Connection:
    """The frames from one opening of the source to its end.

    Attributes:
        count: frames that came.
        lost: why it was given up; None where the source ended or `cancel` was set.
    """

    def __init__(self, owner: Reconnect, cancel: threading.Event) -> None:
        self.count = 0
        self.lost: StreamError | None = None
        self._owner, self._cancel, self._policy = owner, cancel, owner.policy
        self._clock, self._tell = owner._clock, owner._tell
        self._watch = _Watch(cancel, self._clock, self._policy.open_s)
        self._last: Frame | None = None
        self._offset = 0
        self._since = self._changed = 0.0

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, renumbered."""
        owner = self._owner
        owner.state = "connecting"
        inner = owner.source.frames(self._watch)
        try:
            for frame in inner:
                if not self._take(frame):
                    return
                index = frame.index + self._offset
                owner._next_index = index + 1
                owner._frames += 1
                self.count += 1
                handed = self._clock()
                yield frame.replace(index=index, epoch=owner.epoch)
                if self._cancel.is_set():
                    return
                # What the consumer does with a frame is not the stream's standing still.
                self._changed += self._clock() - handed
                self._watch.restart(self._policy.silent_s)
            if self._watch.late and not self._cancel.is_set():
                self.lost = self._frozen("silent", self._watch.limit_s)
        except StreamError as error:
            self.lost = error
        finally:
            self._last = None
            # A source may be any iterator; one that can be closed must be, on whatever way out.
            if hasattr(inner, "close"):
                inner.close()

    def _take(self, frame: Frame) -> bool:
        """Compare a frame with the one before; False where the picture stands still."""
        now, last, owner = self._clock(), self._last, self._owner
        limit_s = self._policy.identical_s
        if last is None:
            self._since = self._changed = now
            self._offset = owner._next_index - frame.index
            owner.epoch += 1 if owner._frames else 0
            owner.state = "streaming"
            self._tell(events.Connected, owner.epoch, _size(frame))
        elif frame.epoch != last.epoch:
            owner.epoch += 1
            self._changed = now
            if frame.index <= last.index:
                self._offset = owner._next_index - frame.index
        elif _size(frame) != _size(last):
            owner.epoch += 1
            self._changed = now
            self._tell(events.SizeChanged, _size(last), _size(frame), owner.epoch)
        elif limit_s is not None and not same_pixels(last, frame):
            self._changed = now
        if limit_s is not None and now - self._changed >= limit_s:
            self.lost = self._frozen("identical", now - self._changed)
            return False
        if now - self._since >= self._policy.healthy_s:
            owner._failures = 0
        self._last = frame
        return True

    def _frozen(self, kind: Literal["silent", "identical"], for_s: float) -> StreamError:
        self._tell(events.Frozen, for_s, kind)
        what = "no frame" if kind == "silent" else "the same picture"
        return StreamError(f"{what} for {for_s:.3g} s", where=self._owner.stream)


def _size(frame: Frame) -> tuple[int, int]:
    """Return (height, width) without converting anything."""
    height, width = pixels_of(frame).shape[:2]
    return (height, width)
