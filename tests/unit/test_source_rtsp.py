"""Network streams, from real servers on the loopback interface."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from itertools import pairwise

import pytest

from edgecv import events
from edgecv.errors import StreamError, StreamRefusedError, UsageError
from edgecv.reconnect import Policy
from edgecv.source import open_source
from tests.cameras import (
    PROMPT_S,
    no_leak,
    read_request,
    send_mjpeg,
    serve,
    set_later,
    wait_for_readers,
    which,
    write_video,
)

QUICK = {"open_timeout_s": 2.0, "read_timeout_s": 2.0}


@pytest.fixture(scope="module")
def transport_stream() -> bytes:
    buffer = io.BytesIO()
    write_video(buffer, 25, format="mpegts")
    return buffer.getvalue()


def send_file(connection: socket.socket, data: bytes) -> None:
    read_request(connection)
    head = f"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)


def test_motion_jpeg_over_http() -> None:
    with no_leak(), serve(lambda c, n: send_mjpeg(c, 6, pause_s=0.02)) as port:
        source = open_source(f"http://127.0.0.1:{port}/cam", reconnect=False, **QUICK)
        assert source.live
        got = []
        with pytest.raises(StreamError, match=r"was lost|has ended"):
            got.extend(source.frames(threading.Event()))
    # The last part has no end mark: the connection broke behind it.
    assert [f.index for f in got] == list(range(len(got)))
    assert len(got) in (5, 6)
    # The container carries no times: they are those of the arrival.
    assert [f.timestamp_s for f in got] == [f.arrival_s for f in got]
    gaps = [b.timestamp_s - a.timestamp_s for a, b in pairwise(got)]
    assert sum(gaps) >= 0.02 * (len(got) - 2)
    assert got[0].image.shape == (48, 64, 3)


def test_a_transport_stream_that_ends(transport_stream: bytes) -> None:
    with no_leak(), serve(lambda c, n: send_file(c, transport_stream)) as port:
        url = f"http://127.0.0.1:{port}/clip.ts"
        source = open_source(url, reconnect=False, finite=True, **QUICK)
        assert not source.live
        got = list(source.frames(threading.Event()))
        live = open_source(url, reconnect=False, **QUICK)
        with pytest.raises(StreamError, match="the other side has ended the stream"):
            list(live.frames(threading.Event()))
    assert [which(f.image) for f in got] == list(range(25))
    steps = [b.timestamp_s - a.timestamp_s for a, b in pairwise(got)]
    assert all(abs(step - 0.04) < 1e-6 for step in steps)


def rtsp_answers(connection: socket.socket, data: bytes, seen: list[str]) -> None:
    """Serve a transport stream over RTSP (RFC 2326) with interleaved RTP (RFC 2250), then close."""
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\n"
    while True:
        request = read_request(connection).decode()
        seen.append(request)
        method, number = request.split()[0], request.split("CSeq: ")[1].split("\r\n")[0]
        extra, body = "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = sdp
            extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        answer = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{extra}\r\n{body}"
        connection.sendall(answer.encode())
        if method == "PLAY":
            break
    for sequence, start in enumerate(range(0, len(data), 7 * 188)):
        payload = data[start : start + 7 * 188]
        packet = struct.pack(">BBHII", 0x80, 33, sequence, sequence * 900, 1) + payload
        connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def test_rtsp(transport_stream: bytes) -> None:
    seen: list[str] = []
    told: list[events.Event] = []

    def handle(connection: socket.socket, number: int) -> None:
        rtsp_answers(connection, transport_stream, seen)

    with no_leak(), serve(handle) as port:
        source = open_source(
            f"rtsp://user:geheim@127.0.0.1:{port}/live?k=geheim",
            reconnect=Policy(first_delay_s=0.01, attempts=9),
            listener=told.append,
            **QUICK,
        )
        frames = source.frames(threading.Event())
        got = [next(frames) for _ in range(60)]
        frames.close()
    assert {f.epoch for f in got} >= {0, 1, 2}
    assert [f.index for f in got] == list(range(60))
    first = [f for f in got if f.epoch == 0]
    assert [which(f.image) for f in first] == list(range(len(first)))
    assert "interleaved" in seen[2]
    said = f"{told}{got[0].stream}{got[0].source}{source.stream}"
    assert "geheim" not in said
    assert got[0].stream == f"rtsp://127.0.0.1:{port}/live?..."


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
@pytest.mark.parametrize("status", ["401 Unauthorized", "404 Not Found"])
def test_a_server_that_refuses(scheme: str, status: str) -> None:
    def handle(connection: socket.socket, number: int) -> None:
        while True:
            request = read_request(connection).decode()
            sequence = request.split("CSeq: ")[1].split("\r\n")[0] if scheme == "rtsp" else "1"
            version = "RTSP/1.0" if scheme == "rtsp" else "HTTP/1.0"
            connection.sendall(f"{version} {status}\r\nCSeq: {sequence}\r\n\r\n".encode())
            if scheme == "http":
                return

    with no_leak(), serve(handle) as port:
        source = open_source(f"{scheme}://u:geheim@127.0.0.1:{port}/x", reconnect=False, **QUICK)
        with pytest.raises(StreamError) as caught:
            list(source.frames(threading.Event()))
    assert isinstance(caught.value, StreamRefusedError) == status.startswith("401")
    assert "geheim" not in str(caught.value) + repr(caught.value.__cause__)
    assert f"127.0.0.1:{port}/x" in str(caught.value)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = open_source(f"rtsp://127.0.0.1:{port}/x", reconnect=False)
    with no_leak(), pytest.raises(StreamError, match="cannot be opened: got Connection refused"):
        list(source.frames(threading.Event()))


@pytest.mark.parametrize("scheme", ["http", "rtsp", "tcp"])
def test_a_server_that_never_answers(scheme: str) -> None:
    go = threading.Event()
    with serve(lambda c, n: go.wait(20)) as port, no_leak():
        source = open_source(f"{scheme}://127.0.0.1:{port}/x", reconnect=False, open_timeout_s=0.5)
        with pytest.raises(StreamError, match=r"no answer for 0\.5 s"):
            list(source.frames(threading.Event()))
        cancel = threading.Event()
        patient = open_source(f"{scheme}://127.0.0.1:{port}/x", open_timeout_s=2.0)
        since = set_later(cancel, 0.2)
        assert list(patient.frames(cancel)) == []
        assert since() < PROMPT_S
        wait_for_readers()  # a thread that is still in the call ends with its limit
        go.set()


def test_a_stream_that_stalls() -> None:
    go = threading.Event()

    def handle(connection: socket.socket, number: int) -> None:
        send_mjpeg(connection, 5)
        go.wait(20)

    with serve(handle) as port, no_leak():
        url = f"http://127.0.0.1:{port}/x"
        got = []
        with pytest.raises(StreamError, match=r"no data for 0\.5 s"):
            got.extend(
                open_source(url, reconnect=False, read_timeout_s=0.5).frames(threading.Event())
            )
        assert len(got) in (4, 5)  # whether the last part is whole shows with the next
        cancel = threading.Event()
        source = open_source(url, read_timeout_s=2.0)
        since = set_later(cancel, 0.4)
        assert 0 < len(list(source.frames(cancel))) <= 5
        assert since() < PROMPT_S
        told: list[events.Event] = []
        frozen = open_source(
            url,
            reconnect=Policy(silent_s=0.3, attempts=1),
            read_timeout_s=2.0,
            listener=told.append,
        )
        with pytest.raises(StreamError, match=r"no frame for 0\.3 s"):
            list(frozen.frames(threading.Event()))
        assert [type(e).__name__ for e in told] == [
            "Connected", "Frozen", "Disconnected", "Ended"
        ]  # fmt: skip
        wait_for_readers()
        go.set()


def test_cancel_before_anything_happens() -> None:
    cancel = threading.Event()
    cancel.set()
    with serve(lambda c, n: time.sleep(0.5)) as port, no_leak():
        assert list(open_source(f"http://127.0.0.1:{port}/x").frames(cancel)) == []


def test_addresses_and_options() -> None:
    with pytest.raises(UsageError, match=r"begins with one of rtsp") as caught:
        open_source("ftp://user:geheim@host", "rtsp")
    assert "geheim" not in str(caught.value)
    with pytest.raises(UsageError, match="tcp, udp or http"):
        open_source("rtsp://host/x", transport="carrier pigeon")
    with pytest.raises(UsageError, match="open_timeout_s"):
        open_source("rtsp://host/x", open_timeout_s=0)
