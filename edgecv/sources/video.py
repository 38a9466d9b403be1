"""Video files, decoded by PyAV where it is installed, else by OpenCV.

The times are the presentation times in the file, so those of a variable frame rate are right. Phone
videos that say that they lie on their side come upright. Non-square pixels are not stretched.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

from edgecv import events
from edgecv.errors import DependencyMissingError, StreamError, UsageError
from edgecv.raw_frames import RawFrame
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = False
SUFFIXES = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg"),
        *(".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts"),
        *(".vob", ".webm", ".wmv", ".y4m"),
    )
)
"""What counts as a video by its name."""

_PREFIX = re.compile(r"[A-Za-z]\w+:")


class Options(SourceOptions, kw_only=True):
    """Which part of a video, and how fast.

    Attributes:
        start_s: seconds after the video's begin from which on frames are yielded.
        stop_s: seconds after the video's begin at which it ends; None is the end of the file.
        stride: every how many-th frame is yielded; 1 is each.
        realtime: wait until each frame is due, as a camera would; the source is then live.
        reader: ``pyav``, ``opencv``, or ``auto``: PyAV where it is installed.
        threads: of the decoder; 0 leaves it to the library.
    """

    start_s: float = 0.0
    stop_s: float | None = None
    stride: int = 1
    realtime: bool = False
    reader: str = "auto"
    threads: int = 0


def recognise(address: Address) -> bool:
    """Tell whether it is named as a video file, and no URL."""
    if not isinstance(address, str):
        return False
    path = Path(address.removeprefix("file://"))
    named = path.suffix.lower() in SUFFIXES
    return named and (_PREFIX.match(str(path)) is None or _is_file(path))


def open_source(address: Address, options: Options, listener: events.Listener) -> VideoSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    if not isinstance(address, str) or not address:
        raise UsageError("", where="source", expected="a video file", got=repr(address))
    check_positive("video", stride=options.stride, stop_s=options.stop_s)
    if options.reader not in ("auto", "pyav", "opencv"):
        raise UsageError(
            "", where="source video: option reader", expected="auto, pyav or opencv",
            got=repr(options.reader),
        )  # fmt: skip
    if not 0 <= options.start_s < (options.stop_s or float("inf")):
        raise UsageError(
            "out of range",
            where="source video: option start_s",
            expected="0 or more, and below stop_s",
            got=f"{options.start_s:g}",
        )
    return VideoSource(address.removeprefix("file://"), options, listener)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  # asks without failing, whatever the name


class VideoSource:
    """A video file.

    Attributes:
        stream: name of the stream.
        live: whether it was asked to be paced.
        skipped: packets that could not be decoded, in the last iteration; OpenCV does not tell.
    """

    def __init__(self, path: str, options: Options, listener: events.Listener) -> None:
        self.stream = options.stream or path
        self.live = options.realtime
        self.skipped = 0
        self._path, self._options, self._listener = path, options, listener

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Yield the frames, numbered from 0 as they are yielded; see `edgecv.types.Source.frames`.

        Raises:
            StreamError: the file is missing, or no video in it can be decoded.
            DependencyMissingError: PyAV was asked for and is not installed.
        """
        if not _is_file(Path(self._path)):
            raise StreamError("no such file", where=self._path)
        self.skipped = 0
        options = self._options
        reader = self._reader(cancel)
        index = count = 0
        zero: float | None = None
        with closing(reader):
            reader.open()
            begin = reader.start_s
            if options.start_s:
                reader.seek(begin + options.start_s)
            while not cancel.is_set():
                picture = reader.read()
                if picture is None:
                    return
                # Half a microsecond: a time base of 1/90000 rounds what a user computes.
                at = picture.timestamp_s - begin + 5e-7
                if at < options.start_s:
                    continue
                if options.stop_s is not None and at >= options.stop_s:
                    return
                count += 1
                if (count - 1) % options.stride:
                    continue
                if options.realtime:
                    zero = monotonic() - at if zero is None else zero
                    if cancel.wait(max(0.0, zero + at - monotonic())):
                        return
                yield RawFrame.of(
                    picture.pixels,
                    index=index,
                    timestamp_s=picture.timestamp_s,
                    stream=self.stream,
                    source=self._path,
                    arrival_s=monotonic(),
                )
                index += 1

    def _reader(self, cancel: threading.Event) -> Any:
        def skipped(count: int, reason: str) -> None:
            self.skipped += count
            self._listener(events.Skipped(self.stream, monotonic(), count, reason))

        if self._options.reader != "opencv":
            from edgecv import pyav_reader

            try:
                pyav_reader.load_av(self._path)
            except DependencyMissingError:
                if self._options.reader == "pyav":
                    raise
            else:
                # The prefix keeps libavformat from reading a name such as "concat:a" as a command.
                return pyav_reader.PyavReader(
                    f"file:{self._path}",
                    threads=self._options.threads,
                    skipped=skipped,
                    cancelled=cancel.is_set,
                )
        from edgecv.opencv_reader import OpencvReader

        return OpencvReader(self._path)
