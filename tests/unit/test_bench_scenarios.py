"""How images arrive: schedules against their definitions, on a clock that tests turn."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import plugins
from edgecv.bench.report import STAGES
from edgecv.bench.scenario import Run, Setup
from edgecv.bench.scenarios import camera, server, single
from edgecv.result import Timings
from tests import models
from tests.pipelines import frame_of, mean_model

NAMES = plugins.names("bench.scenarios")


class Clock:
    """Time that passes when somebody sleeps or a model runs."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class Result:
    def __init__(self, total: float) -> None:
        self.timings_ms = Timings(decode=0.1, preprocess=0.2, infer=total - 0.4, postprocess=0.1,
                                  total=total)  # fmt: skip


def setup(clock: Clock, service_ms: Any, **options: Any) -> Setup:
    """Make a setup whose model takes as long as it is told, on this clock."""
    times = iter(service_ms) if hasattr(service_ms, "__iter__") else None

    def model(image: bytes) -> Result:
        assert image == b"image"
        took = next(times) if times is not None else service_ms
        clock.now += took / 1e3
        return Result(took)

    return Setup(
        model=model, images=[b"image"], clock=clock, sleep=clock.sleep, typical_ms=5.0,  # type: ignore[arg-type]
        **{"duration_s": 1.0, **options},
    )  # fmt: skip


def test_single_runs_back_to_back() -> None:
    clock = Clock()
    run = single.run(setup(clock, 5.0))
    assert run.results == pytest.approx(200, abs=1)
    assert run.window == (100.0, pytest.approx(101.0, abs=0.006))
    assert set(run.samples_ms["total"]) == {5.0}
    assert single.run(setup(clock, 999.0)).results == 10


@pytest.mark.parametrize(
    ("service_ms", "fps", "dropped"),
    # Twice as long as a frame: every other one is lost, but for the first and the rounding.
    [(5.0, 30.0, 0), (33.0, 30.0, 0), (66.0, 30.0, 14), (200.0, 10.0, 5), (1.0, 1000.0, 0)],
)
def test_a_camera_drops_the_oldest(service_ms: float, fps: float, dropped: int) -> None:
    run = camera.run(setup(Clock(), service_ms, rate_hz=fps))
    said = run.schedule or {}
    assert said["scheduled"] == max(10, round(fps))
    assert said["completed"] + said["dropped"] == said["scheduled"]
    assert said["dropped"] == pytest.approx(dropped, abs=1)
    # From the time at which the camera had it: at least the service, at most a frame more.
    ages = run.samples_ms["total"]
    assert min(ages) >= service_ms - 1e-6
    assert max(ages) <= service_ms + 1e3 / fps + 1e-6


@given(st.lists(st.floats(0.5, 200), min_size=200, max_size=200), st.floats(5, 100))
@settings(max_examples=60)
def test_a_camera_against_a_simulation(service_ms: list[float], fps: float) -> None:
    run = camera.run(setup(Clock(), service_ms, rate_hz=fps))
    frames = (run.schedule or {})["scheduled"]
    # A queue of one, frame by frame: a new one takes the place of the one that waits.
    waiting: int | None = None
    free_at, done, taken = 0.0, [], iter(service_ms)
    for frame in range(frames):
        due = frame / fps
        while waiting is not None and free_at < due - 1e-9:
            free_at = max(free_at, waiting / fps) + next(taken) / 1e3
            done.append((waiting, free_at))
            waiting = None
        waiting = frame
    if waiting is not None:
        free_at = max(free_at, waiting / fps) + next(taken) / 1e3
        done.append((waiting, free_at))
    ages = [(end - frame / fps) * 1e3 for frame, end in done]
    # On the edge, where a frame comes the moment the model is free, either may go first.
    if len(ages) == len(run.samples_ms["total"]):
        np.testing.assert_allclose(run.samples_ms["total"], ages, atol=1e-3)
    else:
        assert abs(len(ages) - run.results) <= 2


def test_arrivals_are_a_poisson_process() -> None:
    gaps = np.diff(server.arrivals(100.0, 200.0, 1))
    assert len(gaps) == pytest.approx(20_000, rel=0.03)
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    # Of an exponential distribution the standard deviation is the mean, and 1 / e lie beyond it.
    assert gaps.std() == pytest.approx(0.01, rel=0.03)
    assert (gaps > 0.01).mean() == pytest.approx(np.exp(-1), abs=0.01)
    np.testing.assert_array_equal(server.arrivals(9.0, 5.0, 3), server.arrivals(9.0, 5.0, 3))
    assert len(server.arrivals(0.1, 1.0, 0)) == 10


@given(st.floats(1, 300), st.integers(0, 50))
@settings(max_examples=40)
def test_latency_counts_from_the_scheduled_time(rate_hz: float, seed: int) -> None:
    run = server.run(setup(Clock(), 5.0, rate_hz=rate_hz, seed=seed))
    # Lindley: the next one starts when it is due or when the one before is done.
    free, late = 0.0, []
    for due in server.arrivals(rate_hz, 1.0, seed):
        free = max(free, due) + 0.005
        late.append((free - due) * 1e3)
    np.testing.assert_allclose(run.samples_ms["total"], late, rtol=1e-6, atol=1e-6)
    assert run.results == len(late) == (run.schedule or {})["scheduled"]


def test_the_default_rate_is_a_part_of_what_was_reached() -> None:
    run = server.run(setup(Clock(), 5.0))
    assert (run.schedule or {})["rate_hz"] == pytest.approx(120.0)


@pytest.mark.parametrize(("rate_hz", "expected"), [(100.0, False), (160.0, False), (400.0, True)])
def test_a_queue_that_grows_is_an_overload(rate_hz: float, expected: bool) -> None:
    run = server.run(setup(Clock(), 5.0, rate_hz=rate_hz, duration_s=5.0))
    assert (run.schedule or {})["overloaded"] is expected


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_on_a_real_model(name: str, tmp_path: Path) -> None:
    scenario = plugins.load("bench.scenarios", name)
    image = models.write_image(tmp_path / "a.png", 1).read_bytes()
    before = threading.active_count()
    with mean_model(tmp_path) as model:
        model(frame_of(1).image)
        run = scenario.run(
            Setup(model=model, images=[image], duration_s=0.1, streams=2, rate_hz=200.0,
                  typical_ms=1.0)
        )  # fmt: skip
        assert isinstance(run, Run)
        model(frame_of(1).image)
    assert (run.schedule is not None) is scenario.SCHEDULED
    assert list(run.samples_ms) == list(STAGES)
    assert {len(times) for times in run.samples_ms.values()} == {run.results}
    assert run.results >= 10
    assert run.window[1] > run.window[0]
    # Choosing a plan or opening an engine again is not part of the run.
    assert 0 < run.cpu_s <= (os.cpu_count() or 1) * (run.window[1] - run.window[0]) * 1.1 + 0.02
    assert all(time > 0 for time in run.samples_ms["decode"])
    assert threading.active_count() == before
