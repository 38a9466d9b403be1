"""Network streams through PyAV: RTSP, HTTP (MJPEG, MPEG-TS, HLS), RTMP, SRT, UDP, TCP.

User and password may stand in the address; they are sent to the server and shown nowhere. Opening
and reading have time limits, and `cancel` is obeyed at once in both: where the library is still in
a call, the thread that made the call ends with the limit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from time import monotonic

from edgecv import events
from edgecv.blocking import read_all
from edgecv.errors import UsageError
from edgecv.pyav_reader import PyavReader, load_av
from edgecv.raw_frames import RawFrame
from edgecv.source import Address, SourceOptions, check_positive, shown
from edgecv.types import Frame

RECONNECTS = True
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "udp", "tcp", "rtp")
"""Of the addresses that are taken for streams."""

_MICRO = 1_000_000


class Options(SourceOptions, kw_only=True):
    """How a network stream is read.

    Attributes:
        transport: of RTSP's pictures: ``tcp`` loses nothing, ``udp`` does not wait for what is
            late, ``http`` passes through what lets only HTTP through.
        open_timeout_s: the server must answer in it, and show a first packet.
        read_timeout_s: a stream without a packet for so long is lost.
        low_latency: hand on each picture as soon as it is there; False lets the library hold
            some back, for players.
        finite: the end of the stream is the end; otherwise it is a loss, and is reconnected to.
        format: container format, such as ``mpjpeg``; None finds out.
        threads: of the decoder; 0 leaves it to the library.
    """

    transport: str = "tcp"
    open_timeout_s: float = 5.0
    read_timeout_s: float = 5.0
    low_latency: bool = True
    finite: bool = False
    format: str | None = None
    threads: int = 0


def recognise(address: Address) -> bool:
    """Tell whether it is a URL of one of `SCHEMES`."""
    if not isinstance(address, str):
        return False
    scheme, found, rest = address.partition("://")
    return bool(found and rest) and scheme.lower() in SCHEMES


def open_source(address: Address, options: Options, listener: events.Listener) -> RtspSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    if not isinstance(address, str) or not recognise(address):
        raise UsageError(
            "no address of a stream",
            where="source",
            expected=f"a URL that begins with one of {', '.join(SCHEMES)}",
            got=repr(shown(str(address))),
        )
    if options.transport not in ("tcp", "udp", "http"):
        raise UsageError(
            "", where="source rtsp: option transport", expected="tcp, udp or http",
            got=repr(options.transport),
        )  # fmt: skip
    check_positive(
        "rtsp", open_timeout_s=options.open_timeout_s, read_timeout_s=options.read_timeout_s
    )
    load_av(address)
    return RtspSource(address, options, listener)


class RtspSource:
    """A network stream.

    Attributes:
        stream: name of the stream; made of the address without user, password and query.
        live: True, unless the stream is finite.
        skipped: packets and pictures that could not be decoded, over all connections.
    """

    def __init__(self, address: str, options: Options, listener: events.Listener) -> None:
        self.stream = options.stream or shown(address)
        self.live = not options.finite
        self.skipped = 0
        self._address, self._options, self._listener = address, options, listener

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Connect and yield the frames; see `edgecv.types.Source.frames`.

        Raises:
            StreamRefusedError: user or password are wrong.
            StreamError: the server does not answer, or the stream was lost or has ended.
        """
        options = self._options
        where = shown(self._address)

        def skipped(count: int, reason: str) -> None:
            self.skipped += count
            self._listener(events.Skipped(self.stream, monotonic(), count, reason))

        reader = PyavReader(
            self._address,
            options=self._library_options(),
            format=options.format,
            timeouts_s=(options.open_timeout_s, options.read_timeout_s),
            live=not options.finite,
            threads=options.threads,
            skipped=skipped,
            cancelled=cancel.is_set,
        )
        # The library's own limits come first; but looking a name up has none, and decoding neither.
        limits = {
            "open_limit_s": 2 * options.open_timeout_s + 1,
            "limit_s": 2 * options.read_timeout_s + 1,
        }
        with closing(read_all(reader, cancel, f"edgecv {where}", **limits)) as pictures:
            for index, picture in enumerate(pictures):
                yield RawFrame.of(
                    picture.pixels,
                    index=index,
                    timestamp_s=picture.timestamp_s,
                    stream=self.stream,
                    source=where,
                    arrival_s=picture.arrival_s,
                )

    def _library_options(self) -> dict[str, str]:
        """Set libavformat up; see the options of its demuxers and protocols."""
        options = {"analyzeduration": str(_MICRO), "probesize": str(_MICRO)}
        if self._options.low_latency:
            # Not "fflags=nobuffer": it throws away what was read to recognise the stream, with its
            # key picture, so the first frame would come a whole key interval later.
            options["flags"] = "low_delay"
        if self._address.lower().startswith("rtsp"):
            options["rtsp_transport"] = self._options.transport
            # With UDP, packets that come out of order are waited for at most so long.
            options["max_delay"] = str(_MICRO // 10)
        return options
