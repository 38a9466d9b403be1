"""A board's power as a line over its busy CPUs, fitted from a meter: energies of tier 3."""

# Annotations are not postponed here: `edgecv.schema` reads `Calibration`.

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from edgecv import host, schema
from edgecv.bench.environment import board as board_here
from edgecv.bench.power import line
from edgecv.bench.sensors import busy_s
from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.schema import Rule

if TYPE_CHECKING:
    from edgecv.bench.recorder import Recorder

_LOAD = "import numpy as n; a = n.ones((192, 192), n.float32)\nwhile True: a @ a"
SCHEMA: Literal["edgecv.calibration/1"] = "edgecv.calibration/1"
UNKNOWN = "unknown"
_BEYOND_CPUS = 0.5
"""By how much a load may exceed the highest step: no step keeps its CPUs busy to the last tick."""
Watts = Annotated[float, Rule(ge=0)]


class Calibration(Record, kw_only=True):
    """A board's power as a line over its busy CPUs, fitted from a meter.

    Attributes:
        schema: ``edgecv.calibration/1``.
        board: as `edgecv.bench.environment.board` names it, or the CPU; `UNKNOWN` if neither.
        cpu: as `edgecv.host.cpu_model` names it; None in files that do not say.
        cores: that were usable.
        created: UTC, ISO 8601.
        meter: the source of the readings.
        scope: what the meter measures.
        idle_w: the line's value at no busy CPU.
        watts_per_cpu: its slope.
        idle_ci_w: half width of the 95 % interval of `idle_w`.
        watts_per_cpu_ci: the same for the slope.
        residual_w: standard deviation of the readings about the line.
        left_out_w: root mean square error at steps that the line was fitted without.
        steps: (busy CPUs, watts) that it was fitted to.
    """

    schema: Literal["edgecv.calibration/1"]
    board: str
    cpu: str | None = None
    cores: Annotated[int, Rule(ge=1)]
    created: str
    meter: str
    scope: Literal["board", "package"]
    idle_w: Watts
    watts_per_cpu: Watts
    idle_ci_w: Watts
    watts_per_cpu_ci: Watts
    residual_w: Watts
    left_out_w: Watts
    steps: tuple[tuple[float, float], ...]

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read a file that ``edgecv calibrate-energy`` wrote.

        Raises:
            UsageError: it cannot be read, or is not one.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
        raw = schema.parse_object(data, str(path), UsageError)
        return schema.validate(cls, raw, str(path), UsageError)

    @classmethod
    def read_here(cls, path: Path, root: Path = Path("/")) -> "Calibration":
        """Read a file that was made on this machine.

        Raises:
            UsageError: it cannot be read, is none, or was made on another machine.
        """
        found = cls.read(path)
        why = found.why_not(root)
        if why is not None:
            raise UsageError(
                why,
                where=str(path),
                remedy="make one here with `edgecv calibrate-energy`, or measure without",
            )
        return found

    def why_not(self, root: Path = Path("/"), busy: float = 0.0) -> str | None:
        """Say why it tells nothing of this machine at this load; None where it does.

        Two boards of one kind cannot be told apart.

        Args:
            root: of the file system with ``proc`` and ``sys``.
            busy: CPUs; the line is not drawn on beyond the highest step.
        """
        if self.board == UNKNOWN:
            return "it does not say on which board it was made"
        cpu = host.cpu_model(root)
        made_on = {"board": self.board, "CPU": self.cpu}
        here = {"board": board_here(root) or cpu, "CPU": cpu}
        for what, name in made_on.items():
            if name is not None and name != here[what]:
                return f"made on another {what}: {name}; this one is {here[what] or UNKNOWN}"
        highest = max((cpus for cpus, _ in self.steps), default=0.0)
        if busy > highest + _BEYOND_CPUS:
            return f"fitted up to {highest:.1f} busy CPUs; {busy:.1f} were"
        return None


def measure(
    recorder: "Recorder",
    *,
    seconds: float = 10.0,
    settle_s: float = 2.0,
    cpus: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[tuple[float, float]]:
    """Load the CPUs step by step, up and down again, and read the meter meanwhile.

    Each step multiplies matrices in so many processes, as networks do: a loop without arithmetic
    would draw less. What counts as load is the CPU time of everything on the machine.

    Args:
        recorder: entered; with a meter, or a USB meter's log that reaches over all steps by the
            time they end.
        seconds: of each step.
        settle_s: let pass before each.
        cpus: of the highest step; None is all that this process may use.
        progress: called with a word on what is going on.

    Returns:
        (busy CPUs, watts) of each step.

    Raises:
        UsageError: there is no meter, or it does not cover a step.
    """
    if recorder.origin is None:
        raise UsageError(
            "there is no meter to calibrate from",
            where="calibration",
            got=recorder.why_none,
            remedy="connect one, or give the log of a USB meter with --usb-log",
        )
    highest = host.usable_cpus() if cpus is None else cpus
    windows = []
    for count in [*range(highest + 1), *range(highest, -1, -1)]:
        progress(f"{count} of {highest} CPUs busy")
        with _busy(count):
            time.sleep(settle_s)
            start, before = time.monotonic(), busy_s()
            time.sleep(seconds)
            end, after = time.monotonic(), busy_s()
        if before is None or after is None:
            raise UsageError("/proc/stat cannot be read", where="calibration")
        windows.append((start, end, (after - before) / (end - start)))
    # The meter is to see the end of the last step.
    time.sleep(1.5 * recorder.interval_s)
    steps = []
    for start, end, busy in windows:
        power = recorder.mean_power(start, end)
        if isinstance(power, str):
            raise UsageError(
                "the meter's readings do not cover all steps",
                where="calibration",
                got=power,
                remedy="start the log before the command, check the clock of the meter, and let "
                "steps last for several readings",
            )
        steps.append((round(busy, 4), round(power.watts, 4)))
    return steps


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Keep so many CPUs busy, each with a process of its own."""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-P", "-c", _LOAD], env=env) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fit(steps: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Fit a line to (busy CPUs, watts).

    Returns:
        The fields of `Calibration` that follow from it. ``left_out_w`` is the error at each step
        when the line is fitted to the others.

    Raises:
        UsageError: fewer than four readings, all at one load, or power that does not grow with it.
    """
    x, y = [s[0] for s in steps], [s[1] for s in steps]
    if len(steps) < 4 or max(x, default=0) - min(x, default=0) < 0.5:
        raise UsageError(
            "too few readings for a line",
            where="calibration",
            expected="at least four, from idle to busy",
            got=f"{len(steps)} over {max(x, default=0) - min(x, default=0):.2f} CPUs",
            remedy="log for as long as the steps run",
        )
    found = line(x, y)
    if found["b"] <= 0 or found["a"] < 0:
        raise UsageError(
            "the power does not grow with the load",
            where="calibration",
            got=f"{found['a']:.2f} W + {found['b']:.3f} W for each busy CPU",
            remedy="check that the meter feeds this board, and that its clock is right",
        )
    errors = []
    for i in range(len(steps)):
        rest = line(x[:i] + x[i + 1 :], y[:i] + y[i + 1 :])
        errors.append(y[i] - rest["a"] - rest["b"] * x[i])
    return {
        "idle_w": round(found["a"], 4),
        "watts_per_cpu": round(found["b"], 4),
        "idle_ci_w": round(found["a_ci"], 4),
        "watts_per_cpu_ci": round(found["b_ci"], 4),
        "residual_w": round(found["residual"], 4),
        "left_out_w": round(math.sqrt(float(np.mean(np.square(errors)))), 4),
    }
