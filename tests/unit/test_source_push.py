"""Frames that the embedding program hands in."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edgecv import events
from edgecv.errors import ImageError, StreamError, UsageError
from edgecv.source import open_source
from edgecv.sources.push import PushSource
from tests.cameras import PROMPT_S, no_leak, set_later


def image(value: int = 0) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


def values(source: PushSource) -> list[int]:
    return [int(f.image[0, 0, 0]) for f in source.frames(threading.Event())]


def test_what_is_pushed_comes_out() -> None:
    source = open_source("push:door", capacity=3)
    before = time.monotonic()
    for i in range(3):
        assert source.push(image(i), i / 10)
    source.end()
    got = list(source.frames(threading.Event()))
    assert [(f.index, f.timestamp_s, f.stream) for f in got] == [
        (0, 0.0, "door"), (1, 0.1, "door"), (2, 0.2, "door")
    ]  # fmt: skip
    assert [int(f.image[0, 0, 0]) for f in got] == [0, 1, 2]
    assert all(before <= f.arrival_s <= time.monotonic() for f in got)


def test_without_a_time_it_is_now() -> None:
    source = PushSource()
    source.push(image())
    source.end()
    (frame,) = source.frames(threading.Event())
    assert frame.timestamp_s == frame.arrival_s


def test_nothing_pushed_is_no_frames() -> None:
    source = PushSource()
    source.end()
    assert values(source) == []


def test_the_latest_stay_and_the_lost_are_counted() -> None:
    told: list[events.Event] = []
    source = open_source("push:x", capacity=2, listener=told.append)
    assert source.live
    for i in range(5):
        assert source.push(image(i))
    source.end()
    got = list(source.frames(threading.Event()))
    assert [f.index for f in got] == [3, 4]
    assert source.dropped == 3
    assert [(type(e), e.count) for e in told] == [(events.Dropped, 1)] * 3


def test_every_one_waits_for_room() -> None:
    source = open_source("push:x", capacity=1, policy="every")
    assert not source.live
    assert source.push(image(0))
    start = time.monotonic()
    assert not source.push(image(1), timeout_s=0.05)
    assert time.monotonic() - start >= 0.05
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.extend(values(source)))
    with no_leak():
        reader.start()
        for i in range(2, 50):
            assert source.push(image(i), timeout_s=5)
        source.end()
        reader.join(5)
    assert got == [0, *range(2, 50)]
    assert source.dropped == 0


def test_end_frees_whoever_waits_for_room() -> None:
    source = PushSource(capacity=1, policy="every")
    source.push(image())
    threading.Timer(0.1, source.end).start()
    with pytest.raises(StreamError, match="has been ended"):
        source.push(image(), timeout_s=5)


def test_nothing_is_copied_unless_asked() -> None:
    source = PushSource(capacity=2)
    array = image(1)
    source.push(array)
    source.push(array, copy=True)
    array[:] = 9
    source.end()
    assert values(source) == [9, 1]


def test_planes_stay_planes_until_somebody_looks() -> None:
    source = PushSource(capacity=4)
    luma, chroma = np.full((4, 6), 126, np.uint8), np.full((2, 3, 2), 128, np.uint8)
    source.push([luma, chroma], format="nv12")
    source.push(bytes(luma) + bytes(chroma), format="nv12", size_hw=(4, 6))
    source.push(np.full((4, 6), 7, np.uint8), format="grey")
    source.end()
    first, second, third = source.frames(threading.Event())
    assert not first.converted
    assert first.raw.planes[0] is luma
    assert abs(int(first.image[0, 0, 0]) - 128) <= 1
    np.testing.assert_array_equal(first.image, second.image)
    assert third.image.tolist() == np.full((4, 6, 3), 7).tolist()


def test_what_does_not_fit_is_an_error_at_once() -> None:
    source = PushSource("door")
    with pytest.raises(ImageError, match="frame of door"):
        source.push(np.zeros((4, 6, 3), np.float32))
    with pytest.raises(ImageError, match="even height and width"):
        source.push(bytes(27), format="nv12", size_hw=(3, 6))
    source.end()
    with pytest.raises(StreamError, match="door: the stream has been ended"):
        source.push(image())
    source.end()


def test_only_one_takes_the_frames_at_a_time() -> None:
    source = PushSource()
    source.push(image())
    first = source.frames(threading.Event())
    next(first)
    with pytest.raises(StreamError, match="being taken already"):
        next(source.frames(threading.Event()))
    first.close()
    source.push(image())
    assert next(source.frames(threading.Event())).index == 1


def test_cancel_ends_the_wait() -> None:
    cancel = threading.Event()
    since = set_later(cancel, 0.1)
    assert list(PushSource().frames(cancel)) == []
    assert since() < PROMPT_S


def test_many_threads_push() -> None:
    source = PushSource(capacity=1000, policy="every")

    def work(start: int) -> None:
        for i in range(50):
            source.push(image((start + i) % 256))

    threads = [threading.Thread(target=work, args=(i * 50,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.end()
    got = list(source.frames(threading.Event()))
    assert [f.index for f in got] == list(range(200))
    assert len({int(f.image[0, 0, 0]) for f in got}) == 200


def test_options() -> None:
    with pytest.raises(UsageError, match="latest or every"):
        open_source("push:x", policy="none")
    with pytest.raises(UsageError, match="capacity"):
        open_source("push:x", capacity=0)
    assert open_source("push:").stream == "push"
