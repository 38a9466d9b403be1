"""Images and watched folders as streams."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgecv import codecs, events
from edgecv.errors import StreamError, UsageError
from edgecv.source import open_source
from tests.cameras import PROMPT_S, set_later


def write(path: Path, value: int = 1) -> Path:
    codecs.write(path, np.full((4, 6, 3), value, np.uint8))
    return path


def frames(*address: object, **options):
    return list(open_source(list(map(str, address)), **options).frames(threading.Event()))


def test_a_list_a_folder_and_a_glob(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.png", i)
    got = frames(tmp_path)
    assert [int(f.image[0, 0, 0]) for f in got] == [0, 1, 2]
    assert [f.index for f in got] == [0, 1, 2]
    assert [f.timestamp_s for f in got] == [0, 1, 2]
    assert [f.source for f in got] == [str(tmp_path / f"{i}.png") for i in range(3)]
    assert {f.stream for f in got} == {str(tmp_path)}
    assert len(frames(tmp_path / "[01].png")) == 2
    got = frames(tmp_path / "2.png", tmp_path / "0.png", fps=25, stream="x")
    assert [(int(f.image[0, 0, 0]), f.timestamp_s, f.stream) for f in got] == [
        (2, 0.0, "x"),
        (0, 0.04, "x"),
    ]


def test_a_broken_image_is_skipped_and_its_place_stays_empty(tmp_path: Path) -> None:
    write(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    write(tmp_path / "2.png")
    told: list[events.Event] = []
    source = open_source(str(tmp_path), listener=told.append, fps=10)
    got = list(source.frames(threading.Event()))
    assert [(f.index, f.timestamp_s) for f in got] == [(0, 0.0), (2, 0.2)]
    assert source.skipped == 1
    assert [type(e) for e in told] == [events.Skipped]
    assert told[0].count == 1
    assert "1.png" in told[0].reason


def test_only_broken_images_are_no_frames(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    source = open_source(str(tmp_path))
    assert list(source.frames(threading.Event())) == []
    assert source.skipped == 1


def test_what_is_not_there_fails_when_it_is_read(tmp_path: Path) -> None:
    for address in (tmp_path / "a.png", tmp_path / "*.png", tmp_path):
        source = open_source(str(address))
        with pytest.raises(StreamError, match=str(tmp_path)):
            list(source.frames(threading.Event()))


def test_recursive(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "a.png")
    assert len(frames(tmp_path, recursive=True)) == 1


FAST = {"poll_s": 0.01, "settle_s": 0.05}


def watch(folder: Path, count: int, during=lambda: None, **options):
    """Take `count` frames of a watched folder while `during` runs in another thread."""
    cancel = threading.Event()
    source = open_source(f"watch:{folder}", **{**FAST, **options})
    threading.Timer(0.1, during).start()
    got = []
    for frame in source.frames(cancel):
        got.append(frame)
        if len(got) == count:
            cancel.set()
    return got


def test_what_is_there_comes_first_in_the_order_of_its_times(tmp_path: Path) -> None:
    for i, name in enumerate(("c.png", "a.png", "b.png")):
        os.utime(write(tmp_path / name, i), (1000 + i, 1000 + i))
    got = watch(tmp_path, 4, lambda: write(tmp_path / "new.png", 9))
    assert [int(f.image[0, 0, 0]) for f in got] == [0, 1, 2, 9]
    assert [f.index for f in got] == [0, 1, 2, 3]
    assert [f.timestamp_s for f in got[:3]] == [1000, 1001, 1002]
    assert [Path(f.source).name for f in got] == ["c.png", "a.png", "b.png", "new.png"]


def test_only_new_ones(tmp_path: Path) -> None:
    write(tmp_path / "old.png", 1)
    got = watch(tmp_path, 1, lambda: write(tmp_path / "new.png", 2), existing=False)
    assert int(got[0].image[0, 0, 0]) == 2


def test_a_file_that_is_still_written_waits(tmp_path: Path) -> None:
    data = codecs.encode(np.full((40, 60, 3), 5, np.uint8), ".png")
    told: list[events.Event] = []

    def slowly() -> None:
        with (tmp_path / "a.png").open("wb") as file:
            step = len(data) // 5
            for byte in range(0, len(data), step):
                file.write(data[byte : byte + step])
                file.flush()
                time.sleep(0.1)

    got = watch(tmp_path, 1, slowly, settle_s=0.5, listener=told.append)
    assert got[0].image.shape == (40, 60, 3)
    assert told == []


def test_a_file_renamed_into_place(tmp_path: Path) -> None:
    def rename() -> None:
        write(tmp_path / "hidden.png").rename(tmp_path / ".part")
        (tmp_path / ".part").rename(tmp_path / "b.png")

    assert Path(watch(tmp_path, 1, rename)[0].source).name in ("b.png", "hidden.png")


def test_each_once_and_a_name_that_comes_again_is_new(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    cancel = threading.Event()
    got = []
    for frame in open_source(f"watch:{tmp_path}", **FAST, delete=True).frames(cancel):
        got.append(int(frame.image[0, 0, 0]))
        if len(got) == 1:
            threading.Timer(0.3, lambda: write(tmp_path / "a.png", 2)).start()
        else:
            cancel.set()
    assert got == [1, 2]


def test_what_is_no_image_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    (tmp_path / "note.txt").write_bytes(b"nothing")
    told: list[events.Event] = []
    watch(tmp_path, 1, lambda: write(tmp_path / "z.png"), listener=told.append)
    assert [type(e) for e in told] == [events.Skipped]


def test_it_waits_no_longer_than_it_must(tmp_path: Path) -> None:
    cancel = threading.Event()
    since = set_later(cancel, 0.1)
    assert list(open_source(f"watch:{tmp_path}", poll_s=30).frames(cancel)) == []
    assert since() < PROMPT_S


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    with pytest.raises(StreamError, match="cannot be listed: got No such file"):
        watch(folder, 1)
    folder.mkdir()
    with pytest.raises(StreamError, match="cannot be listed"):
        watch(folder, 1, folder.rmdir)


def test_watch_options() -> None:
    with pytest.raises(UsageError, match="watch:FOLDER"):
        open_source("watch:")
    with pytest.raises(UsageError, match="poll_s"):
        open_source("watch:x", poll_s=0)
