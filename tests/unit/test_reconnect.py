"""Coming back after a loss: states, pauses, epochs, events; with a clock that the test turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import events
from edgecv.errors import StreamError, StreamRefusedError, UsageError
from edgecv.reconnect import Policy, Reconnect
from edgecv.types import Frame

SMALL, LARGE = (4, 6, 3), (8, 6, 3)


def frame(index: int = 0, value: int = 0, shape=SMALL, epoch: int = 0) -> Frame:
    return Frame(np.full(shape, value, np.uint8), index, index / 10, "cam", epoch=epoch)


class Script:
    """A source that does what is written: frames, pauses in seconds, errors, ``end``.

    A pause is spent as a source must spend it: looking at `cancel`.
    """

    stream, live = "cam", True

    def __init__(self, *connections: list) -> None:
        self.connections = list(connections)
        self.now = 100.0
        self.opened = self.closed = 0
        self.waits: list[float] = []
        self.told: list[events.Event] = []
        self.states: list[str] = []
        self.iterators: list[Iterator[Frame]] = []

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        # Kept here, so that nothing closes it but who was told to.
        self.iterators.append(self._run(cancel))
        return self.iterators[-1]

    def _run(self, cancel: threading.Event) -> Iterator[Frame]:
        self.opened += 1
        steps = self.connections.pop(0) if self.connections else ["end"]
        try:
            for step in steps:
                if step == "end":
                    return
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Frame):
                    yield step
                else:
                    end = self.now + step
                    while self.now < end:
                        if cancel.is_set():
                            return
                        self.now += 0.25
            raise StreamError("lost", where="cam")
        finally:
            self.closed += 1

    def wait(self, cancel: threading.Event, delay_s: float) -> bool:
        self.waits.append(delay_s)
        self.states.append(self.source.state)
        self.now += delay_s
        return cancel.is_set()

    def run(self, **policy) -> list[Frame]:
        policy = {"jitter": 0.0, "healthy_s": 1e9, **policy}
        self.source = Reconnect(
            self,
            Policy(**policy),
            listener=self.told.append,
            clock=lambda: self.now,
            chance=lambda: 0.5,
            wait=self.wait,
        )
        got = []
        try:
            for item in self.source.frames(threading.Event()):
                self.states.append(self.source.state)
                got.append(item)
        finally:
            assert self.opened == self.closed
            assert self.source.state == "stopped"
        return got

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.told]


def test_no_loss_changes_nothing() -> None:
    script = Script([frame(0), frame(1), "end"])
    got = script.run()
    assert [(f.index, f.epoch) for f in got] == [(0, 0), (1, 0)]
    assert script.kinds() == ["Connected", "Ended"]
    assert script.told[-1] == events.Ended("cam", 100.0, "the source has ended", 2)
    assert script.states == ["streaming", "streaming"]
    assert script.waits == []


def test_no_frames_at_all() -> None:
    script = Script(["end"])
    assert script.run() == []
    assert script.kinds() == ["Ended"]


def test_a_new_epoch_and_numbers_that_go_on() -> None:
    script = Script([frame(0), frame(1), frame(4)], [frame(0), frame(2)], [frame(7), "end"])
    got = script.run()
    assert [(f.index, f.epoch) for f in got] == [(0, 0), (1, 0), (4, 0), (5, 1), (7, 1), (8, 2)]
    assert script.kinds() == [
        *("Connected", "Disconnected", "Reconnecting") * 2, "Connected", "Ended"
    ]  # fmt: skip
    assert [e.epoch for e in script.told if isinstance(e, events.Connected)] == [0, 1, 2]
    assert script.told[1].reason == "cam: lost"
    assert script.told[1].frames == 3
    assert script.states.count("waiting") == 2


def test_failures_before_the_first_frame_are_no_epochs() -> None:
    script = Script([StreamError("refused")], [StreamError("refused")], [frame(), "end"])
    assert [f.epoch for f in script.run()] == [0]
    assert script.waits == [0.5, 1.0]


def test_pauses_double_up_to_thirty_seconds() -> None:
    script = Script(*[[StreamError("no")]] * 9, ["end"])
    script.run()
    assert script.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    attempts = [e.attempt for e in script.told if isinstance(e, events.Reconnecting)]
    assert attempts == list(range(1, 10))


def test_a_healthy_connection_ends_the_row_of_failures() -> None:
    lost = [StreamError("no")]
    script = Script(lost, lost, [frame(0), 5.0, frame(1), 6.0, frame(2)], lost, ["end"])
    script.run(healthy_s=10.0)
    assert script.waits == [0.5, 1, 0.5, 1]


def test_one_that_breaks_after_a_frame_is_waited_for_longer_and_longer() -> None:
    script = Script(*[[frame()]] * 4, ["end"])
    script.run(healthy_s=10.0)
    assert script.waits == [0.5, 1, 2, 4]


def test_it_fails_for_good_after_so_many_attempts() -> None:
    script = Script(*[[StreamError(f"no {i}")] for i in range(5)])
    with pytest.raises(StreamError, match="no 2"):
        script.run(attempts=3)
    assert script.kinds() == ["Disconnected", "Reconnecting"] * 2 + ["Disconnected", "Ended"]
    assert script.told[-1].reason == "no 2"


def test_a_refusal_is_not_tried_again() -> None:
    script = Script([StreamRefusedError("wrong password")], [frame()])
    with pytest.raises(StreamRefusedError):
        script.run()
    assert script.waits == []


def test_an_error_that_is_no_loss_goes_through() -> None:
    script = Script([frame(), KeyError("bug")])
    with pytest.raises(KeyError):
        script.run()
    assert script.told[-1].reason == "KeyError('bug')"


def test_silence_is_a_loss() -> None:
    script = Script([frame(0), 3.0, frame(1), 60.0, frame(2)], [frame(0), "end"])
    got = script.run(silent_s=4.0)
    assert [(f.index, f.epoch) for f in got] == [(0, 0), (1, 0), (2, 1)]
    assert script.kinds()[1:4] == ["Frozen", "Disconnected", "Reconnecting"]
    assert script.told[1].kind == "silent"
    assert script.told[1].for_s == 4.0


def test_a_slow_consumer_is_no_silence() -> None:
    script = Script([frame(0, 9), frame(1, 9), frame(2, 9), "end"])
    policy = Policy(silent_s=4.0, identical_s=4.0)
    source = Reconnect(script, policy, clock=lambda: script.now, listener=script.told.append)
    got = []
    for item in source.frames(threading.Event()):
        got.append(item.index)
        script.now += 100
    assert got == [0, 1, 2]
    assert script.kinds() == ["Connected", "Ended"]


def test_a_connection_that_never_shows_a_frame() -> None:
    script = Script([60.0, frame()], ["end"])
    assert script.run(open_s=20.0) == []
    assert script.kinds() == ["Frozen", "Disconnected", "Reconnecting", "Ended"]


def test_the_same_picture_for_too_long_is_a_loss() -> None:
    still = [frame(i, 9) if i % 2 else 1.0 for i in range(1, 20)]
    script = Script(still, [frame(0, 9), "end"])
    got = script.run(identical_s=3.0)
    assert [f.epoch for f in got] == [0, 0, 0, 1]
    assert script.told[1].kind == "identical"
    assert script.told[1].for_s == 3.0


def test_pictures_that_change_are_not_frozen() -> None:
    moving = [frame(i, i) if i % 2 else 1.0 for i in range(1, 20)]
    script = Script([*moving, "end"])
    assert len(script.run(identical_s=3.0)) == 10
    assert script.kinds() == ["Connected", "Ended"]


def test_nobody_compares_pictures_unless_asked() -> None:
    still = [frame(i, 9) if i % 2 else 50.0 for i in range(1, 20)]
    assert len(Script([*still, "end"]).run(silent_s=60.0)) == 10


def test_another_size_is_a_new_epoch() -> None:
    script = Script([frame(0), frame(1, shape=LARGE), frame(2, shape=LARGE), frame(3), "end"])
    got = script.run()
    assert [(f.index, f.epoch) for f in got] == [(0, 0), (1, 1), (2, 1), (3, 2)]
    changed = [e for e in script.told if isinstance(e, events.SizeChanged)]
    assert [(e.old_hw, e.new_hw, e.epoch) for e in changed] == [
        ((4, 6), (8, 6), 1),
        ((8, 6), (4, 6), 2),
    ]


def test_an_epoch_of_the_source_itself() -> None:
    script = Script([frame(0), frame(1, epoch=1), frame(0, epoch=2), "end"], ["end"])
    assert [(f.index, f.epoch) for f in script.run()] == [(0, 0), (1, 1), (2, 2)]


def test_cancel_in_a_pause_ends_it() -> None:
    cancel = threading.Event()
    script = Script([frame()], [frame()])

    def wait(event: threading.Event, delay_s: float) -> bool:
        event.set()
        return True

    source = Reconnect(script, wait=wait, listener=script.told.append)
    assert len(list(source.frames(cancel))) == 1
    assert script.told[-1].reason == "cancelled"
    assert source.state == "stopped"


def test_closing_the_iterator_closes_the_source() -> None:
    script = Script([frame(0), frame(1)])
    frames = Reconnect(script).frames(threading.Event())
    next(frames)
    assert script.closed == 0
    frames.close()
    assert script.closed == 1


def test_a_hundred_cameras_do_not_come_back_in_one_moment() -> None:
    policy = Policy()
    delays = {policy.delay_s(3, chance / 100) for chance in range(100)}
    assert len(delays) == 100
    assert min(delays) > 1.0
    assert max(delays) == 2.0


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_pauses_are_within_their_bounds(attempt: int, chance: float, jitter: float) -> None:
    policy = Policy(jitter=jitter)
    delay = policy.delay_s(attempt, chance)
    longest = min(30.0, 0.5 * 2 ** min(attempt - 1, 50))
    assert longest * (1 - jitter) - 1e-9 <= delay <= longest


@pytest.mark.parametrize(
    "options",
    [{"jitter": 1.5}, {"jitter": -0.1}, {"silent_s": 0.0}, {"attempts": 0}, {"max_delay_s": -1.0}],
)
def test_policies_that_cannot_be_meant(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"reconnect policy: {next(iter(options))}"):
        Policy(**options)


STEP = st.one_of(
    st.sampled_from([0.5, 3.0, 7.0]),
    st.builds(frame, st.integers(0, 9), st.integers(0, 2), st.sampled_from([SMALL, LARGE])),
    st.builds(StreamError, st.just("lost")),
)


@settings(max_examples=200)
@given(st.lists(st.lists(STEP, max_size=8), max_size=6))
def test_whatever_happens_the_order_holds(connections: list[list]) -> None:
    for steps in connections:
        position = 0
        for i, step in enumerate(steps):  # numbers of one connection go up, with gaps
            if isinstance(step, Frame):
                position += 1 + step.index % 2
                steps[i] = step.replace(index=position)
    script = Script(*connections)
    got = script.run(silent_s=4.0, open_s=4.0, identical_s=6.0)
    numbers = [f.index for f in got]
    assert numbers == sorted(set(numbers))
    epochs = [f.epoch for f in got]
    assert epochs == sorted(epochs)
    assert not epochs or set(epochs) == set(range(epochs[-1] + 1))  # none is left out
    for a, b in pairwise(got):
        if a.epoch == b.epoch:
            assert a.image.shape == b.image.shape
    kinds = script.kinds()
    assert kinds[-1] == "Ended"
    assert kinds.count("Ended") == 1
    assert script.told[-1].frames == len(got)
    assert kinds.count("Disconnected") == kinds.count("Reconnecting") == len(script.waits)
    assert kinds.count("Frozen") <= kinds.count("Disconnected")
    connected = [e.epoch for e in script.told if isinstance(e, events.Connected)]
    resized = [e.epoch for e in script.told if isinstance(e, events.SizeChanged)]
    assert sorted(connected + resized) == sorted(set(epochs))
    times = [e.at_s for e in script.told]
    assert times == sorted(times)
