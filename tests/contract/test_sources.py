"""What every source of frames promises, whatever it reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv import codecs, events, plugins
from edgecv.errors import EdgecvError, StreamError, UsageError
from edgecv.reconnect import Policy
from edgecv.record import Record
from edgecv.recording import Recorder
from edgecv.source import SourceOptions, kinds_of, open_source
from edgecv.types import Frame
from tests import fake_cameras
from tests.cameras import PROMPT_S, no_leak, send_mjpeg, serve, set_later, write_video

NAMES = plugins.names("sources")
COUNT = 4
"""Frames that every case below can give at least, but for the Pi camera's stand-in with 3."""


class Case:
    """An address with frames behind it, and one without."""

    def __init__(self, address: str, missing: str | None, **options: Any) -> None:
        self.address, self.missing, self.options = address, missing, options
        self.ready: Callable[[Any], None] = lambda source: None

    def open(self, **more: Any) -> Any:
        source = open_source(self.address, reconnect=False, **{**self.options, **more})
        self.ready(source)
        return source


def images(folder: Path) -> Path:
    for i in range(COUNT):
        codecs.write(folder / f"{i}.png", np.full((4, 6, 3), i, np.uint8))
    return folder


def make(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Case:
    missing = str(folder / "missing")
    if name == "images":
        return Case(str(images(folder)), f"{missing}.png")
    if name == "folder":
        return Case(f"watch:{images(folder)}", f"watch:{missing}", poll_s=0.01, settle_s=0.01)
    if name == "video":
        write_video(folder / "a.mp4", COUNT)
        return Case(str(folder / "a.mp4"), f"{missing}.mp4")
    if name == "camera":
        fake_cameras.install_capture(monkeypatch, folder).script = list(range(1, 200))
        return Case("/dev/video0", "/dev/video98")
    if name == "picamera":
        fake_cameras.install_picamera2(monkeypatch)
        return Case("picamera", "picamera:7", width=8, height=6)
    if name == "rtsp":
        port = stack.enter_context(serve(lambda c, n: send_mjpeg(c, 60, pause_s=0.01)))
        return Case(f"http://127.0.0.1:{port}/x", "http://127.0.0.1:9/x")
    if name == "replay":
        with Recorder(folder) as recorder:
            for frame in open_source(f"faulty:frames={COUNT}").frames(threading.Event()):
                recorder.write(frame)
        return Case(f"replay:{folder}", f"replay:{missing}")
    if name == "faulty":
        return Case("faulty:", "faulty:open_fails=0")
    if name == "push":
        case = Case("push:door", None, capacity=COUNT)

        def fill(source: Any) -> None:
            for i in range(COUNT):
                source.push(np.full((4, 6, 3), i, np.uint8), float(i))

        case.ready = fill
        return case
    raise AssertionError(f"no case for the source {name}: write one")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with ExitStack() as stack:
        yield make(name, tmp_path, monkeypatch, stack)


def take(source: Any, count: int) -> list[Frame]:
    frames = source.frames(threading.Event())
    got = [next(frames) for _ in range(count)]
    frames.close()
    return got


def test_the_module_offers_what_it_must(name: str) -> None:
    module = plugins.load("sources", name)
    assert issubclass(module.Options, SourceOptions)
    assert module.Options().stream == ""
    assert isinstance(module.RECONNECTS, bool)
    assert module.recognise("") is False
    assert module.recognise("no such thing") is False
    for option in module.Options.record_fields:
        assert f"{option}:" in (module.Options.__doc__ + SourceOptions.__doc__), option


def test_only_its_kind_recognises_its_address(case: Case, name: str) -> None:
    assert kinds_of(case.address) == (name,)


def test_frames(case: Case) -> None:
    before = time.monotonic()
    source = case.open(stream="door")
    got = take(source, 3)
    assert source.stream == "door"
    assert isinstance(source.live, bool)
    assert [frame.index for frame in got] == [0, 1, 2]
    times = [frame.timestamp_s for frame in got]
    assert times == sorted(times)
    for frame in got:
        assert isinstance(frame, Frame)
        assert isinstance(frame, Record)
        assert frame.stream == "door"
        assert frame.source
        assert frame.epoch == 0
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
        assert frame.image.shape[2] == 3
        assert codecs.as_image(frame.image) is frame.image
        assert before <= frame.arrival_s <= time.monotonic()


def test_pictures_differ(case: Case) -> None:
    a, b = take(case.open(), 2)
    assert not np.array_equal(a.image, b.image)


def test_nothing_is_opened_before_the_frames_are_asked_for(case: Case) -> None:
    with no_leak():
        source = case.open()
        frames = source.frames(threading.Event())
        assert not [t for t in threading.enumerate() if t.name.startswith("edgecv")]
        del frames


def test_what_is_missing_is_an_error_of_the_stream(case: Case) -> None:
    if case.missing is None:
        pytest.skip("its frames come from the program")
    with no_leak():
        source = open_source(case.missing, reconnect=False)
        with pytest.raises(StreamError) as caught:
            next(source.frames(threading.Event()))
    assert caught.value.where


def test_it_stops_when_cancelled_between_frames(case: Case) -> None:
    cancel = threading.Event()
    with no_leak():
        seen = 0
        for _ in case.open().frames(cancel):
            seen += 1
            cancel.set()
    assert seen == 1


def test_it_stops_when_cancelled_before_it_begins(case: Case) -> None:
    cancel = threading.Event()
    cancel.set()
    with no_leak():
        assert len(list(case.open().frames(cancel))) <= 1


def test_it_stops_while_it_runs(case: Case, name: str) -> None:
    cancel = threading.Event()
    with no_leak():
        since = set_later(cancel, 0.2)
        frames = case.open().frames(cancel)
        try:
            for _ in frames:
                pass
        except StreamError:
            assert name in ("camera", "picamera")  # the stand-ins run dry
        cancel.wait(5)
        assert since() < PROMPT_S


def test_a_closed_iterator_leaves_nothing(case: Case) -> None:
    with no_leak():
        for _ in range(3):
            frames = case.open().frames(threading.Event())
            next(frames)
            frames.close()


def test_an_iterator_that_is_dropped_leaves_nothing(case: Case) -> None:
    with no_leak():
        frames = case.open().frames(threading.Event())
        next(frames)
        del frames


def test_it_can_be_read_again(case: Case) -> None:
    source = case.open()
    first = take(source, 2)
    case.ready(source)
    again = take(source, 2)
    assert first[0].image.shape == again[0].image.shape


def test_it_can_be_kept_going(case: Case) -> None:
    """Whatever it is, `Reconnect` around it passes its frames on."""
    told: list[events.Event] = []
    options = {**case.options, "listener": told.append}
    with no_leak():
        source = open_source(case.address, reconnect=Policy(attempts=1), **options)
        case.ready(source.source)
        got = take(source, 3)
    assert [(frame.index, frame.epoch) for frame in got] == [(0, 0), (1, 0), (2, 0)]
    assert type(told[0]) is events.Connected
    assert told[0].size_hw == got[0].image.shape[:2]
    assert type(told[-1]) is events.Ended


@pytest.mark.parametrize("address", ["", "\0", "\0.png", "x" * 5000, "http://", "rtsp://\n"])
def test_addresses_that_cannot_be_meant(name: str, address: str) -> None:
    module = plugins.load("sources", name)
    try:
        source = module.open_source(address, module.Options(), events.ignore)
    except UsageError:
        return
    if name == "push":
        return
    with no_leak(), pytest.raises(EdgecvError):
        next(iter(source.frames(threading.Event())))
