"""The source that fails on purpose fails as it is told, and the same way each time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edgecv import events
from edgecv.errors import StreamError, UsageError
from edgecv.reconnect import Policy
from edgecv.source import open_source
from edgecv.sources.faulty import When, synthetic_image
from tests.cameras import PROMPT_S, set_later, write_video


def run(spec: str, told: list | None = None, **options) -> list:
    listener = (told if told is not None else []).append
    source = open_source(f"faulty:{spec}", reconnect=False, listener=listener, **options)
    return list(source.frames(threading.Event()))


def number(image: np.ndarray) -> int:
    return int.from_bytes(image.reshape(-1)[:4].tobytes(), "little")


def test_without_faults_every_picture_is_another() -> None:
    got = run("frames=30")
    assert [f.index for f in got] == list(range(30))
    assert [number(f.image) for f in got] == list(range(30))
    np.testing.assert_allclose([f.timestamp_s for f in got], np.arange(30) / 25)
    assert got[0].image.shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (48, 64)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    assert synthetic_image(70_000, *size).shape == (*size, 3)


def test_drops_leave_gaps() -> None:
    assert [f.index for f in run("frames=6,drop=0+3")] == [1, 2, 4, 5]


def test_corrupt_frames_are_told() -> None:
    told: list[events.Event] = []
    assert [f.index for f in run("frames=4,corrupt=/2", told)] == [0, 2]
    assert [(type(e), e.reason) for e in told] == [
        (events.Skipped, "frame 1 is corrupt on purpose"),
        (events.Skipped, "frame 3 is corrupt on purpose"),
    ]


def test_duplicates_and_a_freeze() -> None:
    assert [number(f.image) for f in run("frames=6,duplicate=2+3")] == [0, 1, 1, 1, 4, 5]
    assert [number(f.image) for f in run("frames=6,freeze=3")] == [0, 1, 2, 2, 2, 2]


def test_sizes_change_and_change_back() -> None:
    widths = [f.image.shape[1] for f in run("frames=6,resize=2+4")]
    assert widths == [64, 64, 32, 32, 64, 64]


def test_the_clock_jumps() -> None:
    times = [f.timestamp_s for f in run("frames=4,jump=2,jump_s=-5")]
    np.testing.assert_allclose(times, [0, 0.04, 0.08 - 5, 0.12 - 5])


def test_a_lost_connection_goes_on_behind_the_lost_frame() -> None:
    source = open_source("faulty:frames=6,disconnect=2", reconnect=False)
    got = []
    with pytest.raises(StreamError, match="was lost"):
        got.extend(frame.index for frame in source.frames(threading.Event()))
    got += [frame.index for frame in source.frames(threading.Event())]
    assert got == [0, 1, 3, 4, 5]
    assert (source.connections, source.position) == (2, 6)


def test_connections_that_cannot_be_made() -> None:
    source = open_source("faulty:frames=1,open_fails=0+1", reconnect=Policy(first_delay_s=0.001))
    assert len(list(source.frames(threading.Event()))) == 1
    assert source.source.connections == 3


@pytest.mark.parametrize("spec", ["frames=2,stall=1,stall_s=60", "frames=2,slow_open_s=60"])
def test_a_stall_ends_with_cancel(spec: str) -> None:
    cancel = threading.Event()
    since = set_later(cancel, 0.1)
    list(open_source(f"faulty:{spec}", reconnect=False).frames(cancel))
    assert since() < PROMPT_S


def test_a_stall_takes_its_time() -> None:
    start = time.monotonic()
    assert len(run("frames=3,stall=1,stall_s=0.1")) == 3
    assert time.monotonic() - start >= 0.1


def test_chance_is_the_same_each_time_and_another_with_another_seed() -> None:
    spec = "frames=300,drop=0.2,duplicate=0.1,jump=0.01"
    facts = [
        [(f.index, f.timestamp_s, number(f.image)) for f in run(f"{spec},seed={seed}")]
        for seed in (1, 1, 2)
    ]
    assert facts[0] == facts[1] != facts[2]
    assert 200 < len(facts[0]) < 275


def test_faults_do_not_depend_on_the_connections() -> None:
    """The same frames are dropped, whether or not connections break between them."""
    whole = {f.index for f in run("frames=200,drop=0.3")}
    source = open_source(
        "faulty:frames=200,drop=0.3,disconnect=/10", reconnect=Policy(first_delay_s=0)
    )
    got = [number(f.image) for f in source.frames(threading.Event())]
    assert set(got) == {i for i in whole if i % 10 != 9}


def test_another_source_with_faults(tmp_path) -> None:
    write_video(tmp_path / "a@b.mp4", 10)
    got = run(f"drop=0+1,jump=5,jump_s=100@{tmp_path / 'a@b.mp4'}")
    assert [f.index for f in got] == list(range(2, 10))
    assert got[-1].timestamp_s > 100
    assert got[0].image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("explode=1", r"unknown fault.*got 'explode'"),
        ("frames=many", "faulty:frames=many: frames: expected int; got 'many'"),
        ("drop=1.5", "option drop: expected a chance"),
        ("drop=often", "option drop: expected a chance"),
        ("drop=-1", "option drop"),
        ("drop=/x", "option drop"),
        ("width=0", "width"),
        ("@nothing.xyz", "no kind of source"),
    ],
)
def test_specs_that_cannot_be_meant(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(f"faulty:{spec}")


def test_when() -> None:
    assert When.parse("", "x") == When()
    assert not any(When()(i, "s") for i in range(100))
    assert [i for i in range(9) if When.parse("/3", "x")(i, "s")] == [2, 5, 8]
    assert [i for i in range(9) if When.parse("1+8", "x")(i, "s")] == [1, 8]
    assert all(When.parse("1.0", "x")(i, "s") for i in range(100))
