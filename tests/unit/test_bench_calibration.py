"""A board's line of power over load: its fit, how it is made, and where it counts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv import host, schema
from edgecv.bench import calibration as calibrations
from edgecv.bench.calibration import Calibration
from edgecv.bench.power import line
from edgecv.bench.recorder import Recorder
from edgecv.errors import UsageError
from tests.boards import CHIP, MODEL, calibration, tree
from tests.models import command


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
    place.write_bytes(schema.to_json(calibration()))
    assert Calibration.read(place) == calibration()
    place.write_text('{"schema": "edgecv.calibration/1"}')
    with pytest.raises(UsageError, match="board"):
        Calibration.read(place)
    with pytest.raises(UsageError, match="cannot be read"):
        Calibration.read(tmp_path / "none.json")


def machine(root: Path, board: str, cpu: str) -> Path:
    return tree(root, {MODEL: f"{board}\0", "proc/cpuinfo": f"model name\t: {cpu}\n"})


def test_a_calibration_counts_on_its_own_machine(tmp_path: Path) -> None:
    here = machine(tmp_path / "here", "board", "cpu")
    made = calibration(cpu="cpu")
    assert made.why_not(here) is None
    assert made.why_not(machine(tmp_path / "b", "another", "cpu")) == (
        "made on another board: board; this one is another"
    )
    assert made.why_not(machine(tmp_path / "c", "board", "newer")) == (
        "made on another CPU: cpu; this one is newer"
    )
    assert "this one is unknown" in str(made.why_not(tmp_path / "nothing"))
    # A file that tells no CPU is taken by its board; one that tells no board is not taken.
    assert calibration().why_not(here) is None
    nowhere = calibration(board=calibrations.UNKNOWN)
    assert "does not say" in str(nowhere.why_not(tmp_path / "nothing"))
    # Without a device tree or firmware, the CPU stands for the board.
    bare = tree(tmp_path / "bare", {"proc/cpuinfo": "model name\t: cpu\n"})
    assert calibration(board="cpu", cpu="cpu").why_not(bare) is None


def test_the_line_is_not_drawn_on_beyond_its_steps(tmp_path: Path) -> None:
    here = machine(tmp_path, "board", "cpu")
    assert calibration().why_not(here, 4.2) is None
    assert calibration().why_not(here, 8.0) == "fitted up to 4.0 busy CPUs; 8.0 were"


def test_a_calibration_of_another_machine_stops_the_command(tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    place.write_bytes(schema.to_json(calibration(board="no such board")))
    with pytest.raises(UsageError, match=r"(?s)made on another board.*calibrate-energy"):
        Calibration.read_here(place, machine(tmp_path, "board", "cpu"))
    assert Calibration.read_here(place, machine(tmp_path, "no such board", "cpu")).cores == 4
    model = tmp_path / "m.null.json"
    model.write_text("{}")
    ran = command("bench", model, "--calibration", place)
    assert ran.status == 2
    assert "made on another board: no such board; this one is" in ran.err


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
    place, draft = root / CHIP / "power1_input", root / "draft"
    tree(root, {f"{CHIP}/name": "ina219\n", f"{CHIP}/power1_input": "0\n"})
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
        pytest.raises(UsageError, match="do not cover all steps"),
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
    assert "do not cover all steps" in ran.err
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
    assert Calibration.read_here(target) == found
    assert found.cpu == host.cpu_model()
    assert (found.scope, found.meter) == ("board", "USB meter's log log.csv")
    assert "x busy CPUs" in ran.out
