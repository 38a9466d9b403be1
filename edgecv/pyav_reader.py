"""Read pictures from video files and network streams with PyAV.

Pictures stay as the decoder made them until somebody looks; a damaged packet costs the pictures
that it holds and no more. Not thread-safe: whoever opens a reader also reads and closes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

from edgecv.decoded_pixels import DecodedPixels
from edgecv.errors import DependencyMissingError, StreamError, StreamRefusedError
from edgecv.record import Record
from edgecv.source import shown

# Containers that carry no times: what libavformat gives their packets is a guess at 25 a second.
_CLOCKLESS = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mjpeg_2000"})
_MAX_BAD_PACKETS = 500


class Picture(Record):
    """One decoded picture.

    Attributes:
        pixels: as the decoder made them.
        timestamp_s: presentation time on the container's own clock.
        arrival_s: when its packet had been read, by `time.monotonic`.
    """

    pixels: DecodedPixels
    timestamp_s: float
    arrival_s: float


class PyavReader:
    """Open a container and read the pictures of its first video stream.

    Args:
        address: path or URL.
        options: of libavformat.
        format: container format; None finds out.
        timeouts_s: longest time to open it, and to wait for a packet; None waits for ever.
        live: decode for low delay; where the container carries no times, a picture's time is that
            of its arrival, and the end of the stream is a loss.
        threads: of the decoder; 0 leaves it to the library.
        skipped: is told of what could not be decoded: how much and why.
        cancelled: asked between packets; once it says True, nothing more is read.
    """

    def __init__(
        self,
        address: str,
        *,
        options: Mapping[str, str] | None = None,
        format: str | None = None,
        timeouts_s: tuple[float, float] | None = None,
        live: bool = False,
        threads: int = 0,
        skipped: Callable[[int, str], None] = lambda count, reason: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.address = address
        self._where = shown(address).removeprefix("file:")
        self._options, self._format = dict(options or {}), format
        self._timeouts_s, self._live, self._threads = timeouts_s, live, threads
        self._skipped, self._cancelled = skipped, cancelled
        self._container: Any = None
        self._stream: Any = None
        self._pictures: Iterator[Picture] | None = None
        self._since = 0.0
        self.decoded = 0

    def open(self) -> None:
        """Open it and find its video stream.

        Raises:
            DependencyMissingError: PyAV is not installed.
            StreamRefusedError: the server wants other credentials.
            StreamError: it cannot be opened, or holds no video.
        """
        av = load_av(self.address)
        self._since = monotonic()
        try:
            self._container = av.open(
                self.address,
                format=self._format,
                options=self._options,
                timeout=self._timeouts_s,
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failure("cannot be opened", error) from None
        if not self._container.streams.video:
            raise StreamError("holds no video", where=self._where)
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_type = "SLICE" if self._live else "AUTO"
        if self._threads:
            self._stream.codec_context.thread_count = self._threads

    @property
    def start_s(self) -> float:
        """Time of the stream's first picture, where the container says so; else 0."""
        start = self._stream.start_time
        return float(start * self._stream.time_base) if start is not None else 0.0

    def seek(self, timestamp_s: float) -> None:
        """Go to a picture at or before a time on the container's clock; `read` goes on from there.

        Containers without an index, such as transport streams, are searched by a guess, which may
        land behind the time: then the guess is moved back, in the end to the begin.

        Raises:
            StreamError: the container cannot be searched or read.
        """
        import av

        if self._container.format.name in _CLOCKLESS:
            return  # where a search has landed could not be told; what comes before is read over
        back_s = 0.0
        while timestamp_s - back_s > self.start_s:
            try:
                target = int((timestamp_s - back_s) / self._stream.time_base)
                self._container.seek(target, stream=self._stream)
            except (av.FFmpegError, OSError) as error:
                raise self._failure("cannot be searched", error) from None
            self._pictures = self._decode()
            first = next(self._pictures, None)
            if first is not None and first.timestamp_s <= timestamp_s:
                self._pictures = itertools.chain([first], self._pictures)
                return
            back_s = 4 * back_s + 1
        self.close()
        self.open()

    def read(self) -> Picture | None:
        """Return the next picture, or None at the end of a file.

        Raises:
            StreamError: the stream was lost, or nothing in it can be decoded.
        """
        if self._pictures is None:
            self._pictures = self._decode()
        picture = next(self._pictures, None)
        if picture is None and not self.decoded and not self._cancelled():
            raise StreamError("no picture in it can be decoded", where=self._where)
        return picture

    def close(self) -> None:
        """Close the container; a second call does nothing."""
        self._pictures = None
        container, self._container = self._container, None
        self._stream = None
        if container is not None:
            container.close()

    def _decode(self) -> Iterator[Picture]:
        """Yield the pictures; what cannot be decoded is counted."""
        import av

        clockless = self._live and self._container.format.name in _CLOCKLESS
        rate = self._stream.average_rate or self._stream.guessed_rate or 25
        last_s: float | None = None
        bad = 0
        for packet in self._packets():
            if self._cancelled():
                return
            arrival_s = monotonic()
            if packet.size and packet.is_corrupt:
                self._skipped(1, "a packet that the container marks as corrupt")
                continue
            try:
                frames = packet.decode()
                bad = 0
            except av.FFmpegError as error:
                bad += 1
                if bad > _MAX_BAD_PACKETS:
                    raise self._failure("cannot be decoded", error) from None
                self._skipped(1, f"a packet that cannot be decoded: {error.strerror}")
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._skipped(1, "a picture with parts missing")
                    continue
                if clockless:
                    time_s = arrival_s
                elif frame.pts is not None:
                    time_s = float(frame.pts * frame.time_base)
                else:
                    time_s = 0.0 if last_s is None else last_s + float(1 / rate)
                last_s = time_s
                self.decoded += 1
                yield Picture(DecodedPixels(frame), time_s, arrival_s)
        if self._live:
            raise StreamError("the other side has ended the stream", where=self._where)

    def _packets(self) -> Iterator[Any]:
        """Yield packets, over damage that the container can be read past."""
        import av

        bad = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    bad = 0
                    yield packet
                return
            except av.InvalidDataError as error:
                bad += 1
                if bad > _MAX_BAD_PACKETS:
                    raise self._failure("cannot be read", error) from None
                self._skipped(1, f"data that is no packet: {error.strerror}")
            except av.EOFError:
                return
            except (av.FFmpegError, OSError, ValueError) as error:
                raise self._failure("was lost", error) from None

    def _failure(self, what: str, error: Exception) -> StreamError:
        """Make an error of the library's; its own text holds the address with the password."""
        import av

        where = self._where
        opening = what == "cannot be opened"
        limit_s = (self._timeouts_s or (float("inf"),) * 2)[0 if opening else 1]
        # Interrupted while it opens RTSP, the library speaks of invalid data.
        if isinstance(error, av.ExitError) or (opening and monotonic() - self._since >= limit_s):
            missing = "answer" if opening else "data"
            return StreamError(f"no {missing} for {limit_s:g} s", where=where)
        if isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError):
            return StreamRefusedError(
                "the server refuses",
                where=where,
                got=error.strerror,
                remedy="put the right user and password into the address",
            )
        text = getattr(error, "strerror", None) or type(error).__name__
        return StreamError(what, where=where, got=str(text))


def load_av(where: str) -> Any:
    """Import PyAV.

    Raises:
        DependencyMissingError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise DependencyMissingError(
            "PyAV is not installed", where=shown(where), remedy="pip install 'edgecv[stream]'"
        ) from None
    return av
