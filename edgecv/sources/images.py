"""Image files, folders and globs, one frame for each.

An image that cannot be used is skipped and told as an event; its place in the numbering stays
empty, so that the others keep their times.
"""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from edgecv import events
from edgecv.codecs import read
from edgecv.errors import ImageError, StreamError, UsageError
from edgecv.image_files import expand, is_image
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = False


class Options(SourceOptions, kw_only=True):
    """How images become a stream.

    Attributes:
        fps: images a second, for the timestamps: image i is at ``i / fps`` seconds. Nothing waits.
        recursive: look into folders below a folder, too.
    """

    fps: float = 1.0
    recursive: bool = False


def recognise(address: Address) -> bool:
    """Tell whether it is a folder, an image by its name, or a glob; each of several must be."""
    return all(map(_recognise, (address,) if isinstance(address, str) else address))


def _recognise(address: str) -> bool:
    if "://" in address or not address:
        return False
    # os.path asks without failing, whatever the name.
    if os.path.isdir(address):  # noqa: PTH112
        return True
    missing = not os.path.exists(address)  # noqa: PTH110
    return is_image(Path(address).name) or (glob.has_magic(address) and missing)


def open_source(address: Address, options: Options, listener: events.Listener) -> ImagesSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    addresses = (address,) if isinstance(address, str) else tuple(address)
    if not addresses or not all(addresses):
        raise UsageError("", where="source", expected="a file, folder or glob", got=repr(address))
    check_positive("images", fps=options.fps)
    return ImagesSource(addresses, options, listener)


class ImagesSource:
    """Images on disk; the list is made when the frames are asked for.

    Attributes:
        stream: name of the stream.
        live: False: images wait.
        skipped: images that could not be used, in the last iteration.
    """

    live = False

    def __init__(
        self, addresses: tuple[str, ...], options: Options, listener: events.Listener
    ) -> None:
        self.stream = options.stream or addresses[0]
        self.skipped = 0
        self._addresses, self._options, self._listener = addresses, options, listener

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield one frame for each image; see `edgecv.types.Source.frames`."""
        try:
            paths = expand(self._addresses, recursive=self._options.recursive)
        except UsageError as error:
            raise StreamError(
                error.what or "no images",
                where=error.where,
                expected=error.expected,
                got=error.got,
                remedy=error.remedy,
            ) from None
        self.skipped = 0
        for index, path in enumerate(paths):
            if cancel.is_set():
                return
            try:
                image = read(path)
            except ImageError as error:
                self.skipped += 1
                self._listener(events.Skipped(self.stream, monotonic(), 1, error.message))
                continue
            yield Frame(
                image,
                index,
                index / self._options.fps,
                self.stream,
                str(path),
                arrival_s=monotonic(),
            )
