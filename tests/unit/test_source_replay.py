"""What was recorded comes back as it was."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgecv import events
from edgecv.errors import SinkError, StreamError, UsageError
from edgecv.reconnect import Policy
from edgecv.recording import LIST_NAME, Recorder
from edgecv.source import open_source
from edgecv.types import Frame


def record(folder: Path, spec: str = "frames=12,drop=3+4,disconnect=7,resize=9", **options):
    """Record a stream with faults, and return its frames and events."""
    told: list[events.Event] = []
    with Recorder(folder, **options) as recorder:

        def listen(event: events.Event) -> None:
            told.append(event)
            recorder.event(event)

        source = open_source(
            f"faulty:{spec}", listener=listen, reconnect=Policy(first_delay_s=0.01)
        )
        got = []
        for frame in source.frames(threading.Event()):
            recorder.write(frame)
            got.append(frame)
    return got, told


def replay(folder: Path | str, **options):
    told: list[events.Event] = []
    source = open_source(f"replay:{folder}", listener=told.append, **options)
    return list(source.frames(threading.Event())), told


@pytest.mark.parametrize("format", [".png", ".bmp"])
def test_frames_numbers_times_epochs_and_events(tmp_path: Path, format: str) -> None:
    expected, happened = record(tmp_path / "r", format=format)
    assert len({f.epoch for f in expected}) == 3
    for _ in range(2):  # as often as one likes
        got, told = replay(tmp_path / "r")
        assert [(f.index, f.timestamp_s, f.epoch, f.stream, f.source) for f in got] == [
            (f.index, f.timestamp_s, f.epoch, f.stream, f.source) for f in expected
        ]
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
        assert told == happened


def test_a_smaller_one_that_loses_a_little(tmp_path: Path) -> None:
    expected, _ = record(tmp_path / "r", "frames=3", format=".jpg", quality=95)
    got, _ = replay(tmp_path / "r")
    for a, b in zip(got, expected, strict=True):
        assert 0 < np.abs(a.image.astype(int) - b.image).mean() < 8


def test_the_list_itself_is_an_address(tmp_path: Path) -> None:
    record(tmp_path, "frames=2")
    assert len(list(open_source(tmp_path / LIST_NAME).frames(threading.Event()))) == 2


def test_another_name(tmp_path: Path) -> None:
    record(tmp_path, "frames=2")
    got, _ = replay(tmp_path, stream="door")
    assert {f.stream for f in got} == {"door"}


def test_an_empty_recording(tmp_path: Path) -> None:
    Recorder(tmp_path).close()
    assert replay(tmp_path) == ([], [])


def test_paced(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        for i in range(4):
            recorder.write(Frame(np.zeros((2, 2, 3), np.uint8), i, i * 0.1, arrival_s=50 + i * 0.1))
    source = open_source(f"replay:{tmp_path}", paced=True, speed=2.0)
    assert source.live
    start = time.monotonic()
    got = list(source.frames(threading.Event()))
    assert time.monotonic() - start >= 0.14
    assert [f.timestamp_s for f in got] == [0.0, 0.1, 0.2, 0.30000000000000004]
    cancel = threading.Event()
    cancel.set()
    assert list(source.frames(cancel)) == []


def test_what_a_power_cut_leaves(tmp_path: Path) -> None:
    record(tmp_path, "frames=5")
    path = tmp_path / LIST_NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert len(replay(tmp_path)[0]) in (4, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + b'{"file": "0000')
    assert len(replay(tmp_path)[0]) <= 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "line 3: damaged"),
        ("[]", "expected a JSON object"),
        ('{"event": "Exploded"}', "damaged: got 'Exploded'"),
        ('{"event": "Dropped", "stream": "x"}', "damaged"),
        ('{"file": "../00000000.png"}', "outside of the recording"),
        ('{"file": "00000000.png"}', "damaged: got 'index'"),
        ('{"file": 3}', "damaged"),
        ("x" * 70_000, "too long a line"),
    ],
)
def test_damage(tmp_path: Path, line: str, message: str) -> None:
    record(tmp_path, "frames=1")
    path = tmp_path / LIST_NAME
    first, _connected, frame, *_ = path.read_text().splitlines()
    path.write_text(f"{first}\n{frame}\n{line}\n")
    got = []
    with pytest.raises(StreamError, match=message):
        got.extend(open_source(f"replay:{tmp_path}").frames(threading.Event()))
    assert len(got) == 1


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    record(tmp_path, "frames=2")
    (tmp_path / "00000001.png").unlink()
    with pytest.raises(StreamError, match=r"00000001\.png"):
        replay(tmp_path)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="no recording"):
        replay(tmp_path)
    (tmp_path / LIST_NAME).write_text('{"edgecv_recording": 2}\n')
    with pytest.raises(StreamError, match="expected edgecv_recording 1"):
        replay(tmp_path)
    with pytest.raises(UsageError, match="replay:FOLDER"):
        open_source("replay:")
    with pytest.raises(UsageError, match="speed"):
        open_source("replay:x", speed=0)


def test_a_recording_is_not_written_over(tmp_path: Path) -> None:
    record(tmp_path, "frames=1")
    with pytest.raises(UsageError, match="holds a recording already"):
        Recorder(tmp_path)
    with pytest.raises(UsageError, match="format"):
        Recorder(tmp_path / "x", format=".gif")
    (tmp_path / "file").write_text("")
    with pytest.raises((SinkError, UsageError)):
        Recorder(tmp_path / "file")


def test_a_closed_recorder_takes_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.close()
    recorder.close()
    with pytest.raises(SinkError, match="closed"):
        recorder.write(Frame(np.zeros((2, 2, 3), np.uint8)))
    recorder.event(events.Ended("x", 1.0, "late", 0))  # a listener does not raise


def test_a_time_that_is_no_number(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(SinkError, match="cannot be written"):
            recorder.write(Frame(np.zeros((2, 2, 3), np.uint8), timestamp_s=float("nan")))
        recorder.write(Frame(np.zeros((2, 2, 3), np.uint8), 1, 2.0, "caf\udce9"))
    got, _ = replay(tmp_path)
    assert [(f.index, f.stream) for f in got] == [(1, "caf\udce9")]


def test_the_list_can_be_read_by_anybody(tmp_path: Path) -> None:
    record(tmp_path, "frames=2,corrupt=1")
    lines = [json.loads(line) for line in (tmp_path / LIST_NAME).read_text().splitlines()]
    assert lines[0] == {"edgecv_recording": 1, "stream": "faulty"}
    assert [line.get("event") or line["file"] for line in lines[1:]] == [
        "Connected", "00000000.png", "Skipped", "Ended"
    ]  # fmt: skip
