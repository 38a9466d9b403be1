"""A thousand disconnects, and stops in every state: nothing is left behind, and nothing waits."""

from __future__ import annotations

import socket
import threading

import pytest

from edgecv import events
from edgecv.errors import StreamError
from edgecv.reconnect import Policy
from edgecv.source import open_source
from tests.cameras import PROMPT_S, no_leak, send_mjpeg, serve, set_later, wait_for_readers

AT_ONCE = Policy(first_delay_s=0.0, healthy_s=0.0)
LOSSES = 1000


def test_a_thousand_disconnects_of_a_source_on_purpose() -> None:
    told: list[events.Event] = []
    with no_leak():
        spec = f"faulty:frames={LOSSES * 3},disconnect=/3,drop=0.1,resize=0.02,seed=5"
        source = open_source(spec, reconnect=AT_ONCE, listener=told.append)
        got = list(source.frames(threading.Event()))
    kinds = [type(event) for event in told]
    assert kinds.count(events.Disconnected) == LOSSES
    assert got[-1].epoch >= LOSSES * 0.98 - 1
    numbers = [frame.index for frame in got]
    assert numbers == sorted(set(numbers))


@pytest.mark.slow
def test_a_thousand_disconnects_of_a_real_server() -> None:
    """Connections that are closed at once, after a picture, and within one."""

    def handle(connection: socket.socket, number: int) -> None:
        if number % 4 == 0:
            return
        send_mjpeg(connection, number % 4)
        if number % 4 == 3:
            connection.sendall(b"--edgecvframe\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff")

    told: list[events.Event] = []
    cancel = threading.Event()

    def listen(event: events.Event) -> None:
        told.append(event)
        if sum(type(e) is events.Disconnected for e in told[-3:]) and len(losses()) >= LOSSES:
            cancel.set()

    def losses() -> list[events.Event]:
        return [e for e in told if type(e) is events.Disconnected]

    frames = 0
    with serve(handle) as port, no_leak():
        source = open_source(f"http://127.0.0.1:{port}/x", reconnect=AT_ONCE, listener=listen)
        for frame in source.frames(cancel):
            frames += 1
            assert frame.index == frames - 1
    assert len(losses()) == LOSSES
    assert frames > LOSSES


def stopped(address: str, delay_s: float = 0.3, **options: object) -> float:
    """Cancel a stream after a while; return how long it went on after that."""
    cancel = threading.Event()
    source = open_source(address, **options)
    since = set_later(cancel, delay_s)
    try:
        for _ in source.frames(cancel):
            pass
    finally:
        assert source.state == "stopped"
    return since()


@pytest.mark.parametrize(
    "spec",
    [
        "faulty:slow_open_s=60",  # connecting
        "faulty:frames=0,fps=30",  # streaming
        "faulty:frames=9,stall=3,stall_s=60",  # in a stall
        "faulty:open_fails=0.999",  # waiting
        "faulty:frames=0,disconnect=/2",
    ],
)
def test_it_stops_at_once_in_every_state(spec: str) -> None:
    policy = Policy(first_delay_s=20.0, jitter=0.0)
    with no_leak():
        assert stopped(spec, reconnect=policy) < PROMPT_S


def test_it_stops_at_once_in_front_of_a_socket_that_says_nothing() -> None:
    """Connections pile up in the backlog; nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent, no_leak():
        port = silent.getsockname()[1]
        for scheme in ("rtsp", "http"):
            assert stopped(f"{scheme}://127.0.0.1:{port}/x", open_timeout_s=1.5) < PROMPT_S
        wait_for_readers()


def test_it_stops_at_once_while_it_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with no_leak():
        assert stopped(f"rtsp://127.0.0.1:{port}/x") < PROMPT_S


def test_a_frozen_picture_is_noticed_and_left() -> None:
    told: list[events.Event] = []
    policy = Policy(first_delay_s=0.0, identical_s=0.2, attempts=2)
    source = open_source("faulty:frames=0,fps=50,freeze=5", reconnect=policy, listener=told.append)
    cancel = threading.Event()
    for frame in source.frames(cancel):
        if frame.epoch:
            cancel.set()
    kinds = [type(event).__name__ for event in told]
    assert kinds == [
        "Connected", "Frozen", "Disconnected", "Reconnecting", "Connected", "Ended"
    ]  # fmt: skip


def test_what_is_given_up_for_good_leaves_nothing() -> None:
    with no_leak(), pytest.raises(StreamError):
        list(
            open_source(
                "faulty:open_fails=1.0", reconnect=Policy(first_delay_s=0.0, attempts=50)
            ).frames(threading.Event())
        )
