"""Threads take turns, and nobody is overtaken."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from edgecv.turns import Turns


def started(target: object) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def wait_for(turns: Turns, waiting: int) -> None:
    deadline = time.monotonic() + 20
    while len(turns._waiting) != waiting:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_than_count_at_a_time(count: int) -> None:
    turns, lock = Turns(count), threading.Lock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            turns.take()
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.0002)
            with lock:
                inside -= 1
            turns.give()

    threads = [started(work) for _ in range(6)]
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert most == count
    assert turns._free == count


def test_turns_go_to_whoever_waited_longest() -> None:
    turns, order = Turns(1), []
    turns.take()

    def work(number: int) -> None:
        turns.take()
        order.append(number)
        turns.give()

    threads = []
    for number in range(5):
        threads.append(started(lambda number=number: work(number)))
        wait_for(turns, number + 1)
    turns.give()
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]


def test_one_who_takes_again_and_again_does_not_overtake() -> None:
    turns, came = Turns(1), threading.Event()
    turns.take()
    thread = started(lambda: (turns.take(), came.set()))
    wait_for(turns, 1)
    turns.give()
    started(turns.take)  # behind it, though the lock was free for a moment
    assert came.wait(20)
    thread.join(20)


INTERRUPTED = """
import signal, sys, threading, time
from edgecv.turns import Turns

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
turns = Turns(1)
turns.take()

def interrupt():
    while not turns._waiting:
        time.sleep(0.001)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    turns.take()
except KeyboardInterrupt:
    waiting = len(turns._waiting)
    turns.give()
    print(waiting, turns._free)
"""


def test_an_interrupt_while_waiting_loses_no_turn() -> None:
    # In a process of its own: what other tests leave behind may not take signals.
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "0 1\n"), done.stderr


def test_an_interrupt_after_the_turn_was_handed_over_passes_it_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = Turns(1)
    turns.take()

    class Gate:
        """A lock that is given, and whose owner is interrupted before it notices."""

        acquired = 0

        def acquire(self) -> None:
            self.acquired += 1
            if self.acquired == 2:
                turns.give()
                raise KeyboardInterrupt

        def release(self) -> None:
            pass

    monkeypatch.setattr("edgecv.turns.threading", SimpleNamespace(Lock=Gate))
    with pytest.raises(KeyboardInterrupt):
        turns.take()
    assert turns._free == 1
    assert not turns._waiting
