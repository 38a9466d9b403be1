"""Which source an address means."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edgecv import plugins
from edgecv.errors import UsageError
from edgecv.reconnect import Policy, Reconnect
from edgecv.source import kinds_of, open_source, shown


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pictures").mkdir()
    for name in ("a.jpg", "b.png", "clip.mp4", "odd:name.mp4", "recording.jsonl"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("a.jpg", "images"),
        ("missing.PNG", "images"),
        ("pictures", "images"),
        ("*.jpg", "images"),
        ("watch:pictures", "folder"),
        ("clip.mp4", "video"),
        ("missing.MKV", "video"),
        ("file:///tmp/clip.mov", "video"),
        ("odd:name.mp4", "video"),
        ("0", "camera"),
        ("12", "camera"),
        ("camera:1", "camera"),
        ("/dev/video0", "camera"),
        ("/dev/v4l/by-id/usb-cam-index0", "camera"),
        ("rtsp://host/stream", "rtsp"),
        ("RTSP://user:pw@host:554/stream?x=1", "rtsp"),
        ("http://host/cam.mjpg", "rtsp"),
        ("https://host/cam.mp4", "rtsp"),
        ("udp://0.0.0.0:1234", "rtsp"),
        ("picamera", "picamera"),
        ("picamera:1", "picamera"),
        ("replay:somewhere", "replay"),
        ("recording.jsonl", "replay"),
        ("push:door", "push"),
        ("faulty:drop=0.1", "faulty"),
        ("faulty:drop=0.1@clip.mp4", "faulty"),
        (("a.jpg", "pictures"), "images"),
    ],
)
def test_one_kind_recognises_it(here: Path, address: str, kind: str) -> None:
    assert kinds_of(address) == (kind,)


@pytest.mark.parametrize(
    "address", ["", "x", "a.txt", "http://", "ftp://host/x", "picamera:x", "-1", "1234", "camera:"]
)
def test_nothing_recognises_it(here: Path, address: str) -> None:
    with pytest.raises(UsageError, match="no kind of source") as caught:
        open_source(address)
    for name in plugins.names("sources"):
        assert name in str(caught.value)


def test_a_path_that_is_not_there_is_told_as_such(here: Path) -> None:
    with pytest.raises(UsageError, match=r"^nowhere/at/all: no such file or folder, and no kind"):
        open_source("nowhere/at/all")
    for address in ("a.txt", "ftp://host/x"):
        (here / "a.txt").touch()
        with pytest.raises(UsageError, match=f"^{address}: no kind of source"):
            open_source(address)


def test_several_recognise_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.load("sources", "video"), "recognise", lambda address: True)
    with pytest.raises(UsageError, match=r"several kinds.*a\.jpg|a\.jpg.*several kinds") as caught:
        open_source("a.jpg")
    assert "got images, video" in str(caught.value)
    assert open_source("a.jpg", "images").stream == "a.jpg"


def test_addresses_of_other_types(here: Path) -> None:
    assert open_source(Path("a.jpg")).stream == "a.jpg"
    assert open_source(3).stream == "/dev/video3"
    assert open_source(["a.jpg"]).stream == "a.jpg"
    assert open_source(["a.jpg", Path("b.png")]).stream == "a.jpg"


@pytest.mark.parametrize("address", [None, -1, True, 1.5, b"a.jpg", [], [None], {}])
def test_what_is_no_address(address: object) -> None:
    with pytest.raises(UsageError, match="no address of a source"):
        open_source(address)


def test_a_list_is_of_images_only(here: Path) -> None:
    with pytest.raises(UsageError, match="2 addresses: no kind"):
        open_source(["a.jpg", "clip.mp4"])


def test_unknown_kinds_and_options(here: Path) -> None:
    with pytest.raises(UsageError, match=r"no such plug-in.*expected one of camera, faulty"):
        open_source("a.jpg", "nope")
    with pytest.raises(UsageError, match=r"source images: option fpss: unknown.*fps") as caught:
        open_source("a.jpg", fpss=3)
    assert "stream" in str(caught.value)
    with pytest.raises(UsageError, match=r"option fps: wrong type: expected float; got 'fast'"):
        open_source("a.jpg", fps="fast")
    with pytest.raises(UsageError, match="option fps: out of range"):
        open_source("a.jpg", fps=0)
    with pytest.raises(UsageError, match="option realtime: wrong type: expected bool"):
        open_source("clip.mp4", realtime=1)
    with pytest.raises(UsageError, match="stop_s: wrong type: expected float"):
        open_source("clip.mp4", stop_s="x")
    assert open_source("a.jpg", fps=2, stream=None).stream == "a.jpg"


def test_who_is_reconnected() -> None:
    assert isinstance(open_source("camera:0"), Reconnect)
    assert isinstance(open_source("faulty:"), Reconnect)
    assert not isinstance(open_source("faulty:", reconnect=False), Reconnect)
    assert not isinstance(open_source("push:x"), Reconnect)
    policy = Policy(attempts=3)
    wrapped = open_source("push:x", reconnect=policy)
    assert isinstance(wrapped, Reconnect)
    assert wrapped.policy is policy
    assert isinstance(open_source("push:x", reconnect=True), Reconnect)


def test_what_is_shown_of_an_address() -> None:
    assert shown("rtsp://user:p%40ss@host:554/live?token=abc") == "rtsp://host:554/live?..."
    assert shown("rtsp://host/live") == "rtsp://host/live"
    assert shown("http://host/a@b") == "http://host/a@b"
    assert shown("rtsp://us:pa:ss@wo@host/x") == "rtsp://host/x"
    assert shown("rtsp://us:pa/ss@host:554/x") == "rtsp://host:554/x"
    assert shown("rtsp://us:pa?ss@host/x?y=1") == "rtsp://host/x?..."
    assert shown("http://host:8080/a@b") == "http://host:8080/a@b"
    assert shown("http://[::1]:8080/a") == "http://[::1]:8080/a"
    assert shown("a?b.jpg") == "a?b.jpg"


def test_a_stream_may_be_named() -> None:
    source = open_source("faulty:frames=2", stream="door")
    assert source.stream == "door"
    assert {f.stream for f in source.frames(threading.Event())} == {"door"}
