"""Energy from readings over time: closed forms, and readings that cannot be believed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.bench.power import Quantity
from edgecv.bench.trace import Power, Spent, Trace

Readings = Sequence[tuple[float, float]]


def trace(series: Readings, quantity: Quantity = "watts") -> Trace:
    return Trace.of([(at, (value,)) for at, value in series], quantity)


def every(step: float, n: int, value: Callable[[float], float] = lambda at: 4.0) -> Readings:
    """Read at 0, step, 2 step ...; a constant 4 W, or what is given."""
    return [(i * step, value(i * step)) for i in range(n)]


def spent(found: Spent | str) -> Spent:
    assert isinstance(found, Spent), found
    return found


def power(found: Power | str) -> Power:
    assert isinstance(found, Power), found
    return found


@given(st.floats(1, 5), st.floats(-0.1, 3), st.floats(0.1, 4), st.floats(0.3, 4))
def test_watts_of_a_ramp_integrate_to_the_closed_form(
    base: float, slope: float, start: float, length: float
) -> None:
    # P = base + slope t over [start, end]; the trapezoid rule is exact for it.
    series = every(0.1, 100, lambda at: base + slope * at)
    end = start + length
    expected = base * length + slope * (end**2 - start**2) / 2
    found = spent(trace(series).spent(start, end))
    assert found.joules == pytest.approx(expected, abs=1e-9)
    # No end is further than a tenth of a second from a reading, which differs by slope / 10.
    assert found.ends_j <= 0.1 * abs(slope) * 0.1 + 1e-9


@given(st.floats(0.1, 50), st.floats(0, 8), st.floats(0.4, 1.5))
def test_a_counter_is_interpolated_at_both_ends(watts: float, start: float, length: float) -> None:
    series = every(0.1, 100, lambda at: 7 + watts * at)
    found = spent(trace(series, "joules").spent(start, start + length))
    assert found.joules == pytest.approx(watts * length)
    assert found.ends_j == pytest.approx(0.0, abs=1e-6 * watts)


@pytest.mark.parametrize("quantity", ["watts", "joules"])
@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_what_is_unsure_at_the_ends_holds_the_truth(quantity: Quantity, step: float) -> None:
    # 2 W, and 6 W from 10 s to 20 s, which is what is measured: 60 J.
    def drawn(at: float) -> float:
        return 2 * at + 4 * min(max(at - 10, 0.0), 10.0)

    for shift in range(7):
        offset = shift * step / 7
        times = [offset + i * step for i in range(int(30 / step))]
        series = [
            (at, drawn(at) if quantity == "joules" else 6.0 if 10 <= at <= 20 else 2.0)
            for at in times
        ]
        found = spent(trace(series, quantity).spent(10.0, 20.0))
        assert abs(found.joules - 60) <= found.ends_j + 1e-9
        # Two ends, a step of 4 W, and no reading for up to one step of time.
        assert found.ends_j <= 2 * 4 * step + 1e-9


def test_readings_must_reach_over_the_time() -> None:
    series = every(0.1, 20)
    assert spent(trace(series).spent(0.0, 1.9)).joules == pytest.approx(7.6)
    # A power is held for a moment, what a counter grew by is not.
    assert spent(trace(series).spent(0.0, 2.3)).joules == pytest.approx(9.2)
    assert "stopped answering 0.6 s before" in str(trace(series).spent(0.0, 2.5))
    assert "begin 0.6 s too late" in str(trace(series).spent(-0.6, 1.0))
    counter = trace(every(0.1, 20, lambda at: at), "joules")
    assert "stopped answering 0.1 s" in str(counter.spent(0.0, 2.0))
    assert "too late" in str(counter.spent(-0.1, 1.0))
    # A log of one line a second may end a second ago.
    assert spent(trace(every(1.0, 20)).spent(3.0, 20.5)).joules == pytest.approx(70)
    assert "fewer than two" in str(trace(series[:1]).spent(0.0, 0.1))
    assert "fewer than two" in str(trace([]).spent(0.0, 0.1))
    assert "1 reading(s) in 1.5 s" in str(trace(every(1.0, 20)).spent(3.5, 5.0))


@pytest.mark.parametrize("quantity", ["watts", "joules"])
def test_a_silent_gap_is_not_bridged(quantity: Quantity) -> None:
    series = every(0.1, 200, lambda at: 4 + at)
    # The meter says nothing from 5 s to 8 s, in which a model could be loaded and run.
    gone = trace([(at, value) for at, value in series if not 5 < at < 8], quantity)
    for start, end in ((4.0, 9.0), (0.0, 19.0), (6.0, 12.0), (2.0, 7.0)):
        assert "silent for 3" in str(gone.spent(start, end)), (start, end)
    # What the gap does not touch is known as before.
    for start, end in ((0.0, 4.9), (8.1, 19.0)):
        assert gone.spent(start, end) == trace(series, quantity).spent(start, end)
    assert "silent" in str(gone.mean(4.0, 9.0))


def test_a_reading_that_is_late_is_no_gap() -> None:
    series = every(0.1, 200)
    held_up = trace([(at, value) for at, value in series if not 5 < at < 5.4])
    assert spent(held_up.spent(4.0, 9.0)).joules == pytest.approx(20)
    # Of a slow meter one or two lines may be lost, not ten.
    slow = every(1.0, 100)
    lost = trace([(at, value) for at, value in slow if at not in (50, 51, 52)])
    assert spent(lost.spent(20, 80)).joules == pytest.approx(240)
    lost = trace([(at, value) for at, value in slow if not 50 <= at < 60])
    assert "silent for 11 s, where a reading came every 1 s" in str(lost.spent(20, 80))


def test_a_counter_that_stands_still() -> None:
    still = trace(every(0.1, 100, lambda at: 55.0), "joules")
    assert still.spent(1.0, 8.0) == "the counter did not move"
    assert still.mean(1.0, 8.0) == "the counter did not move"
    # It moves, then hangs: what it shows of the time is a part.
    hung = trace(every(0.1, 100, lambda at: min(at, 5.0)), "joules")
    assert hung.spent(1.0, 8.0) == "the counter stood still for 4.9 s"
    assert spent(hung.spent(1.0, 4.9)).joules == pytest.approx(3.9)
    assert hung.spent(6.0, 8.0) == "the counter did not move"
    # It hung before, and comes to itself within the time.
    late = trace(every(0.1, 100, lambda at: max(at, 5.0)), "joules")
    assert "stood still for 5.1 s" in str(late.spent(4.5, 8.0))
    # A counter that moves in steps of a few readings is no worse for it.
    coarse = trace(every(0.1, 100, lambda at: math.floor(at / 0.3)), "joules")
    assert spent(coarse.spent(1.0, 8.0)).joules == pytest.approx(7 / 0.3, rel=0.1)


def test_one_counter_of_two_that_stands_still() -> None:
    both = Trace.of(
        [(i / 10, (i / 10, 9.0)) for i in range(100)], "joules", ("package-0", "package-1")
    )
    assert both.spent(1.0, 8.0) == "the counter of package-1 did not move"
    moving = Trace.of(
        [(i / 10, (i / 10, 9 + i / 5)) for i in range(100)], "joules", ("package-0", "package-1")
    )
    assert spent(moving.spent(1.0, 8.0)).joules == pytest.approx(21)


def test_a_counter_that_goes_backwards() -> None:
    reset = trace(every(0.1, 100, lambda at: at if at < 5 else at - 5), "joules")
    assert "went backwards" in str(reset.spent(1.0, 8.0))
    assert spent(reset.spent(5.0, 8.0)).joules == pytest.approx(3.0)


def test_no_power_is_no_energy() -> None:
    assert "it showed 0 W" in str(trace(every(0.1, 100, lambda at: 0.0)).spent(1.0, 8.0))
    assert "it showed -2 W" in str(trace(every(0.1, 100, lambda at: -2.0)).spent(1.0, 8.0))


def test_a_power_that_never_changes() -> None:
    still = trace(every(0.1, 100))
    assert "4 W at each of 71 readings" in str(still.constant(1.0, 8.0))
    steps = trace(every(0.1, 100, lambda at: 4.0 if at < 5 else 5.0))
    assert steps.constant(1.0, 8.0) is None
    assert steps.constant(20.0, 30.0) is None
    # A counter is looked at for itself.
    assert trace(every(0.1, 100), "joules").constant(1.0, 8.0) is None


@pytest.mark.parametrize("quantity", ["watts", "joules"])
@pytest.mark.parametrize("n", [4, 20, 100])
def test_the_interval_of_a_mean_power_covers_it(quantity: Quantity, n: int) -> None:
    inside = 0
    for seed in range(400):
        noise = random.Random(seed)
        drawn = [3 + noise.gauss(0, 0.2) for _ in range(n + 2)]
        series = [(i + 0.5, watts) for i, watts in enumerate(drawn)]
        if quantity == "joules":
            series = [(float(i), sum(drawn[:i])) for i in range(n + 3)]
        found = power(trace(series, quantity).mean(1.0, n + 1.0))
        assert found.half_w is not None
        inside += abs(found.watts - 3) <= found.half_w
    assert 0.92 <= inside / 400 <= 1.0


def test_neighbours_that_resemble_each_other_tell_less() -> None:
    inside = 0
    for seed in range(300):
        noise = random.Random(seed)
        drawn = [noise.gauss(0, 1) for _ in range(240)]
        # A chip that averages over eight readings.
        series = [(i, 30 + sum(drawn[i : i + 8]) / 8) for i in range(230)]
        found = power(trace(series).mean(0.5, 228.5))
        inside += abs(found.watts - 30) <= (found.half_w or 0.0)
    assert inside / 300 >= 0.9


def test_two_readings_have_a_mean_and_hardly_an_interval() -> None:
    found = power(trace([(0, 3.0), (1, 3.0), (2, 3.4), (3, 3.2)]).mean(0.5, 2.5))
    assert found.half_w is not None
    assert found.half_w > 12 * 0.2
    # A counter gives one mean between two readings, and no scatter.
    counter = trace([(0, 0.0), (1, 3.0), (2, 6.4), (3, 9.0)], "joules")
    assert power(counter.mean(0.5, 2.5)).half_w is None


def test_the_meter_may_be_read_on_meanwhile() -> None:
    class Growing(list[tuple[float, tuple[float]]]):
        def __iter__(self) -> Iterator[tuple[float, tuple[float]]]:
            now = self[:]
            self.append((float(len(now)), (2.0,)))
            return iter(now)

    found = Trace.of(Growing([(0.0, (2.0,)), (1.0, (2.0,))]), "watts")
    assert (found.at_s.shape, found.value.shape) == ((2,), (2, 1))
