"""Energy of a result: the recorder on planted files, the tiers by hand, intervals by simulation."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import pytest

from edgecv.bench.energy import metered
from edgecv.bench.meters import rapl
from edgecv.bench.power import Origin
from edgecv.bench.recorder import Recorder
from edgecv.bench.report import Energy, Work
from edgecv.bench.statistics import half_width, student_t
from edgecv.bench.trace import Power, Spent
from tests.boards import CHIP, MODEL, PI, calibration, packages, tree

METER = Origin(tier=1, source="meter", scope="board")


def test_a_recorder_reads_a_counter_that_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages(tmp_path, 0)
    began, span = time.monotonic(), int(100e6)

    def number(path: Path) -> int:
        # 8 W for as long as anybody looks; it starts at 0 again after half a second.
        if path.name == "max_energy_range_uj":
            return span
        return (span + int((time.monotonic() - began - 0.5) * 8.0e6)) % span

    monkeypatch.setattr(rapl, "_number", number)
    with Recorder(root=tmp_path, interval_s=0.02) as recorder:
        recorder.idle(0.3)
        windows = []
        for _ in range(3):
            start = time.monotonic()
            time.sleep(0.3)
            windows.append((start, time.monotonic()))
    found = recorder.energy(windows, [10, 10, 10], cpu_s=0.5, board=PI)
    assert (found.tier, found.scope, found.source) == (2, "package", "RAPL, 1 package(s)")
    # To a tenth: a thread that was stopped between the clock and the counter is off by that.
    assert found.load_w == pytest.approx(8.0, rel=0.1)
    assert found.gross_j == pytest.approx(8.0 * sum(b - a for a, b in windows) / 30, rel=0.1)
    assert found.gross_ci95 is not None
    assert found.gross_ci95[0] <= found.gross_j <= found.gross_ci95[1]
    # It draws the same while idling.
    assert found.marginal_j == pytest.approx(0.0, abs=0.1 * found.gross_j)
    assert found.marginal_ci95 is not None
    assert found.formula is not None
    assert "E / n" in found.formula
    assert recorder.watts() is not None


def recorded(root: Path, *, idle: bool = True, watts: float | None = None) -> Energy:
    """Record planted files for a moment, without a table or a calibration.

    Args:
        root: of the files.
        idle: whether to idle before.
        watts: that the meter is seen to tell meanwhile.
    """
    with Recorder(root=root, interval_s=0.02) as recorder:
        if idle:
            recorder.idle(0.1)
        start = time.monotonic()
        time.sleep(0.2)
        end = time.monotonic()
        assert recorder.watts() == watts
    return recorder.energy([(start, end)], [5], cpu_s=0.1)


def test_a_counter_that_does_not_move_is_no_zero(tmp_path: Path) -> None:
    found = recorded(packages(tmp_path, 77_000))
    assert (found.tier, found.gross_j, found.marginal_j, found.load_w) == (5, None, None, None)
    assert "RAPL, 1 package(s): the counter did not move" in found.missing["gross_j"]


@pytest.mark.parametrize("micro", ["0", "4000000"])
def test_a_sensor_that_does_not_move_is_none(tmp_path: Path, micro: str) -> None:
    tree(tmp_path, {f"{CHIP}/name": "ina226\n", f"{CHIP}/power1_input": f"{micro}\n"})
    found = recorded(tmp_path, watts=float(micro) / 1e6 or None)
    assert (found.tier, found.gross_j) == (5, None)
    assert ("it showed 0 W" if micro == "0" else "it did not move") in found.missing["gross_j"]


def test_a_steady_load_is_believed_where_idling_is_not_known(tmp_path: Path) -> None:
    tree(tmp_path, {f"{CHIP}/name": "ina226\n", f"{CHIP}/power1_input": "4000000\n"})
    found = recorded(tmp_path, idle=False, watts=4.0)
    assert (found.tier, found.load_w) == (1, 4.0)
    assert found.missing["marginal_j"] == "idling was not measured before the run"


def test_a_meter_that_goes_away_is_no_zero(tmp_path: Path) -> None:
    tree(tmp_path, {f"{CHIP}/name": "ina226\n", f"{CHIP}/power1_input": "4000000\n"})
    with Recorder(root=tmp_path, interval_s=0.02) as recorder:
        time.sleep(0.1)
        assert recorder.watts() == 4.0
        (tmp_path / CHIP / "power1_input").unlink()
        start = time.monotonic()
        time.sleep(0.1)
    found = recorder.energy([(start, start + 2.0)], [5], cpu_s=1.0)
    assert (found.tier, found.gross_j) == (5, None)
    assert "stopped answering" in found.missing["gross_j"]
    # Nor does the last reading stay for what comes after.
    assert recorder.watts() is None
    # The next source says in whose place it is.
    table = recorder.energy([(start, start + 2.0)], [5], cpu_s=1.0, board=PI)
    assert table.tier == 4
    assert "not this board; in place of ina226 (hwmon): it stopped answering" in table.source


def test_without_a_meter_the_next_tier_is_told(tmp_path: Path) -> None:
    with Recorder(root=tree(tmp_path, {MODEL: "board"})) as recorder:
        pass
    windows, results = [(0.0, 2.0), (5.0, 7.0)], [10, 10]
    none = recorder.energy(windows, results, cpu_s=4.0)
    assert (none.tier, none.gross_j, none.marginal_j) == (5, None, None)
    assert "no power meter" in none.missing["gross_j"]
    # Four cores, one busy: u = 1/4. 3 + 8/4 = 5 W over 4 s and 20 results.
    table = recorder.energy(windows, results, cpu_s=4.0, board=PI)
    assert (table.tier, table.scope) == (4, "board")
    assert table.source == "table of board: published measurements, not this board"
    assert table.gross_j == pytest.approx(5.0 * 4 / 20)
    assert table.marginal_j == pytest.approx(2.0 * 4 / 20)
    half = math.hypot(0.75 * 1.0, 0.25 * 2.0) * 4 / 20
    assert table.gross_ci95 == pytest.approx((1.0 - half, 1.0 + half), rel=1e-4)
    # More CPU time than the board has cores is all of them.
    full = recorder.energy(windows, results, cpu_s=99.0, board=PI)
    assert full.load_w == pytest.approx(11.0)
    line3 = recorder.energy(windows, results, cpu_s=4.0, board=PI, calibration=calibration())
    assert (line3.tier, line3.scope) == (3, "board")
    assert line3.gross_j == pytest.approx(3.5 * 4 / 20)
    assert line3.marginal_j == pytest.approx(1.5 * 4 / 20)
    assert recorder.energy([], [], cpu_s=0.0, board=PI).missing["gross_j"] == "no inference ran"


def test_a_calibration_of_another_board_is_no_tier_3(tmp_path: Path) -> None:
    with Recorder(root=tree(tmp_path, {MODEL: "another board"})) as recorder:
        pass
    found = recorder.energy([(0.0, 2.0)], [10], cpu_s=4.0, calibration=calibration())
    assert (found.tier, found.gross_j) == (5, None)
    assert (
        "calibration: made on another board: board; this one is another board"
        in (found.missing["gross_j"])
    )
    assert found.missing["gross_j"].endswith("no table of this board is known")
    table = recorder.energy([(0.0, 2.0)], [10], cpu_s=4.0, calibration=calibration(), board=PI)
    assert table.tier == 4
    assert "in place of calibration: made on another board" in table.source


SECONDS, RESULTS = (2.0, 2.0, 2.0), (10, 10, 10)


def test_the_intervals_are_the_formula() -> None:
    origin = METER.replace(accuracy=0.01)
    joules = (10.0, 10.4, 10.8)
    idle = Power(watts=3.0, half_w=0.4)
    runs = [Spent(joules=j, ends_j=0.3) for j in joules]
    found = metered(origin, runs, idle, SECONDS, RESULTS, Work())
    assert (found.gross_j, found.marginal_j) == pytest.approx((1.04, 1.04 - 3 * 0.2))
    # Student's t with 2 degrees of freedom; the standard deviation of a result's energy is 0.04 J.
    scatter = student_t(2) * 0.04 / math.sqrt(3)
    off = [3 * 0.3 / 30, 0.01 * 1.04]
    for ends, value, half in (
        (found.gross_ci95, 1.04, math.hypot(scatter, *off)),
        (found.marginal_ci95, 0.44, math.hypot(scatter, 0.2 * 0.4, *off)),
    ):
        assert ends == pytest.approx((value - half, value + half), rel=1e-5)


def test_the_interval_of_a_small_energy_is_not_rounded_away() -> None:
    runs = [Spent(joules=j * 1e-5, ends_j=0.0) for j in (10.0, 10.4, 10.8)]
    found = metered(METER, runs, Power(watts=1e-6, half_w=0.0), SECONDS, RESULTS, Work())
    assert found.gross_ci95 is not None
    half = student_t(2) * 0.04e-5 / math.sqrt(3)
    assert found.gross_ci95[1] - found.gross_ci95[0] == pytest.approx(2 * half, rel=1e-3)


@pytest.mark.parametrize(("idle_sd", "run_sd"), [(0.5, 0.01), (0.01, 0.2), (0.2, 0.2)])
def test_the_marginal_interval_covers_the_truth(idle_sd: float, run_sd: float) -> None:
    inside, rounds = 0, 600
    for seed in range(rounds):
        noise = random.Random(seed)
        # 3 W idle, 5 W loaded: a result takes 2 W x 0.2 s beyond idling. Idling is seen once, in
        # ten readings, and its error is that of all three runs.
        readings = [3 + noise.gauss(0, idle_sd) for _ in range(10)]
        idle = Power(watts=sum(readings) / 10, half_w=half_width(readings))
        runs = [Spent(joules=2 * (5 + noise.gauss(0, run_sd)), ends_j=0.0) for _ in SECONDS]
        ends = metered(METER, runs, idle, SECONDS, RESULTS, Work()).marginal_ci95
        assert ends is not None
        inside += ends[0] <= 0.4 <= ends[1]
    assert 0.93 <= inside / rounds <= 0.99


def test_what_an_interval_lacks_is_said() -> None:
    runs = [Spent(joules=10.0, ends_j=0.0), Spent(joules=11.0, ends_j=0.0)]
    known = Power(watts=3.0, half_w=0.1)

    def told(idle: Power | str, n: int) -> Energy:
        return metered(METER, runs[:n], idle, SECONDS[:n], RESULTS[:n], Work())

    alone = told(known, 1)
    assert (alone.gross_j, alone.marginal_j) == pytest.approx((1.0, 0.4))
    assert alone.gross_ci95 is alone.marginal_ci95 is None
    assert "one process only" in alone.missing["gross_ci95"]
    assert "one process only" in alone.missing["marginal_ci95"]
    short = told(known.replace(half_w=None), 2)
    assert short.gross_ci95 is not None
    assert short.marginal_j is not None
    assert short.marginal_ci95 is None
    assert short.missing == {"marginal_ci95": "too few readings while idling"}
    never = told("why", 2)
    assert never.marginal_j is never.marginal_ci95 is never.idle_w is None
    assert never.missing == dict.fromkeys(("marginal_j", "marginal_ci95", "idle_w"), "why")
