"""What makes a result suspect or invalid: planted faults, each with its reason and no other."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecv.bench import memory
from edgecv.bench.monitor import Conditions, Monitor
from edgecv.bench.report import Arrivals, Memory
from edgecv.bench.sensors import (
    busy_s,
    quota_files,
    quota_s,
    temperature_c,
    throttle_bits,
    throttle_bits_at_once,
    zones,
)
from edgecv.bench.validity import Evidence, judge

CALM = Conditions(
    others_share=0.01, mhz=(2000.0, 2000.0), governor="performance", temperature_c=(50.0, 51.0),
    swapped_pages=0, throttled=(0, 0), quota_s=0.0,
)  # fmt: skip
GOOD: dict[str, Any] = {
    "processes_ms": ((5.0, 5.1, 4.9, 5.0) * 20, (5.1, 5.0, 5.0, 5.2) * 20),
    "cpu_s": 1.99, "elapsed_s": 2.0, "threads": 1, "precision_asked": "fp32",
    "precision_actual": "fp32", "conditions": CALM,
}  # fmt: skip


def found(**changes: Any) -> list[tuple[str, str]]:
    """Judge good evidence with something changed: (code, status) of each reason."""
    verdict = judge(Evidence(**{**GOOD, **changes}))
    worst = "valid"
    for reason in verdict.reasons:
        worst = "invalid" if "invalid" in (worst, reason.status) else "suspect"
    assert verdict.status == worst
    return [(reason.code, reason.status) for reason in verdict.reasons]


def under(**changes: Any) -> list[tuple[str, str]]:
    return found(conditions=CALM.replace(**changes))


def test_nothing_wrong_is_valid() -> None:
    assert found() == []
    assert found(conditions=None, precision_asked=None) == []
    assert found(threads=2, cpu_s=0.5) == []
    assert found(single=False, cpu_s=0.5) == []


def test_samples() -> None:
    assert found(processes_ms=((5.0,) * 64,)) == []
    assert found(processes_ms=((5.0,) * 63,)) == [("too-few-samples", "suspect")]
    assert found(processes_ms=((5.0,) * 9,)) == [("too-few-samples", "invalid")]
    assert found(processes_ms=((5.0,) * 6,), cold=True, single=False) == []
    assert found(processes_ms=((5.0,) * 5,), cold=True) == [("too-few-samples", "suspect")]
    assert found(processes_ms=((5.0,),), cold=True) == [("too-few-samples", "invalid")]


def test_drift_and_processes() -> None:
    rising = (5.0,) * 40 + (5.4,) * 40
    assert found(processes_ms=(rising,)) == []
    rising = (5.0,) * 40 + (5.6,) * 40
    assert found(processes_ms=(rising, rising)) == [("drift", "suspect")]
    # One process is enough, in either direction.
    steady = (5.0,) * 80
    warming = (5.0,) * 20 + (5.6,) * 20 + (5.0,) * 40
    assert found(processes_ms=(steady, warming, steady)) == []
    warming = (5.6,) * 30 + (5.0,) * 50
    assert found(processes_ms=(steady, warming, steady)) == [("drift", "suspect")]
    assert found(processes_ms=((5.0,) * 80, (5.4,) * 80)) == []
    assert found(processes_ms=((5.0,) * 80, (5.6,) * 80)) == [("processes-disagree", "suspect")]


def test_the_machine() -> None:
    assert under(others_share=0.05) == []
    assert under(others_share=0.06) == [("busy-machine", "suspect")]
    assert under(others_share=0.26) == [("busy-machine", "invalid")]
    assert found(cpu_s=1.81) == []
    assert found(cpu_s=1.7) == [("starved", "suspect")]
    assert under(governor="ondemand") == [("governor", "suspect")]
    assert under(mhz=(2000.0, 1950.0)) == []
    assert under(mhz=(2000.0, 1900.0)) == [("frequency", "suspect")]
    assert under(mhz=(1500.0, 2000.0)) == [("frequency", "invalid")]
    assert under(mhz_low=1801.0) == []
    assert under(mhz_low=1799.0) == [("frequency", "suspect")]
    assert under(mhz=(1500.0, 2000.0), mhz_low=900.0) == [("frequency", "invalid")]
    assert under(temperature_c=(50.0, 53.0)) == []
    assert under(temperature_c=(50.0, 53.5)) == [("temperature", "suspect")]
    assert under(temperature_c=(70.0, 50.0)) == []
    assert under(swapped_pages=1) == [("swap", "invalid")]
    assert under(quota_s=0.02) == []
    assert under(quota_s=0.03, quota=0.5) == [("quota", "invalid")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0, 0, []),
        # What was so before the run, and is over, does not touch it.
        (0x50000, 0x50000, []),
        (0, 0x10000, ["undervoltage"]),
        (0, 0x40000, ["throttled"]),
        (0, 0x20000, ["throttled"]),
        (0, 0x80000, ["throttled"]),
        (0, 0x50005, ["undervoltage", "throttled"]),
        (0x50005, 0x50000, ["undervoltage", "throttled"]),
        (0x50000, 0x50004, ["throttled"]),
    ],
)
def test_bits_of_the_firmware(before: int, after: int, expected: list[str]) -> None:
    assert under(throttled=(before, after)) == [(code, "invalid") for code in expected]


def test_what_ran_is_not_what_was_asked_for() -> None:
    assert found(fallbacks=("backend a ran where b was asked for",)) == [("fallback", "invalid")]
    assert found(precision_actual="bf16") == [("precision", "invalid")]
    assert found(precision_actual=None) == [("precision-unknown", "suspect")]
    assert found(precision_asked=None, precision_actual="bf16") == []


def test_schedules() -> None:
    kept = Arrivals(rate_hz=10.0, scheduled=100, completed=60, dropped=40)
    assert found(arrivals=kept) == []
    assert found(arrivals=kept.replace(overloaded=True)) == [("overload", "invalid")]
    assert found(arrivals=kept.replace(dropped_share=0.5)) == []
    assert found(arrivals=kept.replace(dropped_share=0.51)) == [("dropped", "suspect")]


def series(per_minute: float, seconds: float = 30, seed: int = 0) -> list[tuple[float, int]]:
    """Write the resident set of a process that warms up, jitters by pages, and maybe leaks."""
    noise = random.Random(seed)
    pages = [
        (1 - 0.5 ** (t / 10)) * 500 + per_minute / 60 * t / 5 / 4096 + noise.choice((0, 0, 0, 1))
        for t in range(round(seconds * 5))
    ]
    return [(t / 5, 4096 * int(25_000 + page)) for t, page in enumerate(pages)]


@pytest.mark.parametrize("seed", range(5))
def test_a_megabyte_a_minute_is_a_leak(seed: int) -> None:
    slope, interval = memory.leak([series(2**20, seed=seed), series(2**20, seed=seed + 50)]) or (
        0, (0, 0),
    )  # fmt: skip
    assert slope == pytest.approx(2**20, rel=0.2)
    leaking = Memory(leak_per_minute=slope, leak_ci95=interval)
    assert found(memory=leaking) == [("leak", "suspect")]
    slope, interval = memory.leak([series(0, seed=seed)]) or (0, (0, 0))
    assert interval[0] <= 0 or slope < 1e5
    assert found(memory=Memory(leak_per_minute=slope, leak_ci95=interval)) == []


def test_a_buffer_that_grew_once_is_no_leak() -> None:
    grown = [(t, size + (4 << 20 if t > 20 else 0)) for t, size in series(0)]
    slope, interval = memory.leak([grown]) or (0, (0, 0))
    assert slope > 1e6
    assert found(memory=Memory(leak_per_minute=slope, leak_ci95=interval)) == []


def test_a_short_run_tells_nothing_about_a_leak() -> None:
    assert memory.leak([series(2**20, 14)]) is None
    assert memory.leak([[], [(0.0, 1)]]) is None
    told = memory.with_run(Memory(), [None], [series(2**20, 3)])
    assert set(told.missing) == {"peak_rss", "leak_per_minute"}


def watch(seconds: float = 0.8, **options: Any) -> Conditions:
    with Monitor(interval_s=0.05, **options) as monitor:
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
    return monitor.conditions([(start, end)], 0.0)


def test_a_real_neighbour_is_seen() -> None:
    code = "while True: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", code])
    try:
        share = watch().others_share
    finally:
        neighbour.kill()
        neighbour.wait()
    assert share is not None
    assert share > 0.05
    assert ("busy-machine" in dict(under(others_share=share))) is True


def test_our_own_work_is_not_a_neighbours() -> None:
    with Monitor(interval_s=0.05) as monitor:
        before, start = busy_s(), time.monotonic()
        code = "import time; e = time.monotonic() + 0.8\nwhile time.monotonic() < e: pass"
        used = subprocess.run([sys.executable, "-c", code], check=True)
        end, after = time.monotonic(), busy_s()
    assert used.returncode == 0
    assert before is not None
    assert after is not None
    alone = monitor.conditions([(start, end)], 0.0).others_share
    counted = monitor.conditions([(start, end)], 0.8).others_share
    assert alone is not None
    assert counted is not None
    assert counted < alone


def test_the_watching_programs_own_time_is_not_a_neighbours(tmp_path: Path) -> None:
    began = time.process_time()
    zero = "cpu {} 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n"

    def tell() -> None:
        # All that computes on this made-up machine is this process.
        tree(tmp_path, **{"proc/stat": zero.format(round(100 * (time.process_time() - began)))})

    tell()
    with Monitor(root=tmp_path, interval_s=0.01, watts=tell) as monitor:
        start = time.monotonic()
        while time.process_time() - began < 0.3:
            pass
        end = time.monotonic()
    share = monitor.conditions([(start, end)], 0.0).others_share
    assert share is not None
    assert share < 0.1


def tree(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def made_up(root: Path, change: Callable[[], None]) -> Conditions:
    """Watch a made-up machine that changes half way."""
    with Monitor(root=root, interval_s=0.02) as monitor:
        start = time.monotonic()
        time.sleep(0.3)
        change()
        time.sleep(0.3)
        end = time.monotonic()
    return monitor.conditions([(start, end)], 0.0)


CLOCK = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
BITS = "sys/devices/platform/soc/soc:firmware/get_throttled"


def test_a_made_up_board_that_gets_slow(tmp_path: Path) -> None:
    files = {
        CLOCK: "2400000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "55000\n",
        "sys/class/thermal/thermal_zone1/type": "battery\n",
        "sys/class/thermal/thermal_zone1/temp": "99000\n",
        "proc/vmstat": "pgfault 7\npswpin 10\npswpout 20\n",
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/job/cpu.stat": "usage_usec 5\nnr_throttled 0\nthrottled_usec 0\n",
        BITS: "0\n",
    }
    tree(tmp_path, **files)

    def change() -> None:
        tree(
            tmp_path,
            **{
                CLOCK: "1500000\n",
                "sys/class/thermal/thermal_zone0/temp": "82500\n",
                "proc/vmstat": "pgfault 7\npswpin 14\npswpout 21\n",
                "sys/fs/cgroup/job/cpu.stat": "throttled_usec 120000\n",
                BITS: "e0008\n",
            },
        )

    seen = made_up(tmp_path, change)
    assert seen.mhz == (2400.0, 1500.0)
    assert seen.temperature_c == (55.0, 82.5)
    assert seen.swapped_pages == 5
    assert seen.throttled == (0, 0xE0008)
    assert (seen.governor, seen.quota) == ("ondemand", 0.5)
    assert seen.quota_s == pytest.approx(0.12)
    assert seen.others_share is None
    assert "/proc/stat" in seen.missing["others_share"]
    assert [code for code, _ in found(conditions=seen, elapsed_s=0.6, cpu_s=0.6)] == [
        "governor", "frequency", "temperature", "swap", "throttled", "quota",
    ]  # fmt: skip


OTHER_CLOCK = "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq"
HEAT = "sys/class/thermal/thermal_zone0/temp"
OWN_GROUP = "sys/fs/cgroup/slice/job/cpu.stat"
GROUP_ABOVE = "sys/fs/cgroup/slice/cpu.stat"
STEADY = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    HEAT: "55000\n",
    "proc/vmstat": "pswpin 10\npswpout 20\n",
    "proc/self/cgroup": "0::/slice/job\n",
    OWN_GROUP: "usage_usec 5\nnr_throttled 0\nthrottled_usec 0\n",
    GROUP_ABOVE: "usage_usec 5\nnr_throttled 3\nthrottled_usec 700000\n",
    BITS: "50000\n",
    CLOCK: "2400000\n",
    OTHER_CLOCK: "600000\n",
}


def stat(own: int, others: int = 0) -> str:
    """Write /proc/stat of two CPUs that computed for so many hundredths of a second."""
    each = f"cpu0 {own} 0 0 0 0 0 0 0 0 0\ncpu1 {others} 0 0 900 0 0 0 0 0 0\n"
    return f"cpu {own + others} 0 0 900 0 0 0 0 0 0\n{each}"


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ({}, {}, []),
        ({"neighbour": "1", OTHER_CLOCK: "2400000\n"}, {"neighbour": ""}, ["busy-machine"]),
        ({CLOCK: "1500000\n"}, {}, ["frequency"]),
        # It dips and recovers, and the ends of the run look alike.
        ({CLOCK: "1500000\n"}, {CLOCK: "2400000\n"}, ["frequency"]),
        # An idle CPU that wakes up is no change of the clock that anybody waits for.
        ({OTHER_CLOCK: "2400000\n"}, {}, []),
        ({HEAT: "61000\n"}, {}, ["temperature"]),
        ({"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n"}, {}, ["governor"]),
        ({"proc/vmstat": "pswpin 10\npswpout 21\n"}, {}, ["swap"]),
        ({OWN_GROUP: "throttled_usec 100000\n"}, {}, ["quota"]),
        ({GROUP_ABOVE: "throttled_usec 800000\n"}, {}, ["quota"]),
        # Throttled for a moment, on a board that was throttled before: only "now" tells.
        ({BITS: "50004\n"}, {BITS: "50000\n"}, ["throttled"]),
        ({BITS: "50001\n"}, {BITS: "50000\n"}, ["undervoltage"]),
        # Firmware that forgets what it showed once.
        ({BITS: "d0000\n"}, {BITS: "50000\n"}, ["throttled"]),
    ],
)  # fmt: skip
def test_each_fault_of_a_board_has_its_reason_and_no_other(
    tmp_path: Path, first: dict[str, str], then: dict[str, str], expected: list[str]
) -> None:
    tree(tmp_path, **STEADY, **{"proc/stat": stat(0), "neighbour": ""})
    taken = busy = others = 0

    def work() -> None:
        # Called once for each sample, so the plan does not depend on the speed of this machine.
        nonlocal taken, busy, others
        tree(tmp_path, **{10: first, 20: then}.get(taken, {}))
        taken, busy = taken + 1, busy + 1
        others += bool((tmp_path / "neighbour").read_text())
        tree(tmp_path, **{"proc/stat": stat(busy, others)})

    with Monitor(root=tmp_path, interval_s=0.005, watts=work) as monitor:
        start = time.monotonic()
        while taken < 30:
            time.sleep(0.01)
        end = time.monotonic()
    seen = monitor.conditions([(start, end)], own_cpu_s=busy / 100)
    assert seen.mhz is not None
    assert [code for code, _ in found(conditions=seen)] == expected


def test_a_group_of_version_1_with_two_names_is_counted_once(tmp_path: Path) -> None:
    tree(tmp_path, **{
        "proc/self/cgroup": "3:cpu,cpuacct:/job\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.stat": "nr_throttled 4\nthrottled_time 250000000\n",
    })  # fmt: skip
    (tmp_path / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    assert quota_s(quota_files(tmp_path)) == 0.25
    assert quota_s(quota_files(tmp_path / "nothing")) is None


def test_a_zone_of_the_main_board_only_counts_alone(tmp_path: Path) -> None:
    board = "sys/class/thermal/thermal_zone0"
    tree(tmp_path, **{f"{board}/type": "acpitz\n", f"{board}/temp": "99000\n"})
    assert temperature_c(zones(tmp_path)) == 99.0
    cpu = "sys/class/hwmon/hwmon0"
    tree(tmp_path, **{f"{cpu}/name": "coretemp\n", f"{cpu}/temp1_input": "50000\n",
                      f"{cpu}/temp2_input": "52000\n"})  # fmt: skip
    assert temperature_c(zones(tmp_path)) == 52.0


def test_the_command_is_asked_where_the_kernel_shows_no_bits(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask() -> str | None:
        asked.append("vcgencmd")
        return "throttled=0x50005\n"

    assert throttle_bits(tmp_path, ask) is None
    tree(tmp_path, **{"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"})
    assert throttle_bits(tmp_path, ask) == 0x50005
    assert throttle_bits(tmp_path, lambda: 'error=2 error_msg="Invalid"') is None
    assert throttle_bits(tmp_path, lambda: None) is None
    assert throttle_bits_at_once(tmp_path) is None
    tree(tmp_path, **{BITS: "8\n"})
    assert throttle_bits(tmp_path, ask) == throttle_bits_at_once(tmp_path) == 8
    assert asked == ["vcgencmd"]


def test_the_voltage_alarm_stands_for_the_bits(tmp_path: Path) -> None:
    assert throttle_bits(tmp_path) is None
    tree(tmp_path, **{
        "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    })  # fmt: skip
    assert throttle_bits(tmp_path) == 0
    tree(tmp_path, **{"sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
    assert throttle_bits(tmp_path) == 1


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    seen = watch(0.1, root=tmp_path)
    assert set(seen.missing) == {
        "others_share", "mhz", "governor", "temperature_c", "swapped_pages", "throttled", "quota_s",
    }  # fmt: skip
    assert found(conditions=seen) == []


def test_a_process_is_followed() -> None:
    code = (
        "import time; held = []\n"
        "for _ in range(40): held.append(bytearray(1 << 20)); time.sleep(.02)"
    )
    with Monitor(interval_s=0.05) as monitor:
        start = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", code])
        monitor.follow(process.pid)
        process.wait()
        end = time.monotonic()
    (rss,) = monitor.conditions([(start, end)], 0.0).rss
    assert max(size for _, size in rss) - rss[1][1] > 10 * 2**20
    assert all(0 <= at <= end - start for at, _ in rss)


@pytest.mark.parametrize(("grows", "expected"), [(True, ["leak"]), (False, [])])
def test_a_real_leak_is_found(
    monkeypatch: pytest.MonkeyPatch, grows: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(memory, "LEAST_S", 1.5)
    # Twenty pages at a time: far more than a megabyte a minute, for only two seconds.
    code = (
        "import time; held = []\nprint(flush=True)\n"
        f"while True: held.append(b'x' * 81920) if {grows} else b'x' * 81920; time.sleep(.02)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with Monitor(interval_s=0.04) as monitor:
            monitor.follow(process.pid)
            start = time.monotonic()
            time.sleep(1.8)
            end = time.monotonic()
        process.kill()
    seen = monitor.conditions([(start, end)], 0.0)
    told = memory.with_run(Memory(), [None], seen.rss)
    assert told.leak_per_minute is not None
    assert [code for code, _ in found(memory=told)] == expected
