"""Watch the machine while something is measured: who else computes, clocks, heat, swapping."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from edgecv import host
from edgecv.bench import sensors
from edgecv.bench.report import Moment
from edgecv.record import Record, field

MOST_MOMENTS = 240
"""A timeline is thinned to so many moments."""
_FIRMWARE_EVERY = 5
"""Samples between two looks at a board's firmware, which is slow to answer."""
_PARTS = 10


class Conditions(Record, kw_only=True):
    """What a machine went through during some windows of time.

    Attributes:
        others_share: CPU time that neither the measured processes nor the monitor used, as a part
            of all CPUs; what a hypervisor took counts, too.
        mhz: mean clock in the first and in the last third of the windows, of the CPUs in use.
        mhz_low: of that tenth of the windows in which it was lowest.
        governor: of the first CPU.
        temperature_c: of the hottest CPU zone in the first and in the last third.
        swapped_pages: pages that went to or came from the disk.
        throttled: the firmware's bits before and after.
        throttled_between: its bits 0-3 that were set at any look in between; a bit of 16-19 that
            came up counts as the one of 0-3 that it remembers.
        quota: that control groups set, in CPUs; None where they set none.
        quota_s: time for which the quota held this process back.
        rss: for each window, (seconds since its start, bytes) of the process that was followed.
        timeline: the whole time that was watched.
        missing: field -> why it could not be read.
    """

    others_share: float | None = None
    mhz: tuple[float, float] | None = None
    mhz_low: float | None = None
    governor: str | None = None
    temperature_c: tuple[float, float] | None = None
    swapped_pages: int | None = None
    throttled: tuple[int, int] | None = None
    throttled_between: int = 0
    quota: float | None = None
    quota_s: float | None = None
    rss: tuple[tuple[tuple[float, int], ...], ...] = ()
    timeline: tuple[Moment, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)


class _Sample(Record, kw_only=True):
    at_s: float
    busy_s: float | None
    cpus: int
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
        self._clocks = sensors.clock_files(root)
        self._zones = sensors.zones(root)
        self._quotas = sensors.quota_files(root)
        self._busy: dict[int, float] = {}
        self._throttled: list[int | None] = []
        self._between: list[int] = []

    def __enter__(self) -> Monitor:
        self._throttled.append(sensors.throttle_bits(self._root))
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._throttled.append(sensors.throttle_bits(self._root))

    def follow(self, pid: int | None) -> None:
        """Sample the resident set of this process from now on."""
        self._pid = pid

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        root = self._root
        if len(self._samples) % _FIRMWARE_EVERY == 0:
            bits = sensors.throttle_bits_at_once(root)
            self._between += [] if bits is None else [bits]
        total, each = sensors.cpu_times(root)
        lately = {cpu: busy - self._busy.get(cpu, busy) for cpu, busy in each.items()}
        self._busy = each
        self._samples.append(
            _Sample(
                at_s=time.monotonic(),
                busy_s=total,
                cpus=len(each) or os.cpu_count() or 1,
                mhz=sensors.in_use_mhz(sensors.clocks_mhz(root, self._clocks), lately or None),
                temperature_c=sensors.temperature_c(self._zones),
                swapped=sensors.swapped(root),
                quota_s=sensors.quota_s(self._quotas),
                watts=self._watts(),
                rss=None if self._pid is None else sensors.rss_bytes(root, self._pid),
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
        after = (
            self._throttled[1] if len(self._throttled) > 1 else sensors.throttle_bits(self._root)
        )
        busy = [(s.at_s, s.busy_s - s.own_s) for s in samples if s.busy_s is not None]
        spans = sum(end - start for start, end in windows)
        cpus = samples[-1].cpus if samples else 1
        others = None
        if len(busy) > 1 and spans > 0:
            spent = sum(_between(busy, start, end) for start, end in windows)
            others = min(1.0, max(0.0, (spent - own_cpu_s) / (cpus * spans)))
        swapped = [(s.at_s, s.swapped) for s in samples if s.swapped is not None]
        held = [(s.at_s, s.quota_s) for s in samples if s.quota_s is not None]
        mhz = [(s.at_s, s.mhz) for s in samples if s.mhz is not None]
        heat = [(s.at_s, s.temperature_c) for s in samples if s.temperature_c is not None]
        found = Conditions(
            others_share=others,
            mhz=_thirds(mhz, windows),
            mhz_low=_lowest_part(mhz, windows),
            governor=sensors.governor(self._root),
            temperature_c=_thirds(heat, windows),
            swapped_pages=round(sum(_between(swapped, *w) for w in windows)) if swapped else None,
            throttled=None if before is None or after is None else (before, after),
            throttled_between=_shown(self._between),
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


def _shown(bits: Sequence[int]) -> int:
    """Return the bits 0-3 that were set at any look, those that only a later look remembers too."""
    found = 0
    for last, now in pairwise(bits):
        found |= now | ((now >> 16) & ~(last >> 16))
    return (found | (bits[0] if bits else 0)) & 0xF


def _inside(
    series: Sequence[tuple[float, float]], windows: Sequence[tuple[float, float]]
) -> list[float]:
    return [value for at, value in series if any(a <= at <= b for a, b in windows)]


def _lowest_part(
    series: Sequence[tuple[float, float]], windows: Sequence[tuple[float, float]]
) -> float | None:
    """Return the mean over that tenth of what lies in the windows where it is lowest."""
    inside = _inside(series, windows)
    if len(inside) < _PARTS:
        return None
    return round(min(float(np.mean(part)) for part in np.array_split(inside, _PARTS)), 2)


def _thirds(
    series: Sequence[tuple[float, float]], windows: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Return the mean over the first and over the last third of what lies in the windows."""
    inside = _inside(series, windows)
    third = len(inside) // 3
    if not third:
        return None
    return round(float(np.mean(inside[:third])), 2), round(float(np.mean(inside[-third:])), 2)
