"""A live page: the newest annotated frame of every stream, with counts and latency, by HTTP.

``GET /`` is the page, ``/stream/NAME`` a motion JPEG (multipart/x-mixed-replace, which every
browser shows), ``/snapshot/NAME`` one JPEG and ``/stats.json`` the numbers. Frames are drawn and
encoded only while somebody watches, once for all who do; a slow viewer misses frames and holds up
nobody.
"""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from edgecv import codecs
from edgecv.drawing import draw
from edgecv.errors import SinkError, UsageError
from edgecv.record import Record
from edgecv.result import Result
from edgecv.schema import Rule
from edgecv.types import Frame

_BOUNDARY = "frame"
_RATE_S = 5.0
_CLIENT_TIMEOUT_S = 10.0
_LET_GO_S = 1.0
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'"
)
_PAGE = Path(__file__).with_suffix(".html")


class Options(Record, kw_only=True):
    """Who may watch, and how well.

    Attributes:
        quality: of the JPEGs.
        most_viewers: motion pictures sent at once; more get status 503.
        max_fps: of the motion pictures.
    """

    quality: Annotated[int, Rule(ge=1, le=100)] = 80
    most_viewers: Annotated[int, Rule(ge=1, le=1000)] = 8
    max_fps: Annotated[float, Rule(gt=0, le=1000)] = 25.0


def recognise(target: str) -> bool:
    """Tell by the scheme, ``mjpeg://``."""
    return target.lower().startswith("mjpeg://")


class _Channel:
    """The newest frame of one stream, its picture once it was drawn, and its numbers."""

    def __init__(self, quality: int) -> None:
        self._quality = quality
        self._changed = threading.Condition()
        self._newest: tuple[Frame, Result] | None = None
        self._picture: tuple[int, bytes] = (0, b"")
        self._drawing = threading.Lock()
        self.version = 0
        self._times: deque[tuple[float, float]] = deque(maxlen=2000)
        self._found: Mapping[str, int] = {}

    def put(self, frame: Frame, result: Result) -> None:
        """Take the newest frame."""
        with self._changed:
            self._newest = (frame, result)
            self.version += 1
            now = time.monotonic()
            age = now - frame.arrival_s if frame.arrival_s is not None else float("nan")
            self._times.append((now, age))
            self._changed.notify_all()

    def wait(self, version: int, timeout_s: float) -> int:
        """Wait for a frame newer than `version`; return the newest version."""
        with self._changed:
            self._changed.wait_for(lambda: self.version > version, timeout_s)
            return self.version

    def picture(self) -> bytes:
        """Draw and encode the newest frame, once for all who ask."""
        with self._drawing:
            with self._changed:
                newest, version = self._newest, self.version
            if newest is None:
                return b""
            if self._picture[0] != version:
                frame, result = newest
                drawn = draw(codecs.as_image(frame.image), result)
                self._picture = (version, codecs.encode(drawn, ".jpg", self._quality))
            return self._picture[1]

    def numbers(self) -> dict[str, Any]:
        """Return frame, rate and age of the newest result, what it found and what was counted."""
        with self._changed:
            newest, times = self._newest, list(self._times)
        if newest is None:
            return {}
        frame, result = newest
        now = time.monotonic()
        recent = [age for at, age in times if now - at <= _RATE_S]
        ages = sorted(age for age in recent if age == age)
        return {
            "frame": frame.index,
            "epoch": frame.epoch,
            "fps": round(len(recent) / _RATE_S, 2),
            "age_ms_p50": round(ages[len(ages) // 2] * 1e3, 1) if ages else None,
            "since_s": round(now - times[-1][0], 2),
            "infer_ms": round(result.timings_ms.infer, 2),
            "total_ms": round(result.timings_ms.total, 2),
            "counts": counts(result),
            **{kind: (result.counts or {}).get(kind, {}) for kind in ("zones", "lines")},
        }


def counts(result: Result) -> dict[str, int]:
    """Count what a result holds by label; tasks without objects have no counts."""
    value: Any = result.value
    found: dict[str, int] = {}
    for class_id in getattr(value, "class_id", ()):
        if getattr(class_id, "ndim", 0):
            return {}
        number = int(class_id)
        name = result.labels[number] if number < len(result.labels) else str(number)
        found[name] = found.get(name, 0) + 1
    return found


class _Server(ThreadingHTTPServer):
    # Threads of viewers never keep the process alive; `close` lets go of them itself.
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], options: Options) -> None:
        self.options = options
        self.channels: dict[str, _Channel] = {}
        self.stopping = threading.Event()
        self.seats = threading.Semaphore(options.most_viewers)
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a viewer that went away is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_TIMEOUT_S

    def setup(self) -> None:
        """Note the connection, so that closing the page ends it."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer one request."""
        path = urlsplit(self.path).path
        kind, _, name = path.lstrip("/").partition("/")
        channel = self.server.channels.get(unquote(name))
        if path == "/":
            self._send(_PAGE.read_bytes(), "text/html; charset=utf-8")
        elif path == "/stats.json":
            numbers = {key: one.numbers() for key, one in list(self.server.channels.items())}
            self._send(json.dumps({"streams": numbers}).encode(), "application/json")
        elif kind == "snapshot" and channel is not None:
            self._send(channel.picture(), "image/jpeg")
        elif kind == "stream" and channel is not None:
            if not self.server.seats.acquire(blocking=False):
                self.send_error(503, "too many viewers")
                return
            try:
                self._stream(channel)
            finally:
                self.server.seats.release()
        else:
            self.send_error(404)

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        # The page loads nothing from elsewhere, and may not be framed by others.
        self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, channel: _Channel) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        shown, pause_s = 0, 1 / self.server.options.max_fps
        # The boundary follows each picture at once: browsers show a part when they see its end.
        self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
        while not self.server.stopping.is_set():
            newest = channel.wait(shown, 0.25)
            if newest == shown:
                continue
            shown = newest
            picture = channel.picture()
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + f"\r\n--{_BOUNDARY}\r\n".encode())
            self.server.stopping.wait(pause_s)


class LivePage:
    """Serve the page; `url` says where."""

    def __init__(self, target: str, options: Options) -> None:
        parts = urlsplit(target)
        try:
            port = parts.port
        except ValueError:
            port = None
        if port is None or parts.path.strip("/"):
            raise UsageError("", where=f"sink {target}", expected="mjpeg://HOST:PORT", got=target)
        host = parts.hostname or "127.0.0.1"
        try:
            self._server = _Server((host, port), options)
        except OSError as error:
            raise SinkError(
                f"cannot listen there: {error.strerror or error}",
                where=f"sink {target}",
                remedy="choose another port; port 0 takes a free one",
            ) from None
        self.url = f"http://{host}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name=f"edgecv {target}", daemon=True
        )
        self._thread.start()

    def write(self, frame: Frame, result: Result) -> None:
        """Show one frame; it is drawn only if somebody watches.

        Raises:
            SinkError: the page is closed.
        """
        if self._server.stopping.is_set():
            raise SinkError("closed", where=f"sink {self.url}")
        name = frame.stream or "camera"
        channel = self._server.channels.get(name)
        if channel is None:
            channel = self._server.channels[name] = _Channel(self._server.options.quality)
        channel.put(frame, result)

    def close(self) -> None:
        """Stop serving; viewers are let go within a second."""
        if not self._server.stopping.is_set():
            self._server.stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            # A viewer that takes nothing more holds its thread in a send until the socket ends.
            for connection in list(self._server.connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            deadline = time.monotonic() + _LET_GO_S
            while self._server.connections and time.monotonic() < deadline:
                time.sleep(0.005)


def open_sink(target: str, options: Options) -> LivePage:
    """Start to serve."""
    return LivePage(target, options)
