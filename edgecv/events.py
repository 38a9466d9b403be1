"""What happens to a stream beside its frames: connections, losses, freezes, the end.

A source, or what wraps one, calls a `Listener` with each event, in the thread that reads the
stream. A listener must return at once and must not raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from edgecv.record import Record


class Event(Record):
    """Something that happened to a stream.

    Attributes:
        stream: name of the stream.
        at_s: when, by `time.monotonic`.
    """

    stream: str
    at_s: float


class Connected(Event):
    """The first frame of a connection has come.

    Attributes:
        epoch: that begins with it.
        size_hw: (height, width) of the frame in pixels.
    """

    epoch: int
    size_hw: tuple[int, int]


class Disconnected(Event):
    """A connection failed, could not be made, or was given up.

    Attributes:
        reason: one line, without credentials.
        frames: that came over this connection.
    """

    reason: str
    frames: int


class Reconnecting(Event):
    """The next attempt is made after a pause.

    Attributes:
        delay_s: the pause.
        attempt: failures in a row so far, from 1.
    """

    delay_s: float
    attempt: int


class Frozen(Event):
    """A connection stands still; it is given up, and `Disconnected` follows.

    Attributes:
        for_s: how long nothing new has come.
        kind: ``silent``, no frame at all; ``identical``, the same picture again and again.
    """

    for_s: float
    kind: Literal["silent", "identical"]


class SizeChanged(Event):
    """The frames of a connection have another size from here on.

    Attributes:
        old_hw: (height, width) before, in pixels.
        new_hw: (height, width) now.
        epoch: that begins with it.
    """

    old_hw: tuple[int, int]
    new_hw: tuple[int, int]
    epoch: int


class Dropped(Event):
    """Good frames were lost because nobody took them in time.

    Attributes:
        count: how many this event is about.
        reason: one line.
    """

    count: int
    reason: str


class Skipped(Event):
    """Data came that could not be made a picture: a broken image, a corrupt packet.

    Attributes:
        count: how many this event is about.
        reason: one line that names them.
    """

    count: int
    reason: str


class Ended(Event):
    """No more frames come.

    Attributes:
        reason: one line.
        frames: that came in all.
    """

    reason: str
    frames: int


Listener = Callable[[Event], None]
"""Takes events; called by the thread that reads the stream."""


def ignore(event: Event) -> None:
    """Take an event and do nothing: the listener of those who do not want to know."""


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        Connected,
        Disconnected,
        Reconnecting,
        Frozen,
        SizeChanged,
        Dropped,
        Skipped,
        Ended,
    )
}
"""Every kind of event by its name, as recordings keep it."""
