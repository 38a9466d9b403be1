"""Videos, servers and cameras that the tests make themselves."""

from __future__ import annotations

import gc
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from edgecv.sources.faulty import synthetic_image

BOUNDARY = b"edgecvframe"
PROMPT_S = 1.0
"""What is promised: a stream ends within this time after it was cancelled, whatever it does."""


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that survives lossy coding well enough to tell which one it was: flat grey."""
    return np.full((height, width, 3), 20 + index * 8 % 216, np.uint8)


def write_video(
    target: Path | io.BytesIO,
    count: int = 20,
    *,
    times: list[int] | None = None,
    codec: str = "libx264",
    format: str | None = None,
    size: tuple[int, int] = (64, 48),
) -> None:
    """Write `picture` 0, 1, ... with PyAV; `times` in milliseconds, default 40 apart."""
    from fractions import Fraction

    import av

    where = target if isinstance(target, io.BytesIO) else str(target)
    with av.open(where, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"g": "5", "bf": "0", "preset": "ultrafast"} if codec == "libx264" else {}
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, size[1], size[0]), format="bgr24")
            frame.pts = times[index] if times else index * 40
            frame.time_base = Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def which(image: np.ndarray) -> int:
    """Tell which `picture` an image shows, of the first 27."""
    return round((float(image.mean()) - 20) / 8)


def jpeg(index: int) -> bytes:
    return bytes(cv2.imencode(".jpg", synthetic_image(index, 48, 64))[1])


@contextmanager
def serve(handle: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """Listen on a loopback port; `handle(connection, number)` runs in a thread for each."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def one(connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            handle(connection, number)

    def accept() -> None:
        number = 0
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=one, args=(connection, number), daemon=True)
            thread.start()
            threads[:] = [t for t in threads if t.is_alive()] + [thread]
            number += 1

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        # close() alone does not wake an accept() that waits
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(2)
        for thread in threads:
            thread.join(2)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        if not piece:
            raise OSError("closed")
        data += piece
    return data


def send_mjpeg(
    connection: socket.socket, count: int, *, first: int = 0, pause_s: float = 0.0
) -> None:
    """Answer a request with `count` JPEG parts, then return; the caller closes."""
    read_request(connection)
    connection.sendall(
        b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=" + BOUNDARY
        + b"\r\n\r\n"
    )  # fmt: skip
    for index in range(first, first + count):
        data = jpeg(index)
        connection.sendall(
            b"--" + BOUNDARY + b"\r\nContent-Type: image/jpeg\r\nContent-Length: "
            + str(len(data)).encode() + b"\r\n\r\n" + data + b"\r\n"
        )  # fmt: skip
        if pause_s:
            time.sleep(pause_s)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def no_leak(patience_s: float = 5.0) -> Iterator[None]:
    """Fail if there are more threads or descriptors after a while than there were before."""
    gc.collect()
    threads, files = set(threading.enumerate()), open_files()
    yield
    deadline = time.monotonic() + patience_s
    while True:
        gc.collect()
        more = [t for t in threading.enumerate() if t not in threads]
        if not more and open_files() <= files:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"threads {more}; descriptors {files} -> {open_files()}")
        time.sleep(0.02)


def wait_for_readers(patience_s: float = 5.0) -> None:
    """Wait until no thread of a source is left."""
    deadline = time.monotonic() + patience_s
    while left := [t.name for t in threading.enumerate() if t.name.startswith("edgecv")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def set_later(cancel: threading.Event, delay_s: float) -> Callable[[], float]:
    """Set `cancel` in a while; the returned function says how long ago that was."""
    when: list[float] = []

    def fire() -> None:
        when.append(time.monotonic())
        cancel.set()

    threading.Timer(delay_s, fire).start()
    return lambda: time.monotonic() - when[0]
