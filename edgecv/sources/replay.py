"""A recorded stream, played again: the same frames, numbers, times and epochs.

The address is ``replay:FOLDER``, or the path of a ``recording.jsonl``, as `edgecv.recording`
writes it. Events that were recorded are told again, at their place between the frames.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from edgecv.errors import UsageError
from edgecv.events import Event, Listener
from edgecv.recording import LIST_NAME, read_recording
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = False
_PREFIX = "replay:"


class Options(SourceOptions, kw_only=True):
    """How a recording is played.

    Attributes:
        paced: keep the pauses between the frames, as they arrived; the source is then live.
        speed: of a paced one: 2 is twice as fast.
    """

    paced: bool = False
    speed: float = 1.0


def recognise(address: Address) -> bool:
    """Tell whether it begins with ``replay:`` or is a list of a recording."""
    if not isinstance(address, str):
        return False
    return address.startswith(_PREFIX) or Path(address).name == LIST_NAME


def open_source(address: Address, options: Options, listener: Listener) -> ReplaySource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    path = Path(address.removeprefix(_PREFIX)) if isinstance(address, str) else None
    if path is None or not path.name:
        raise UsageError("", where="source", expected=f"{_PREFIX}FOLDER", got=repr(address))
    check_positive("replay", speed=options.speed)
    return ReplaySource(path.parent if path.name == LIST_NAME else path, options, listener)


class ReplaySource:
    """A recording.

    Attributes:
        stream: name of the stream. Frames keep the name they were recorded with, unless the
            options give another one.
        live: whether it is paced.
    """

    def __init__(self, folder: Path, options: Options, listener: Listener) -> None:
        self.stream = options.stream or str(folder)
        self.live = options.paced
        self._folder, self._options, self._listener = folder, options, listener

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield the recorded frames; see `edgecv.types.Source.frames`.

        Raises:
            StreamError: there is no such recording, or it is damaged; what comes before the
                damage is yielded.
        """
        zero: float | None = None
        for item in read_recording(self._folder):
            if cancel.is_set():
                return
            if isinstance(item, Event):
                self._listener(item)
                continue
            if self._options.paced:
                at = item.timestamp_s if item.arrival_s is None else item.arrival_s
                at /= self._options.speed
                zero = monotonic() - at if zero is None else zero
                if cancel.wait(max(0.0, zero + at - monotonic())):
                    return
            changes = {"stream": self._options.stream} if self._options.stream else {}
            yield item.replace(arrival_s=monotonic(), **changes)
