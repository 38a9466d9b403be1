"""Energy: planted meters and counters, arithmetic by hand, and calibration."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv import plugins, schema
from edgecv.bench import calibration as calibrations
from edgecv.bench import usb_log
from edgecv.bench.calibration import Calibration
from edgecv.bench.energy import BoardPower, Recorder
from edgecv.bench.meters import hwmon, pmic, rapl
from edgecv.bench.power import Meter, joules, line
from edgecv.errors import UsageError
from tests.models import command

PI = BoardPower(
    name="board", cores=4, idle_w=3.0, idle_uncertainty_w=1.0, load_w=11.0, load_uncertainty_w=2.0
)
RAPL = "sys/class/powercap/intel-rapl:0"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def meter(found: Meter | str) -> Meter:
    assert isinstance(found, Meter), found
    return found


@given(st.floats(0, 5), st.floats(-3, 3), st.floats(0.1, 4), st.floats(0.1, 4))
def test_watts_of_a_ramp_integrate_to_the_closed_form(
    base: float, slope: float, start: float, length: float
) -> None:
    # P = base + slope t over [start, end]; the trapezoid rule is exact for it.
    series = [(t / 10, base + slope * t / 10) for t in range(100)]
    end = start + length
    expected = base * length + slope * (end**2 - start**2) / 2
    assert joules(series, start, end, "watts") == pytest.approx(expected, abs=1e-9)


@given(st.floats(0.1, 50), st.floats(0, 8), st.floats(0.1, 1.5))
def test_a_counter_is_interpolated_at_both_ends(watts: float, start: float, length: float) -> None:
    series = [(t / 10, 7 + watts * t / 10) for t in range(100)]
    assert joules(series, start, start + length, "joules") == pytest.approx(watts * length)


def test_a_series_that_ends_too_early_says_nothing() -> None:
    series = [(t / 10, 1.0) for t in range(20)]
    assert joules(series, 0.0, 1.9, "watts") == pytest.approx(1.9)
    assert joules(series, 0.0, 2.3, "watts") is not None
    assert joules(series, 0.0, 2.5, "watts") is None
    assert joules(series, -0.6, 1.0, "watts") is None
    assert joules(series[:1], 0.0, 0.1, "watts") is None
    assert joules(series, 1.0, 1.0, "watts") is None


def test_hwmon(tmp_path: Path) -> None:
    assert "no power meter" in str(hwmon.find(tmp_path))
    chip = "sys/class/hwmon/hwmon3"
    tree(tmp_path, {
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
        "sys/class/hwmon/hwmon0/power1_input": "9\n",
        f"{chip}/name": "ina219\n", f"{chip}/power1_input": "5250000\n",
    })  # fmt: skip
    found = meter(hwmon.find(tmp_path))
    assert (found.tier, found.scope, found.quantity) == (1, "board", "watts")
    assert found.read() == 5.25
    (tmp_path / chip / "power1_input").unlink()
    assert found.read() is None
    # Volts and amperes, where the driver does not multiply them.
    tree(tmp_path, {f"{chip}/in1_input": "5100\n", f"{chip}/curr1_input": "600\n"})
    assert meter(hwmon.find(tmp_path)).read() == pytest.approx(3.06)


def test_rapl_wraps_and_sums_the_packages(tmp_path: Path) -> None:
    assert "no RAPL" in str(rapl.find(tmp_path))
    for i, value in enumerate((990_000, 400_000)):
        tree(tmp_path, {
            f"sys/class/powercap/intel-rapl:{i}/name": f"package-{i}\n",
            f"sys/class/powercap/intel-rapl:{i}/energy_uj": f"{value}\n",
            f"sys/class/powercap/intel-rapl:{i}/max_energy_range_uj": "1000000\n",
        })  # fmt: skip
    # A part of a package is inside of it.
    tree(tmp_path, {
        "sys/class/powercap/intel-rapl:0:0/name": "core\n",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "5\n",
    })  # fmt: skip
    found = meter(rapl.find(tmp_path))
    assert (found.tier, found.scope, found.quantity) == (2, "package", "joules")
    first = found.read()
    assert first == pytest.approx(1.39)
    for value, expected in ((10_000, 0.02), (500_000, 0.51), (499_999, 1.509999)):
        tree(tmp_path, {f"{RAPL}/energy_uj": f"{value}\n"})
        assert found.read() == pytest.approx(1.39 + expected)
    (tmp_path / RAPL / "energy_uj").unlink()
    assert found.read() is None
    assert "root only" in str(rapl.find(tree(tmp_path / "b", {
        "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    })))  # fmt: skip


def test_the_power_chip_of_a_pi(tmp_path: Path) -> None:
    output = (
        "       3V7_WL_SW_A current(0)=0.10000000A\n       VDD_CORE_A current(7)=2.00000000A\n"
        "       3V7_WL_SW_V volt(8)=3.70000000V\n       VDD_CORE_V volt(15)=0.80000000V\n"
        "           EXT5V_V volt(24)=5.10000000V\n"
    )
    assert pmic.watts(output) == pytest.approx(0.37 + 1.6)
    assert pmic.watts("error=1") is None
    assert pmic.watts(None) is None
    assert pmic.find(tmp_path) == "not a Raspberry Pi 5"
    tree(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert "does not answer" in str(pmic.find(tmp_path, ask=lambda: None))
    assert meter(pmic.find(tmp_path, ask=lambda: output)).read() == pytest.approx(1.97)


@pytest.mark.parametrize("name", plugins.names("bench.meters"))
def test_every_meter_says_why_it_is_not_there(name: str, tmp_path: Path) -> None:
    module = plugins.load("bench.meters", name)
    assert module.TIER in (1, 2)
    assert isinstance(module.find(tmp_path), str)


def test_a_recorder_reads_a_counter_that_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, {f"{RAPL}/name": "package-0\n"})
    began, span = time.monotonic(), int(8.0 * 0.5e6)

    def number(path: Path) -> int:
        # 8 W for as long as anybody looks; it starts at 0 again every half second.
        if path.name == "max_energy_range_uj":
            return span
        return int((time.monotonic() - began) * 8.0e6) % span

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
    assert found.formula is not None
    assert "E / n" in found.formula
    assert recorder.watts() is not None


def test_without_a_meter_the_next_tier_is_told(tmp_path: Path) -> None:
    with Recorder(root=tmp_path) as recorder:
        pass
    windows, results = [(0.0, 2.0), (5.0, 7.0)], [10, 10]
    none = recorder.energy(windows, results, cpu_s=4.0)
    assert (none.tier, none.gross_j, none.marginal_j) == (5, None, None)
    assert "no power meter" in none.missing["gross_j"]
    # Four cores, one busy: u = 1/4. 3 + 8/4 = 5 W over 4 s and 20 results.
    table = recorder.energy(windows, results, cpu_s=4.0, board=PI)
    assert (table.tier, table.scope) == (4, "board")
    assert table.gross_j == pytest.approx(5.0 * 4 / 20)
    assert table.marginal_j == pytest.approx(2.0 * 4 / 20)
    half = math.hypot(0.75 * 1.0, 0.25 * 2.0) * 4 / 20
    assert table.gross_ci95 == pytest.approx((1.0 - half, 1.0 + half), rel=1e-4)
    # More CPU time than the board has cores is all of them.
    full = recorder.energy(windows, results, cpu_s=99.0, board=PI)
    assert full.load_w == pytest.approx(11.0)
    fitted = calibration(idle_w=2.0, watts_per_cpu=1.5)
    line3 = recorder.energy(windows, results, cpu_s=4.0, board=PI, calibration=fitted)
    assert (line3.tier, line3.scope) == (3, "board")
    assert line3.gross_j == pytest.approx(3.5 * 4 / 20)
    assert line3.marginal_j == pytest.approx(1.5 * 4 / 20)
    assert recorder.energy([], [], cpu_s=0.0, board=PI).missing["gross_j"] == "no inference ran"


def test_a_meter_that_goes_away_is_no_zero(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon0"
    tree(tmp_path, {f"{chip}/name": "ina226\n", f"{chip}/power1_input": "4000000\n"})
    with Recorder(root=tmp_path, interval_s=0.02) as recorder:
        time.sleep(0.1)
        (tmp_path / chip / "power1_input").unlink()
        start = time.monotonic()
        time.sleep(0.1)
    found = recorder.energy([(start, start + 2.0)], [5], cpu_s=1.0)
    assert (found.tier, found.gross_j) == (5, None)
    assert "stopped answering" in found.missing["gross_j"]


def calibration(**changes: float) -> Calibration:
    facts = {
        "schema": "edgecv.calibration/1", "board": "board", "cores": 4, "created": "2026-01-01",
        "meter": "meter", "scope": "board", "idle_ci_w": 0.1, "watts_per_cpu_ci": 0.1,
        "residual_w": 0.05, "left_out_w": 0.05, "steps": ((0.0, 2.0), (4.0, 8.0)),
    }  # fmt: skip
    return Calibration(**{**facts, **changes})  # type: ignore[arg-type]


@given(st.floats(0.5, 20), st.floats(0.2, 10), st.integers(0, 99))
def test_the_fit_finds_the_line(idle: float, slope: float, seed: int) -> None:
    noise = random.Random(seed)
    steps = [(u, idle + slope * u + noise.gauss(0, 0.01)) for u in (0, 0, 1, 1, 2, 2, 3, 4)]
    found = calibrations.fit(steps)
    assert found["idle_w"] == pytest.approx(idle, abs=0.05)
    assert found["watts_per_cpu"] == pytest.approx(slope, abs=0.02)
    assert found["left_out_w"] >= found["residual_w"] * 0.5
    assert found["residual_w"] < 0.03


def test_the_interval_of_the_slope_covers_it() -> None:
    inside = 0
    for seed in range(300):
        noise = random.Random(seed)
        x = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
        found = line(x, [2 + 1.5 * u + noise.gauss(0, 0.2) for u in x])
        inside += abs(found["b"] - 1.5) <= found["b_ci"]
    assert inside / 300 == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)], "too few readings"),
        ([(1.0, 2.0)] * 9, "too few readings"),
        ([(0.0, 5.0), (1.0, 4.0), (2.0, 3.0), (3.0, 2.0)], "does not grow"),
    ],
)
def test_what_no_line_can_be_fitted_to(steps: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibrations.fit(steps)


def test_a_calibration_is_read_strictly(tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    place.write_bytes(schema.to_json(calibration(idle_w=2.0, watts_per_cpu=1.5)))
    assert Calibration.read(place) == calibration(idle_w=2.0, watts_per_cpu=1.5)
    place.write_text('{"schema": "edgecv.calibration/1"}')
    with pytest.raises(UsageError, match="board"):
        Calibration.read(place)
    with pytest.raises(UsageError, match="cannot be read"):
        Calibration.read(tmp_path / "none.json")


def test_the_log_of_a_usb_meter(tmp_path: Path) -> None:
    now = time.time()
    log = tmp_path / "log.csv"
    rows = [f"{datetime.fromtimestamp(now + i, UTC).isoformat()},5.0,{1 + i % 2}" for i in range(6)]
    log.write_text("Time,Voltage(V),Current(A)\n" + "\n".join(rows) + "\n\n")
    series = usb_log.read(log)
    assert [watts for _, watts in series] == [5, 10, 5, 10, 5, 10]
    assert series[0][0] == pytest.approx(time.monotonic(), abs=1.0)
    log.write_text(f"timestamp,Power [W],note\n{now},4.5,x\n")
    assert [watts for _, watts in usb_log.read(log)] == [4.5]
    with Recorder(root=tmp_path, usb_log=log) as recorder:
        pass
    found = recorder.energy([(series[0][0], series[-1][0])], [5], cpu_s=1.0)
    assert "does not reach over" in found.missing["gross_j"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not the log"), ("time,volts\n1,2\n", "not the log"), ("watts\n1\n", "not the log"),
     ("time,watts\nnoon,4\n", "line 2"), ("time,watts\n5\n", "line 2"),
     ("time,watts\n1,2\n3,much\n", "line 3")],
)  # fmt: skip
def test_a_log_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(text)
    with pytest.raises(UsageError, match=message):
        usb_log.read(log)


class Load:
    """CPU time of a made-up machine with nobody else on it, as busy as it is told to be."""

    def __init__(self) -> None:
        self.count, self.spent, self.since = 0, 0.0, time.monotonic()
        self.lock = threading.Lock()

    def busy_s(self) -> float:
        with self.lock:
            now = time.monotonic()
            self.spent += self.count * (now - self.since)
            self.since = now
            return self.spent

    @contextmanager
    def busy(self, count: int) -> Iterator[None]:
        self.busy_s()
        self.count = count
        try:
            yield
        finally:
            self.busy_s()
            self.count = 0


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    made = Load()
    monkeypatch.setattr(calibrations, "_busy", made.busy)
    monkeypatch.setattr(calibrations, "busy_s", made.busy_s)
    return made


def test_processes_that_are_really_busy() -> None:
    with calibrations._busy(1):
        time.sleep(0.6)
        used = [
            int(stat.read_text().rpartition(")")[2].split()[11])
            for stat in Path("/proc").glob("[0-9]*/stat")
            if "while True: a @ a" in (stat.parent / "cmdline").read_text()
        ]
    assert len(used) == 1
    assert used[0] > 0


@contextmanager
def drawing(root: Path, load: Load, idle_w: float, watts_per_cpu: float) -> Iterator[None]:
    """Let a made-up meter show what a machine draws at its load."""
    place, draft = root / "sys/class/hwmon/hwmon0/power1_input", root / "draft"
    tree(root, {"sys/class/hwmon/hwmon0/name": "ina219\n",
                "sys/class/hwmon/hwmon0/power1_input": "0\n"})  # fmt: skip
    stop = threading.Event()

    def draw() -> None:
        while not stop.wait(0.01):
            draft.write_text(f"{int((idle_w + watts_per_cpu * load.count) * 1e6)}\n")
            draft.replace(place)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_calibrating_from_a_meter(tmp_path: Path, load: Load) -> None:
    with drawing(tmp_path, load, 2.0, 1.5), Recorder(root=tmp_path, interval_s=0.02) as recorder:
        time.sleep(0.1)
        steps = calibrations.measure(recorder, seconds=0.4, settle_s=0.1, cpus=3)
    assert [round(busy) for busy, _ in steps] == [0, 1, 2, 3, 3, 2, 1, 0]
    found = calibrations.fit(steps)
    assert found["idle_w"] == pytest.approx(2.0, abs=0.1)
    assert found["watts_per_cpu"] == pytest.approx(1.5, abs=0.1)


def test_nothing_is_calibrated_without_a_meter(tmp_path: Path) -> None:
    with (
        Recorder(root=tmp_path) as recorder,
        pytest.raises(UsageError, match=r"(?s)no meter to calibrate from.*--usb-log"),
    ):
        calibrations.measure(recorder, seconds=0.1, settle_s=0, cpus=1)
    log = tmp_path / "old.csv"
    log.write_text("time,watts\n1000,4\n2000,5\n")
    with (
        Recorder(root=tmp_path, usb_log=log) as recorder,
        pytest.raises(UsageError, match="do not reach over all steps"),
    ):
        calibrations.measure(recorder, seconds=0.1, settle_s=0, cpus=1)


def test_the_command_says_what_it_needs(tmp_path: Path) -> None:
    log = tmp_path / "old.csv"
    log.write_text("time,watts\n1000,4\n2000,5\n")
    ran = command(
        "calibrate-energy", "-o", tmp_path / "c.json", "--usb-log", log, "--seconds", "0.2",
        "--settle", "0",
    )  # fmt: skip
    assert ran.status == 2
    assert "do not reach over all steps" in ran.err
    assert not (tmp_path / "c.json").exists()


def test_the_command_writes_what_bench_reads(tmp_path: Path, load: Load) -> None:
    log, target = tmp_path / "log.csv", tmp_path / "c.json"
    log.write_text("time,watts\n")
    stop = threading.Event()

    def keep_log() -> None:
        while not stop.wait(0.01):
            with log.open("a") as file:
                file.write(f"{time.time()},{2 + 1.5 * load.count}\n")

    thread = threading.Thread(target=keep_log)
    thread.start()
    time.sleep(0.2)
    try:
        ran = command(
            "calibrate-energy", "-o", target, "--usb-log", log, "--seconds", "0.5", "--settle",
            "0.2",
        )  # fmt: skip
    finally:
        stop.set()
        thread.join()
    assert ran.status == 0, ran.err
    found = Calibration.read(target)
    assert found.watts_per_cpu == pytest.approx(1.5, abs=0.2)
    assert (found.scope, found.meter) == ("board", "USB meter's log log.csv")
    assert "x busy CPUs" in ran.out
