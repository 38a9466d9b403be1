"""A folder that is watched: each image that comes into it is one frame.

The address is ``watch:FOLDER``. The folder is listed again and again, which works on every file
system, network ones included, where notifications do not. A file is read once its size and time
have stood still for a moment, so one that is still being written waits; one that is renamed into
place is whole at once, and waits that moment all the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from edgecv import events
from edgecv.codecs import read
from edgecv.errors import ImageError, StreamError, UsageError
from edgecv.image_files import is_image
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = False
_PREFIX = "watch:"
# Windows of a wait for `cancel`, which must be seen within half a second.
_LONGEST_WAIT_S = 0.4


class Options(SourceOptions, kw_only=True):
    """How a folder is watched.

    Attributes:
        existing: begin with the images that are already there.
        poll_s: pause between two looks at the folder.
        settle_s: a file is whole once it has not changed for so long.
        delete: remove each image after its frame has been taken and the next one is asked for.
    """

    existing: bool = True
    poll_s: float = 0.2
    settle_s: float = 0.2
    delete: bool = False


def recognise(address: Address) -> bool:
    """Tell whether it begins with ``watch:``."""
    return isinstance(address, str) and address.startswith(_PREFIX)


def open_source(address: Address, options: Options, listener: events.Listener) -> FolderSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    if not isinstance(address, str) or not address.removeprefix(_PREFIX):
        raise UsageError("", where="source", expected=f"{_PREFIX}FOLDER", got=repr(address))
    check_positive("folder", poll_s=options.poll_s, settle_s=options.settle_s)
    return FolderSource(address.removeprefix(_PREFIX), options, listener)


class FolderSource:
    """A watched folder; it never ends by itself.

    Frames are in the order of the files' modification times, which are their timestamps; where
    two are equal, or a clock was set back, the later one gets the earlier one's time.

    Attributes:
        stream: name of the stream.
        live: False: files wait in the folder.
        skipped: images that could not be used.
    """

    live = False

    def __init__(self, folder: str, options: Options, listener: events.Listener) -> None:
        self.stream = options.stream or folder
        self.skipped = 0
        self._folder, self._options, self._listener = Path(folder), options, listener

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield each image once; see `edgecv.types.Source.frames`.

        Raises:
            StreamError: the folder is not there, cannot be listed, or vanished.
        """
        # Name -> what it looked like, and since when; a name that was taken is kept without.
        waiting: dict[str, tuple[tuple[int, int], float]] = {}
        taken = set() if self._options.existing else set(self._list())
        index, last_s = 0, 0.0
        while not cancel.is_set():
            now = monotonic()
            listed = self._list()
            taken &= listed.keys()
            ready = []
            for name, look in listed.items():
                if name in taken:
                    continue
                if waiting.get(name, (None, 0.0))[0] != look:
                    waiting[name] = (look, now)
                elif now - waiting[name][1] >= self._options.settle_s:
                    ready.append((look[1], name))
            waiting = {name: seen for name, seen in waiting.items() if name in listed}
            for time_ns, name in sorted(ready):
                taken.add(name)
                del waiting[name]
                path = self._folder / name
                try:
                    image = read(path)
                except ImageError as error:
                    self.skipped += 1
                    self._listener(events.Skipped(self.stream, monotonic(), 1, error.message))
                    continue
                last_s = max(last_s, time_ns / 1e9)
                yield Frame(image, index, last_s, self.stream, str(path), arrival_s=monotonic())
                index += 1
                if self._options.delete:
                    path.unlink(missing_ok=True)
                if cancel.is_set():
                    return
            # A folder full of files that settle is looked at again soon; a long pause is cut up.
            end = monotonic() + self._options.poll_s
            while (left := end - monotonic()) > 0 and not cancel.wait(min(left, _LONGEST_WAIT_S)):
                pass

    def _list(self) -> dict[str, tuple[int, int]]:
        """Return name -> (size, modification time in ns) of the images in the folder."""
        found = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not is_image(entry.name):
                        continue
                    try:
                        if entry.is_file():
                            status = entry.stat()
                            found[entry.name] = (status.st_size, status.st_mtime_ns)
                    except FileNotFoundError:  # gone between the listing and the look
                        continue
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            got = error.strerror if isinstance(error, OSError) else str(error)
            raise StreamError("cannot be listed", where=str(self._folder), got=got) from None
        return found
