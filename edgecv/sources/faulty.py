"""A source that fails on purpose, for tests: synthetic pictures, or any other source, with faults.

The address is ``faulty:KEY=VALUE,KEY=VALUE`` for synthetic pictures; ``@ADDRESS`` behind it wraps
another source. Keys are those of `Options`. A fault's value says when it happens, counted in frames
over all connections from 0:

- ``0.1``: with this chance at each frame,
- ``/10``: at every tenth, beginning with frame 9,
- ``7+9``: at frames 7 and 9.

The same seed brings the same faults at the same frames, however often the stream is interrupted.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from time import monotonic
from typing import Any, cast, get_type_hints

import numpy as np

from edgecv import events
from edgecv.errors import StreamError, UsageError
from edgecv.record import Record
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.source import open_source as open_other
from edgecv.types import Frame, Image, Source

RECONNECTS = True
_PREFIX = "faulty:"
_FAULTS = ("drop", "duplicate", "freeze", "corrupt", "stall", "resize", "jump", "disconnect")


class Options(SourceOptions, kw_only=True):
    """What is shown, and what goes wrong.

    Attributes:
        frames: synthetic pictures in all; 0 never ends.
        fps: synthetic pictures a second; 0 does not wait, and counts time at 25 a second.
        width: of synthetic pictures in pixels.
        height: of synthetic pictures in pixels.
        seed: of everything that is left to chance.
        drop: frames that vanish.
        duplicate: frames that show the picture of the one before.
        freeze: frames from which on the picture stays the same, until the connection ends.
        corrupt: frames that cannot be decoded, and are told as skipped.
        stall: frames before which nothing comes for a while.
        stall_s: how long.
        resize: frames from which on the picture is half as wide, or as wide as before again.
        jump: frames at which the clock jumps.
        jump_s: how far; negative is back.
        disconnect: frames that are lost because the connection breaks.
        open_fails: connections, counted from 0, that cannot be made.
        slow_open_s: how long it takes to connect.
    """

    frames: int = 100
    fps: float = 0.0
    width: int = 64
    height: int = 48
    seed: int = 0
    drop: str = ""
    duplicate: str = ""
    freeze: str = ""
    corrupt: str = ""
    stall: str = ""
    stall_s: float = 1.0
    resize: str = ""
    jump: str = ""
    jump_s: float = -10.0
    disconnect: str = ""
    open_fails: str = ""
    slow_open_s: float = 0.0


def recognise(address: Address) -> bool:
    """Tell whether it begins with ``faulty:``."""
    return isinstance(address, str) and address.startswith(_PREFIX)


def open_source(address: Address, options: Options, listener: events.Listener) -> FaultySource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    if not isinstance(address, str) or not recognise(address):
        raise UsageError("", where="source", expected=f"{_PREFIX}KEY=VALUE,...", got=repr(address))
    spec, found, other = address.removeprefix(_PREFIX).partition("@")
    options = options.replace(**_parse(spec))
    inner = open_other(other, listener=listener, reconnect=False) if found else None
    return FaultySource(options, inner, listener=listener)


def _parse(spec: str) -> dict[str, Any]:
    """Read ``KEY=VALUE,...``, each value as the type of its option."""
    hints = get_type_hints(Options)
    values: dict[str, Any] = {}
    for part in filter(None, spec.split(",")):
        key, _, text = part.partition("=")
        if key not in Options.record_fields:
            raise UsageError(
                "unknown fault",
                where=f"{_PREFIX}{spec}",
                expected=f"one of {', '.join(Options.record_fields)}",
                got=repr(key),
            )
        try:
            values[key] = hints[key](text)
        except ValueError:
            where, expected = f"{_PREFIX}{spec}: {key}", hints[key].__name__
            raise UsageError("", where=where, expected=expected, got=repr(text)) from None
    return values


class When(Record):
    """At which counts something happens.

    Attributes:
        chance: at each.
        every: at every so many-th; 0 is never.
        at: these.
    """

    chance: float = 0.0
    every: int = 0
    at: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str, where: str) -> When:
        """Read ``0.1``, ``/10`` or ``7+9``; nothing is never.

        Raises:
            UsageError: it is none of these.
        """
        try:
            if not text:
                return cls()
            if text.startswith("/"):
                when = cls(every=int(text[1:]))
            elif "." in text:
                when = cls(chance=float(text))
            else:
                when = cls(at=tuple(map(int, text.split("+"))))
        except ValueError:
            when = cls(chance=-1)
        if not 0 <= when.chance <= 1 or when.every < 0 or min(when.at, default=0) < 0:
            expected = "a chance such as 0.1, /10 for every tenth, or 7+9 for these"
            raise UsageError("", where=where, expected=expected, got=repr(text))
        return when

    def __call__(self, count: int, seed: str) -> bool:
        """Tell whether it happens at a count; the same seed and count always agree."""
        if self.every and count % self.every == self.every - 1:
            return True
        if self.chance and random.Random(f"{seed}:{count}").random() < self.chance:
            return True
        return count in self.at


class FaultySource:
    """Pictures with faults.

    Synthetic pictures go on after a lost connection where they were; a wrapped source is opened
    anew for each connection.

    Attributes:
        stream: name of the stream.
        live: True.
        connections: how many were made or tried.
        position: frames that came or were lost, over all connections.
    """

    live = True

    def __init__(
        self,
        options: Options,
        inner: Source | None = None,
        *,
        listener: events.Listener = events.ignore,
    ) -> None:
        check_positive("faulty", width=options.width, height=options.height)
        self.stream = options.stream or (inner.stream if inner else "faulty")
        self.connections = self.position = 0
        self._options, self._inner, self._listener = options, inner, listener
        where = "source faulty: option"
        self._when = {
            name: When.parse(getattr(options, name), f"{where} {name}")
            for name in (*_FAULTS, "open_fails")
        }
        self._jumped_s = 0.0
        self._narrow = False

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield the frames of one connection; see `edgecv.types.Source.frames`.

        Raises:
            StreamError: the connection breaks, or cannot be made.
        """
        connection = self.connections
        self.connections += 1
        if self._options.slow_open_s and cancel.wait(self._options.slow_open_s):
            return
        if self._happens("open_fails", connection):
            raise StreamError("cannot be opened", where=self.stream, got="a fault on purpose")
        shown: Image | None = None
        frozen = False
        with ExitStack() as stack:
            frames = self._synthetic(cancel) if self._inner is None else self._inner.frames(cancel)
            if hasattr(frames, "close"):
                stack.enter_context(closing(cast(Any, frames)))
            for frame in frames:
                count = self.position
                self.position += 1
                if self._happens("stall", count) and cancel.wait(self._options.stall_s):
                    return
                if self._happens("disconnect", count):
                    raise StreamError("was lost", where=self.stream, got="a fault on purpose")
                if self._happens("jump", count):
                    self._jumped_s += self._options.jump_s
                if self._happens("resize", count):
                    self._narrow = not self._narrow
                if self._happens("drop", count):
                    continue
                if self._happens("corrupt", count):
                    reason = f"frame {count} is corrupt on purpose"
                    self._listener(events.Skipped(self.stream, monotonic(), 1, reason))
                    continue
                frozen = frozen or self._happens("freeze", count)
                image = frame.image
                if shown is not None and (frozen or self._happens("duplicate", count)):
                    image = shown
                shown = image
                if self._narrow:
                    image = np.ascontiguousarray(image[:, : max(1, image.shape[1] // 2)])
                time_s = frame.timestamp_s + self._jumped_s
                yield frame.replace(image=image, timestamp_s=time_s, stream=self.stream)
                if cancel.is_set():
                    return

    def _happens(self, fault: str, count: int) -> bool:
        return self._when[fault](count, f"{self._options.seed}:{fault}")

    def _synthetic(self, cancel: threading.Event) -> Iterator[Frame]:
        options = self._options
        step_s = 1 / (options.fps or 25.0)
        while not options.frames or self.position < options.frames:
            if options.fps and cancel.wait(step_s):
                return
            if cancel.is_set():
                return
            index = self.position
            image = synthetic_image(index, options.height, options.width)
            yield Frame(
                image, index, index * step_s, self.stream, self.stream, arrival_s=monotonic()
            )


def synthetic_image(index: int, height: int, width: int) -> Image:
    """Draw a picture that no other index has: a bright square on its way over a gradient.

    Returns:
        (height, width, 3) uint8 BGR. The first four values of the first row hold the index, as
        far as there is room.
    """
    ramp = np.linspace(0, 120, width, dtype=np.uint8)
    image = np.repeat(np.broadcast_to(ramp, (height, width))[..., None], 3, axis=2)
    side = max(1, min(height, width) // 4)
    x = index * 3 % max(1, width - side + 1)
    y = index % max(1, height - side + 1)
    image[y : y + side, x : x + side] = (40, 200, 255)
    flat = image.reshape(-1)
    marks = np.frombuffer(int(index).to_bytes(4, "little"), np.uint8)[: flat.size]
    flat[: marks.size] = marks
    return image
