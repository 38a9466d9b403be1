"""Cameras: what they are asked for, and what happens when they go."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import cv2
import pytest

from edgecv.errors import DependencyMissingError, StreamError, UsageError
from edgecv.reconnect import Policy
from edgecv.source import open_source
from tests.cameras import PROMPT_S, no_leak, set_later
from tests.fake_cameras import Capture, Picamera2, install_capture, install_picamera2


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Capture]:
    return install_capture(monkeypatch, tmp_path)


def test_a_camera_that_is_not_there_says_why() -> None:
    source = open_source("/dev/video97", reconnect=False)
    with no_leak(), pytest.raises(StreamError, match=r"/dev/video97.*got No such file") as caught:
        list(source.frames(threading.Event()))
    assert "ls /dev/video" in str(caught.value)


def test_one_that_may_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *rest: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StreamError, match="group video"):
        list(open_source("0", reconnect=False).frames(threading.Event()))


def test_frames_settings_and_times(camera: type[Capture]) -> None:
    camera.script = [1, 2, 3]
    source = open_source(
        "0", reconnect=False, width=640, height=480, fps=30, fourcc="MJPG", stream="door"
    )
    got = []
    with no_leak(), pytest.raises(StreamError, match="gives no picture any more"):
        got.extend(source.frames(threading.Event()))
    assert [(f.index, f.timestamp_s, f.stream) for f in got] == [
        (0, 0.1, "door"), (1, 0.2, "door"), (2, 0.3, "door")
    ]  # fmt: skip
    (made,) = camera.made
    assert (made.device, made.backend) == ("/dev/video0", cv2.CAP_V4L2)
    assert next(iter(made.settings)) == cv2.CAP_PROP_FOURCC
    assert made.settings == {
        cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG")),
        cv2.CAP_PROP_FRAME_WIDTH: 640,
        cv2.CAP_PROP_FRAME_HEIGHT: 480,
        cv2.CAP_PROP_FPS: 30,
        cv2.CAP_PROP_BUFFERSIZE: 1,
    }
    assert made.released


def test_an_unplugged_camera_comes_back(camera: type[Capture]) -> None:
    camera.script = [1, 2, None, 3, 4]
    source = open_source("0", reconnect=Policy(first_delay_s=0.001, attempts=2))
    got = []
    with no_leak(), pytest.raises(StreamError):
        got.extend(source.frames(threading.Event()))
    assert [(f.index, f.epoch) for f in got] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert all(made.released for made in camera.made)


def test_a_camera_that_hangs(camera: type[Capture], monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    camera.script = [1, go]
    cancel = threading.Event()
    with no_leak():
        since = set_later(cancel, 0.2)
        assert len(list(open_source("0", reconnect=False).frames(cancel))) == 1
        assert since() < PROMPT_S
        camera.script = [go]
        with pytest.raises(StreamError, match="no answer"):
            list(open_source("0", reconnect=False, read_timeout_s=0.1).frames(threading.Event()))
        hung = open_source("0", reconnect=False, open_timeout_s=0.1)
        monkeypatch.setattr(camera, "open", lambda self, *rest: go.wait())
        with pytest.raises(StreamError, match="no answer"):
            list(hung.frames(threading.Event()))
        go.set()


def test_one_that_is_taken(camera: type[Capture]) -> None:
    camera.opens = False
    with pytest.raises(StreamError, match="cannot be opened"):
        list(open_source("0", reconnect=False).frames(threading.Event()))
    assert camera.made[0].released


def test_options() -> None:
    for options in ({"width": 0}, {"fps": -1.0}, {"buffers": 0}, {"fourcc": "MPEG4"}):
        with pytest.raises(UsageError, match=next(iter(options))):
            open_source("0", **options)
    with pytest.raises(UsageError, match="no camera"):
        open_source("front", "camera")
    with pytest.raises(UsageError, match="picamera"):
        open_source("front", "picamera")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    return install_picamera2(monkeypatch)


def test_a_pi_camera(picamera2: type[Picamera2]) -> None:
    source = open_source("picamera", reconnect=False, width=8, height=6, fps=10)
    got = []
    with no_leak(), pytest.raises(StreamError, match="was lost: got the camera has gone"):
        got.extend(source.frames(threading.Event()))
    assert [(f.index, f.timestamp_s, f.image.shape) for f in got] == [
        (0, 3.0, (6, 8, 3)), (1, 4.0, (6, 8, 3)), (2, 5.0, (6, 8, 3))
    ]  # fmt: skip
    (made,) = picamera2.made
    assert made.calls == ["configure", "start", *["release"] * 3, "stop", "close"]
    assert made.facts["main"] == {"size": (8, 6), "format": "RGB888"}
    assert made.facts["controls"] == {"FrameRate": 10}


def test_no_such_pi_camera(picamera2: type[Picamera2]) -> None:
    with pytest.raises(StreamError, match=r"picamera:1: .*rpicam-hello|cannot be opened"):
        list(open_source("picamera:1", reconnect=False).frames(threading.Event()))


def test_without_picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    source = open_source("picamera")  # nothing is looked for before the frames are
    with no_leak(), pytest.raises(DependencyMissingError, match="apt install python3-picamera2"):
        list(source.frames(threading.Event()))
