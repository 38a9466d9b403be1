"""Waits for calls that block, and how they are given up."""

from __future__ import annotations

import threading
import time

import pytest

from edgecv.blocking import GivenUp, Worker, read_all
from edgecv.errors import StreamError
from tests.cameras import PROMPT_S, no_leak, set_later


class Stuck:
    """A reader that blocks for ever in one of its calls, until the test lets it go."""

    def __init__(self, where: str, items: int = 3) -> None:
        self.where, self.left = where, items
        self.go = threading.Event()
        self.threads: set[int] = set()
        self.closed = 0

    def _call(self, name: str) -> None:
        self.threads.add(threading.get_ident())
        if name == self.where:
            self.go.wait()

    def open(self) -> None:
        self._call("open")

    def read(self) -> int | None:
        self.left -= 1
        if self.left < 0:
            self._call("read")
            return None
        return self.left

    def close(self) -> None:
        self._call("close")
        self.closed += 1


def test_items_in_order_and_all_on_one_thread() -> None:
    reader = Stuck("nowhere", 4)
    with no_leak():
        assert list(read_all(reader, threading.Event(), "t")) == [3, 2, 1, 0]
        assert reader.closed == 1
    assert len(reader.threads) == 1
    assert threading.get_ident() not in reader.threads


def test_nothing_happens_before_the_first_item_is_asked_for() -> None:
    reader = Stuck("nowhere")
    with no_leak():
        items = read_all(reader, threading.Event(), "t")
        assert not reader.threads
        items.close()
    assert reader.closed == 0


@pytest.mark.parametrize("where", ["open", "read"])
def test_cancel_ends_the_wait_and_the_thread_ends_with_the_call(where: str) -> None:
    reader = Stuck(where, 1)
    cancel = threading.Event()
    with no_leak():
        since = set_later(cancel, 0.1)
        assert list(read_all(reader, cancel, "t")) == ([] if where == "open" else [0])
        assert since() < PROMPT_S
        assert reader.closed == 0
        reader.go.set()
    assert reader.closed == 1


def test_a_close_that_blocks_is_left_behind() -> None:
    reader = Stuck("close", 1)
    with no_leak():
        start = time.monotonic()
        assert list(read_all(reader, threading.Event(), "t")) == [0]
        assert time.monotonic() - start < 2
        reader.go.set()
    assert reader.closed == 1


def test_a_limit() -> None:
    reader = Stuck("read", 1)
    with no_leak():
        items = read_all(reader, threading.Event(), "t", limit_s=0.15)
        assert next(items) == 0
        with pytest.raises(StreamError, match=r"no answer: expected one within 0.15 s"):
            next(items)
        reader.go.set()


@pytest.mark.parametrize("error", [StreamError("gone"), KeyError("k"), KeyboardInterrupt()])
def test_what_a_call_raises_comes_to_the_caller(error: BaseException) -> None:
    def fail() -> None:
        raise error

    worker = Worker("t")
    with no_leak():
        with pytest.raises(type(error)) as caught:
            worker.call(fail, threading.Event())
        assert caught.value is error
        assert worker.call(lambda: 5, threading.Event()) == 5
        worker.close(lambda: None)


def test_a_reader_that_fails_is_closed() -> None:
    class Broken(Stuck):
        def read(self) -> int:
            raise StreamError("broken")

    reader = Broken("nowhere")
    with no_leak(), pytest.raises(StreamError, match="broken"):
        list(read_all(reader, threading.Event(), "t"))
    assert reader.closed == 1


def test_a_worker_that_never_worked() -> None:
    done = []
    with no_leak():
        Worker("t").close(lambda: done.append(1))
    assert done == [1]


def test_given_up_is_no_error_of_the_library() -> None:
    assert not issubclass(GivenUp, StreamError)
