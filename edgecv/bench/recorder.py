"""Read the best meter while something is measured, and tell the energy of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from edgecv import plugins
from edgecv.bench import energy as figures
from edgecv.bench import usb_log as log_of_usb
from edgecv.bench.calibration import Calibration
from edgecv.bench.energy import BoardPower
from edgecv.bench.power import Meter, Origin
from edgecv.bench.report import Energy, Work
from edgecv.bench.trace import Power, Spent, Trace
from edgecv.errors import UsageError

_WORK = ("macs", "bytes_moved", "instructions")
_IDLE_READINGS = 5
_LOG_INTERVAL_S = 1.0
"""Between two lines of a USB meter's log, as a rule."""
_CLOCK_S = 0.1
"""By how much the two clocks may part: both are slewed alike, only one that is set jumps."""


class Recorder:
    """Reads the best meter in a thread of its own; use it in ``with``.

    Args:
        root: of the file system with ``proc`` and ``sys``.
        usb_log: of a USB meter that is logging; it is read at the end.
        interval_s: between readings; None is what suits the meter.

    Attributes:
        meter: the best one, or None, and `why_none`.
        origin: of the readings: the log, else the meter; None where there is neither.

    Raises:
        UsageError: on entering: `usb_log` is no such log.
    """

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        usb_log: Path | None = None,
        interval_s: float | None = None,
    ) -> None:
        self._root = root
        self.meter, self.why_none = find_meter(root)
        self.usb_log = usb_log
        self.origin: Origin | None = self.meter
        if usb_log is not None:
            self.origin = Origin(tier=1, source=f"USB meter's log {usb_log.name}", scope="board")
        usual = _LOG_INTERVAL_S
        if self.meter is not None and usb_log is None:
            usual = self.meter.interval_s
        self.interval_s = interval_s or usual
        self._series: list[tuple[float, tuple[float, ...]]] = []
        self._idle: tuple[float, float] | None = None
        self._last_w: float | None = None
        self._clock = _clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgecv-energy", daemon=True)

    def __enter__(self) -> Recorder:
        if self.usb_log is not None:
            # A file that is none is told of before anything is measured in vain.
            log_of_usb.read(self.usb_log)
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
        while not self._stop.wait(self.interval_s):
            self._read()

    def _read(self) -> None:
        assert self.meter is not None
        before = time.monotonic()
        reading = self.meter.read()
        if reading is None:
            self._last_w = None
            return
        now = (before + time.monotonic()) / 2
        watts = 0.0
        if self.meter.quantity == "watts":
            watts = sum(reading)
        elif self._series and now > self._series[-1][0]:
            then, last = self._series[-1]
            watts = (sum(reading) - sum(last)) / (now - then)
        self._last_w = watts if watts > 0 else None
        self._series.append((now, tuple(reading)))

    def idle(self, seconds: float) -> None:
        """Let the machine idle, to learn what that draws; call it before anything is loaded.

        Args:
            seconds: at least; longer for a slow meter, which must be read a few times meanwhile.
        """
        start = time.monotonic()
        time.sleep(max(seconds, _IDLE_READINGS * self.interval_s))
        self._idle = start, time.monotonic()

    def watts(self) -> float | None:
        """Return the last power that was seen; None where the meter tells none, or stands still."""
        return self._last_w

    def mean_power(self, start: float, end: float) -> Power | str:
        """Return the mean power from start to end, seconds of `time.monotonic`; or why not."""
        trace = self._trace()
        return trace if isinstance(trace, str) else trace.mean(start, end)

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

        Where a better source is refused, the next one's `Energy.source` says so, with the reason.

        Args:
            windows: start and end of each measured run, seconds of `time.monotonic`.
            results: of each run.
            cpu_s: CPU time of the measured processes in all windows.
            board: for tier 4.
            calibration: for tier 3; refused if it was made on another machine.
            work: tier 5, told in any case.
        """
        work = work or Work(missing=dict.fromkeys(_WORK, "nothing counts them here"))
        seconds = [end - start for start, end in windows]
        elapsed_s, n = sum(seconds), sum(results)
        if not n or elapsed_s <= 0:
            return figures.unknown("no inference ran", work)
        refused = []
        if self.origin is not None:
            measured = self._measured(windows)
            if not isinstance(measured, str):
                return figures.metered(self.origin, *measured, seconds, results, work)
            refused.append(f"{self.origin.source}: {measured}")
        if calibration is not None:
            why = calibration.why_not(self._root, cpu_s / elapsed_s)
            if why is None:
                told = _in_place_of(refused)
                return figures.calibrated(calibration, cpu_s, elapsed_s, n, work, told)
            refused.append(f"calibration: {why}")
        if board is not None:
            return figures.tabled(board, cpu_s, elapsed_s, n, work, _in_place_of(refused))
        reasons = refused if self.origin is not None else [self.why_none, *refused]
        absent = "table" if calibration is not None else "calibration or table"
        return figures.unknown(
            f"{'; '.join(reasons)}; and no {absent} of this board is known", work
        )

    def _measured(
        self, windows: Sequence[tuple[float, float]]
    ) -> tuple[list[Spent], Power | str] | str:
        """Return the energy of each window and the power of idling, or why there is none."""
        trace = self._trace()
        if isinstance(trace, str):
            return trace
        spent = []
        for start, end in windows:
            found = trace.spent(start, end)
            if isinstance(found, str):
                return found
            spent.append(found)
        if self._idle is None:
            return spent, "idling was not measured before the run"
        stuck = trace.constant(self._idle[0], windows[-1][1])
        if stuck is not None:
            return stuck
        idle = trace.mean(*self._idle)
        return spent, f"idling: {idle}" if isinstance(idle, str) else idle

    def _trace(self) -> Trace | str:
        if self.usb_log is not None:
            moved = abs(_clock() - self._clock)
            if moved > _CLOCK_S:
                return f"this machine's clock was set by {moved:.2g} s, so that no time matches"
            try:
                rows = log_of_usb.read(self.usb_log)
            except UsageError as error:
                return error.message
            return Trace.of([(at, (watts,)) for at, watts in rows], "watts")
        if self.meter is None:
            return self.why_none
        return Trace.of(self._series, self.meter.quantity, self.meter.parts)


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


def _in_place_of(refused: Sequence[str]) -> str:
    return f"; in place of {' and '.join(refused)}" if refused else ""


def _clock() -> float:
    return time.time() - time.monotonic()
