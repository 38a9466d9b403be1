"""The log of a USB meter: which lines count, and what makes a file none."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgecv.bench import recorder as recorders
from edgecv.bench import usb_log
from edgecv.bench.recorder import Recorder
from edgecv.errors import UsageError


def written(log: Path, *lines: str) -> Path:
    log.write_text("time,watts\n" + "".join(f"{line}\n" for line in lines))
    return log


def watts(log: Path) -> list[float]:
    return [power for _, power in usb_log.read(log)]


def test_columns_and_times(tmp_path: Path) -> None:
    now = time.time()
    log = tmp_path / "log.csv"
    rows = [f"{datetime.fromtimestamp(now + i, UTC).isoformat()},5.0,{1 + i % 2}" for i in range(6)]
    log.write_text("Time,Voltage(V),Current(A)\n" + "\n".join(rows) + "\n\n")
    series = usb_log.read(log)
    assert [power for _, power in series] == [5, 10, 5, 10, 5, 10]
    assert series[0][0] == pytest.approx(time.monotonic(), abs=1.0)
    log.write_text(f"timestamp,Power [W],note\n{now},4.5,x\n")
    assert watts(log) == [4.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not the log"), ("time,volts\n1,2\n", "not the log"), ("watts\n1\n", "not the log"),
     ("time,watts\nnoon,4\n", "line 2"), ("time,watts\n5\n", "line 2"),
     ("time,watts\n1,2\n3,much\n", "line 3"), ("time,watts\nnan,4\n", "line 2"),
     ("time,watts\ninf,4\n", "line 2"),
     ("time,watts\n1,2\n5,2\n3.5,2\n", r"line 4: the time goes backwards by 1\.5 s")],
)  # fmt: skip
def test_a_log_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(text)
    with pytest.raises(UsageError, match=message):
        usb_log.read(log)
    # It is told of before anything is measured.
    with pytest.raises(UsageError, match=message), Recorder(root=tmp_path, usb_log=log):
        pass


def test_what_is_no_reading_is_left_out(tmp_path: Path) -> None:
    log = written(tmp_path / "log.csv", "1,4", "2,nan", "3,", "4,inf", "5,-inf", "6,5")
    assert watts(log) == [4, 5]
    log.write_text("time,volts,amps\n1,5,1\n2,5,\n3,NaN,1\n4,5,2\n")
    assert watts(log) == [5, 10]


def test_readings_of_one_time_are_one(tmp_path: Path) -> None:
    log = written(tmp_path / "log.csv", "1,4", "1,5", "2,6", "2,6", "2,9")
    assert watts(log) == pytest.approx([4.5, 7])
    at = [when for when, _ in usb_log.read(log)]
    assert at[1] - at[0] == pytest.approx(1.0)


@pytest.mark.parametrize("rest", ["17", "1764.25,4", "3,4.", "3,\u00b5"])
def test_the_line_that_is_being_written_waits(tmp_path: Path, rest: str) -> None:
    log = written(tmp_path / "log.csv", "1,4", "2,5")
    with log.open("ab") as file:
        file.write(rest.encode()[:-1] if rest.endswith("\u00b5") else rest.encode())
    assert watts(log) == [4, 5]


def logged(root: Path, gap: tuple[int, int] = (0, 0), start_s: float = -60.0) -> Recorder:
    """Record with a log of a minute, 4 W or 6 W each second, but for the lines in the gap."""
    now = time.time()
    lines = [
        f"{now + start_s + i},{4 + 2 * (i % 2)}" for i in range(61) if not gap[0] <= i < gap[1]
    ]
    return Recorder(root=root, usb_log=written(root / "log.csv", *lines))


def test_a_log_tells_the_energy(tmp_path: Path) -> None:
    now = time.monotonic()
    with logged(tmp_path) as recorder:
        found = recorder.energy([(now - 50, now - 30), (now - 30, now - 10)], [10, 10], cpu_s=1.0)
    assert (found.tier, found.scope, found.source) == (1, "board", "USB meter's log log.csv")
    assert found.load_w == pytest.approx(5.0, rel=0.01)
    assert found.gross_j == pytest.approx(10.0, rel=0.01)
    assert found.missing["marginal_j"] == "idling was not measured before the run"


def test_a_silent_log_leaves_no_joules(tmp_path: Path) -> None:
    now = time.monotonic()
    with logged(tmp_path, gap=(20, 40)) as recorder:
        found = recorder.energy([(now - 55, now - 5)], [50], cpu_s=1.0)
    assert (found.tier, found.gross_j, found.load_w) == (5, None, None)
    assert "log.csv: it was silent for 21 s" in found.missing["gross_j"]


def test_a_log_of_another_time(tmp_path: Path) -> None:
    now = time.monotonic()
    with logged(tmp_path, start_s=-7200.0) as recorder:
        found = recorder.energy([(now - 50, now - 10)], [50], cpu_s=1.0)
    assert "stopped answering" in found.missing["gross_j"]


def test_a_log_that_breaks_meanwhile_loses_no_timings(tmp_path: Path) -> None:
    now = time.monotonic()
    with logged(tmp_path) as recorder:
        with (tmp_path / "log.csv").open("a") as file:
            file.write("1,4\n")
        found = recorder.energy([(now - 50, now - 10)], [50], cpu_s=1.0)
    assert found.gross_j is None
    assert "the time goes backwards" in found.missing["gross_j"]


def test_a_clock_that_is_set_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    with logged(tmp_path) as recorder:
        real = recorders._clock
        monkeypatch.setattr(recorders, "_clock", lambda: real() + 20)
        found = recorder.energy([(now - 50, now - 10)], [50], cpu_s=1.0)
    assert "clock was set by 20 s" in found.missing["gross_j"]
