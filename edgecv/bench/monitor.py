"""Watch the machine while something is measured on it: who else computes, clocks, heat, swapping.

Sources: proc(5) for ``/proc/stat``, ``/proc/vmstat`` and ``statm``; the kernel's documentation of
cpufreq, thermal zones, hwmon and control groups; Raspberry Pi documentation, "vcgencmd
get_throttled", for the bits of the firmware.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from edgecv import host
from edgecv.bench.report import Moment
from edgecv.record import Record, field

MOST_MOMENTS = 240
"""A timeline is thinned to so many moments."""
_CPU_ZONES = ("cpu", "soc", "x86_pkg", "k10temp", "coretemp", "package", "acpitz")


class Conditions(Record, kw_only=True):
    """What a machine went through during some windows of time.

    Attributes:
        others_share: CPU time that neither the measured processes nor the monitor used, as a part
            of all CPUs; what a hypervisor took counts, too.
        mhz: mean clock in the first and in the last third of the windows.
        governor: of the first CPU.
        temperature_c: of the hottest CPU zone in the first and in the last third.
        swapped_pages: pages that went to or came from the disk.
        throttled: the firmware's bits before and after.
        quota: that control groups set, in CPUs; None where they set none.
        quota_s: time for which the quota held this process back.
        rss: for each window, (seconds since its start, bytes) of the process that was followed.
        timeline: the whole time that was watched.
        missing: field -> why it could not be read.
    """

    others_share: float | None = None
    mhz: tuple[float, float] | None = None
    governor: str | None = None
    temperature_c: tuple[float, float] | None = None
    swapped_pages: int | None = None
    throttled: tuple[int, int] | None = None
    quota: float | None = None
    quota_s: float | None = None
    rss: tuple[tuple[tuple[float, int], ...], ...] = ()
    timeline: tuple[Moment, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)


class _Sample(Record, kw_only=True):
    at_s: float
    busy_s: float | None
    mhz: float | None
    temperature_c: float | None
    swapped: int | None
    quota_s: float | None
    watts: float | None
    rss: int | None
    own_s: float


class Monitor:
    """Samples the machine in a thread of its own, a few times a second; use it in ``with``.

    Args:
        root: of the file system with ``proc`` and ``sys``; another one in tests.
        interval_s: between samples.
        watts: power at this time, where there is a meter.
    """

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        interval_s: float = 0.2,
        watts: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._root, self._interval_s, self._watts = root, interval_s, watts
        self._pid: int | None = None
        self._samples: list[_Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgecv-monitor", daemon=True)
        self._clocks = _clock_files(root)
        self._zones = _zones(root)
        self._throttled: list[int | None] = []

    def __enter__(self) -> Monitor:
        self._throttled.append(throttle_bits(self._root))
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._throttled.append(throttle_bits(self._root))

    def follow(self, pid: int | None) -> None:
        """Sample the resident set of this process from now on."""
        self._pid = pid

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        root = self._root
        self._samples.append(
            _Sample(
                at_s=time.monotonic(),
                busy_s=busy_s(root),
                mhz=_mhz(root, self._clocks),
                temperature_c=_temperature(self._zones),
                swapped=_swapped(root),
                quota_s=_quota_s(root),
                watts=self._watts(),
                rss=None if self._pid is None else _rss(root, self._pid),
                own_s=time.process_time(),
            )
        )

    def conditions(self, windows: Sequence[tuple[float, float]], own_cpu_s: float) -> Conditions:
        """Sum up what was seen.

        Args:
            windows: start and end of each measured run, seconds of `time.monotonic`.
            own_cpu_s: CPU time of the measured processes in the windows.
        """
        samples = list(self._samples)
        before = self._throttled[0] if self._throttled else None
        after = self._throttled[1] if len(self._throttled) > 1 else throttle_bits(self._root)
        busy = [(s.at_s, s.busy_s - s.own_s) for s in samples if s.busy_s is not None]
        spans = sum(end - start for start, end in windows)
        cpus = os.cpu_count() or 1
        others = None
        if len(busy) > 1 and spans > 0:
            spent = sum(_between(busy, start, end) for start, end in windows)
            others = min(1.0, max(0.0, (spent - own_cpu_s) / (cpus * spans)))
        swapped = [(s.at_s, s.swapped) for s in samples if s.swapped is not None]
        held = [(s.at_s, s.quota_s) for s in samples if s.quota_s is not None]
        mhz = _thirds([(s.at_s, s.mhz) for s in samples if s.mhz is not None], windows)
        heat = [(s.at_s, s.temperature_c) for s in samples if s.temperature_c is not None]
        found = Conditions(
            others_share=others,
            mhz=mhz,
            governor=governor(self._root),
            temperature_c=_thirds(heat, windows),
            swapped_pages=round(sum(_between(swapped, *w) for w in windows)) if swapped else None,
            throttled=None if before is None or after is None else (before, after),
            quota=host.cpu_quota(self._root),
            quota_s=sum(_between(held, *w) for w in windows) if held else None,
            rss=tuple(
                tuple((s.at_s - a, s.rss) for s in samples if a <= s.at_s <= b and s.rss)
                for a, b in windows
            ),
            timeline=self._timeline(samples, cpus),
        )
        return found.replace(missing=_missing(found))

    def _timeline(self, samples: list[_Sample], cpus: int) -> tuple[Moment, ...]:
        step = -(-len(samples) // MOST_MOMENTS)
        kept = samples[:: max(1, step)]
        moments = []
        for last, sample in zip([kept[0], *kept], kept, strict=False):
            share = None
            if sample.busy_s is not None and last.busy_s is not None and sample.at_s > last.at_s:
                share = (sample.busy_s - last.busy_s) / (cpus * (sample.at_s - last.at_s))
            moments.append(
                Moment(
                    at_s=round(sample.at_s - samples[0].at_s, 3),
                    temperature_c=sample.temperature_c,
                    mhz=sample.mhz,
                    busy_share=None if share is None else round(min(1.0, max(0.0, share)), 4),
                    watts=sample.watts,
                )
            )
        return tuple(moments)


def _missing(found: Conditions) -> dict[str, str]:
    reasons = {
        "others_share": "/proc/stat cannot be read, or the run was too short",
        "mhz": "neither cpufreq nor /proc/cpuinfo tells the clock",
        "governor": "the system has no cpufreq governor, as in most virtual machines",
        "temperature_c": "the system has no thermal zone of a CPU, or the run was too short",
        "swapped_pages": "/proc/vmstat cannot be read",
        "throttled": "no Raspberry Pi firmware to ask",
        "quota_s": "no control group tells",
    }
    return {name: why for name, why in reasons.items() if getattr(found, name) is None}


def _between(series: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Return how much a counter grew from start to end, by linear interpolation."""
    at, value = np.array([s[0] for s in series]), np.array([s[1] for s in series], np.float64)
    low, high = np.interp([start, end], at, value)
    return float(high - low)


def _thirds(
    series: Sequence[tuple[float, float]], windows: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Return the mean over the first and over the last third of what lies in the windows."""
    inside = [value for at, value in series if any(a <= at <= b for a, b in windows)]
    third = len(inside) // 3
    if not third:
        return None
    return round(float(np.mean(inside[:third])), 2), round(float(np.mean(inside[-third:])), 2)


def busy_s(root: Path = Path("/")) -> float | None:
    """Return the CPU time of everything since boot, seconds; what a hypervisor stole counts."""
    for line in _lines(root / "proc/stat"):
        words = line.split()
        if words[:1] == ["cpu"] and len(words) > 8:
            user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
            return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return None


def governor(root: Path = Path("/")) -> str | None:
    """Return the governor of the first CPU's clock."""
    return next(iter(_lines(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")), None)


def throttle_bits(root: Path = Path("/")) -> int | None:
    """Return the Raspberry Pi firmware's bits: 0-3 of now, 16-19 since boot.

    None where there is no such firmware. On kernels that do not show the bits, the undervoltage
    alarm of the ``rpi_volt`` driver stands for bit 0.
    """
    for path in sorted((root / "sys/devices/platform").glob("soc*/*firmware/get_throttled")):
        with suppress(ValueError, IndexError):
            return int(_lines(path)[0], 16)
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if _lines(name)[:1] == ["rpi_volt"]:
            alarm = _lines(name.parent / "in0_lcrit_alarm")[:1]
            return None if not alarm else int(alarm == ["1"])
    return None


def _clock_files(root: Path) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))


def _mhz(root: Path, files: list[Path]) -> float | None:
    """Return the mean clock: cpufreq's in kHz, else that of /proc/cpuinfo in MHz."""
    clocks = [int(text) / 1000 for path in files for text in _lines(path)[:1] if text.isdigit()]
    if not files:
        for line in _lines(root / "proc/cpuinfo"):
            key, _, value = line.partition(":")
            if key.strip() == "cpu MHz":
                with suppress(ValueError):
                    clocks.append(float(value))
    return round(sum(clocks) / len(clocks), 1) if clocks else None


def _zones(root: Path) -> list[Path]:
    """List the temperature files of CPUs, in millidegrees Celsius."""
    found = []
    for kind in sorted((root / "sys/class/thermal").glob("thermal_zone*/type")):
        if any(word in " ".join(_lines(kind)).lower() for word in _CPU_ZONES):
            found.append(kind.parent / "temp")
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if any(word in " ".join(_lines(name)).lower() for word in _CPU_ZONES):
            found += sorted(name.parent.glob("temp*_input"))
    return found


def _temperature(zones: list[Path]) -> float | None:
    values = []
    for zone in zones:
        with suppress(ValueError, IndexError):
            values.append(int(_lines(zone)[0]) / 1000)
    return max(values, default=None)


def _swapped(root: Path) -> int | None:
    pages = [
        int(line.split()[1])
        for line in _lines(root / "proc/vmstat")
        if line.startswith(("pswpin ", "pswpout "))
    ]
    return sum(pages) if pages else None


def _quota_s(root: Path) -> float | None:
    """Return for how long the control groups' quota held this process back since they exist."""
    for folder in host.control_groups(root, "cpu"):
        for line in _lines(folder / "cpu.stat"):
            key, _, value = line.partition(" ")
            if key in ("throttled_usec", "throttled_time") and value.isdigit():
                return int(value) / (1e6 if key == "throttled_usec" else 1e9)
    return None


def _rss(root: Path, pid: int) -> int | None:
    words = " ".join(_lines(root / f"proc/{pid}/statm")).split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
