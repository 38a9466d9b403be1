"""Energy of an inference, from the best source there is; the tier of the source is always told.

1. a meter, 2. a counter of the CPU or its power chip, 3. a line that was fitted for this very
board, 4. the board's table, 5. nothing but the work. docs/energy.md says what each leaves out.

With T the time of the measured windows, n their results, E the energy in them, and P_idle what
idling draws: gross = E / n, marginal = (E - P_idle T) / n.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecv import plugins
from edgecv.bench import usb_log as log_of_usb
from edgecv.bench.calibration import Calibration
from edgecv.bench.power import Meter, joules
from edgecv.bench.report import Energy, Work
from edgecv.bench.statistics import mean_interval
from edgecv.record import Record

_METERED = "gross = E / n, marginal = (E - P_idle T) / n; E measured, T = {t:.2f} s, n = {n}"
_WORK = ("macs", "bytes_moved", "instructions")
_LINE = (
    "P = a + b u with u busy CPUs (CPU time / T): gross = P T / n, marginal = b u T / n; "
    "a = {a:.3f} W, b = {b:.3f} W, u = {u:.3f}, T = {t:.2f} s, n = {n}"
)


class BoardPower(Record, kw_only=True):
    """What boards of a kind draw, from published measurements.

    Attributes:
        name: of the kind.
        cores: of the board.
        idle_w: with nothing to do.
        idle_uncertainty_w: half width of the range that the sources leave open.
        load_w: with every core busy.
        load_uncertainty_w: the same for it.
    """

    name: str
    cores: int
    idle_w: float
    idle_uncertainty_w: float
    load_w: float
    load_uncertainty_w: float


class Recorder:
    """Reads the best meter in a thread of its own; use it in ``with``.

    Args:
        root: of the file system with ``proc`` and ``sys``.
        usb_log: of a USB meter that is logging; it is read at the end.
        interval_s: between readings.
    """

    def __init__(
        self, *, root: Path = Path("/"), usb_log: Path | None = None, interval_s: float = 0.1
    ) -> None:
        self._interval_s = interval_s
        self.meter, self.why_none = find_meter(root)
        self.usb_log = usb_log
        self._series: list[tuple[float, float]] = []
        self._idle: tuple[float, float] | None = None
        self._last_w: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgecv-energy", daemon=True)

    def __enter__(self) -> Recorder:
        if self.meter is not None:
            self._read()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.meter is not None:
            self._thread.join()
            self._read()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._read()

    def _read(self) -> None:
        assert self.meter is not None
        before = time.monotonic()
        reading = self.meter.read()
        if reading is None:
            return
        now = (before + time.monotonic()) / 2
        if self.meter.quantity == "watts":
            self._last_w = reading
        elif self._series and now > self._series[-1][0]:
            self._last_w = (reading - self._series[-1][1]) / (now - self._series[-1][0])
        self._series.append((now, reading))

    def idle(self, seconds: float) -> None:
        """Let the machine idle, to learn what that draws; call it before anything is loaded."""
        start = time.monotonic()
        time.sleep(seconds)
        self._idle = start, time.monotonic()

    def watts(self) -> float | None:
        """Return the last power that was seen."""
        return self._last_w

    def mean_watts(self, start: float, end: float) -> float | None:
        """Return the mean power from start to end, seconds of `time.monotonic`."""
        spent = self._joules(start, end)
        return None if spent is None else spent / (end - start)

    def _joules(self, start: float, end: float) -> float | None:
        if self.usb_log is not None:
            return joules(log_of_usb.read(self.usb_log), start, end, "watts")
        return None if self.meter is None else joules(self._series, start, end, self.meter.quantity)

    def energy(
        self,
        windows: Sequence[tuple[float, float]],
        results: Sequence[int],
        *,
        cpu_s: float,
        board: BoardPower | None = None,
        calibration: Calibration | None = None,
        work: Work | None = None,
    ) -> Energy:
        """Tell the energy of a result from the best source.

        Args:
            windows: start and end of each measured run, seconds of `time.monotonic`.
            results: of each run.
            cpu_s: CPU time of the measured processes in all windows.
            board: for tier 4.
            calibration: for tier 3.
            work: tier 5, told in any case.
        """
        work = work or Work(missing=dict.fromkeys(_WORK, "nothing counts them here"))
        elapsed_s, n = sum(b - a for a, b in windows), sum(results)
        if not n or elapsed_s <= 0:
            return _none("no inference ran", work)
        spent = [self._joules(a, b) for a, b in windows]
        if all(value is not None for value in spent):
            return self._metered([v for v in spent if v is not None], windows, results, work)
        if calibration is not None:
            return _calibrated(calibration, cpu_s, elapsed_s, n, work)
        if board is not None:
            return _tabled(board, cpu_s, elapsed_s, n, work)
        why = self.why_none if self.meter is None else "the meter stopped answering during the run"
        if self.usb_log is not None:
            why = "the USB meter's log does not reach over the whole run"
        return _none(f"{why}; and no calibration or table of this board is known", work)

    def _metered(
        self,
        spent: Sequence[float],
        windows: Sequence[tuple[float, float]],
        results: Sequence[int],
        work: Work,
    ) -> Energy:
        elapsed_s, n = sum(b - a for a, b in windows), sum(results)
        accuracy = None if self.usb_log is not None or self.meter is None else self.meter.accuracy
        gross = sum(spent) / n
        each = [e / k for e, k in zip(spent, results, strict=True) if k]
        missing: dict[str, str] = {}
        idle_w = None if self._idle is None else self.mean_watts(*self._idle)
        marginal = None
        marginal_each: list[float] = []
        if idle_w is None:
            missing["marginal_j"] = missing["idle_w"] = "idling was not measured before the run"
        else:
            marginal = (sum(spent) - idle_w * elapsed_s) / n
            marginal_each = [
                (e - idle_w * (b - a)) / k
                for e, (a, b), k in zip(spent, windows, results, strict=True)
                if k
            ]
        found = {
            "gross_ci95": _interval(gross, each, (accuracy or 0.0) * gross),
            "marginal_ci95": None
            if marginal is None
            else _interval(marginal, marginal_each, (accuracy or 0.0) * gross),
        }
        for name, interval in found.items():
            if interval is None:
                missing.setdefault(name, "one process only: nothing to compare it with")
        if self.usb_log is not None:
            tier, source, scope = 1, f"USB meter's log {self.usb_log.name}", "board"
        else:
            assert self.meter is not None
            tier, source, scope = self.meter.tier, self.meter.source, self.meter.scope
        return Energy(
            tier=tier,  # type: ignore[arg-type]  # 1 or 2
            source=source,
            gross_j=_round(gross),
            marginal_j=_round(marginal),
            idle_w=_round(idle_w),
            load_w=_round(sum(spent) / elapsed_s),
            formula=_METERED.format(t=elapsed_s, n=n),
            scope=scope,  # type: ignore[arg-type]
            work=work,
            missing=missing,
            **found,
        )


def find_meter(root: Path = Path("/")) -> tuple[Meter | None, str]:
    """Find the meter of the best tier, or say why there is none."""
    reasons = []
    found: list[Meter] = []
    for name in plugins.names("bench.meters"):
        meter = plugins.load("bench.meters", name).find(root)
        if isinstance(meter, Meter):
            found.append(meter)
        else:
            reasons.append(meter)
    found.sort(key=lambda meter: meter.tier)
    return (found[0], "") if found else (None, "; ".join(reasons))


def _calibrated(c: Calibration, cpu_s: float, elapsed_s: float, n: int, work: Work) -> Energy:
    u = cpu_s / elapsed_s
    each_s = elapsed_s / n
    power = c.idle_w + c.watts_per_cpu * u
    # Two uncertain numbers and what the line leaves over, all as half widths of 95 %.
    half = math.hypot(c.idle_ci_w, c.watts_per_cpu_ci * u, 2 * c.left_out_w)
    marginal = c.watts_per_cpu * u
    marginal_half = math.hypot(c.watts_per_cpu_ci * u, 2 * c.left_out_w)
    return Energy(
        tier=3,
        source=f"calibration of {c.board} ({c.meter}, {c.created[:10]})",
        gross_j=_round(power * each_s),
        gross_ci95=_around(power * each_s, half * each_s),
        marginal_j=_round(marginal * each_s),
        marginal_ci95=_around(marginal * each_s, marginal_half * each_s),
        idle_w=c.idle_w,
        load_w=_round(power),
        formula=_LINE.format(a=c.idle_w, b=c.watts_per_cpu, u=u, t=elapsed_s, n=n),
        scope=c.scope,
        work=work,
    )


def _tabled(b: BoardPower, cpu_s: float, elapsed_s: float, n: int, work: Work) -> Energy:
    busy = cpu_s / elapsed_s
    u = min(1.0, busy / b.cores)
    each_s = elapsed_s / n
    power = b.idle_w + (b.load_w - b.idle_w) * u
    half = math.hypot((1 - u) * b.idle_uncertainty_w, u * b.load_uncertainty_w)
    marginal = (b.load_w - b.idle_w) * u
    marginal_half = u * math.hypot(b.idle_uncertainty_w, b.load_uncertainty_w)
    slope = (b.load_w - b.idle_w) / b.cores
    return Energy(
        tier=4,
        source=f"table of {b.name}: published measurements, not this board",
        gross_j=_round(power * each_s),
        gross_ci95=_around(power * each_s, half * each_s),
        marginal_j=_round(marginal * each_s),
        marginal_ci95=_around(marginal * each_s, marginal_half * each_s),
        idle_w=b.idle_w,
        load_w=_round(power),
        formula=_LINE.format(a=b.idle_w, b=slope, u=busy, t=elapsed_s, n=n),
        scope="board",
        work=work,
    )


def _none(why: str, work: Work) -> Energy:
    names = ("gross_j", "marginal_j", "idle_w", "load_w")
    return Energy(tier=5, source="work only", work=work, missing=dict.fromkeys(names, why))


def _interval(value: float, each: Sequence[float], systematic: float) -> tuple[float, float] | None:
    """Join the scatter over processes with what the meter itself may be off by."""
    scatter = mean_interval(each)
    if scatter is None:
        return None
    return _around(value, math.hypot((scatter[1] - scatter[0]) / 2, systematic))


def _around(value: float, half: float) -> tuple[float, float]:
    return float(f"{value - half:.6g}"), float(f"{value + half:.6g}")


def _round(value: Any) -> float | None:
    return None if value is None else float(f"{value:.6g}")
