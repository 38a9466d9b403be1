"""What is measured, and how long: the cells of a benchmark's matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecv.hints import Hints
from edgecv.plan import Plan
from edgecv.record import Record, field


class Cell(Record, kw_only=True):
    """One configuration.

    Attributes:
        model: a bundle or a bare model file.
        load: keyword arguments of `edgecv.load`.
        hints: about a bare file; None for a bundle.
        scenario: how images arrive.
        streams: images that are worked on at the same time.
        asked_precision: what the variant is meant to run in; None if nothing was asked.
        accuracy: metric -> value of the variant, from the bundle's card.
        plan: of many images at once; None lets the scenario find one.
        affinity: CPUs that the processes are pinned to; () is all.
    """

    model: Path
    load: dict[str, Any] = field(default_factory=dict)
    hints: Hints | None = None
    scenario: str = "single"
    streams: int = 1
    asked_precision: str | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    plan: Plan | None = None
    affinity: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """A word for messages."""
        what = self.load.get("variant") or self.load.get("backend") or self.model.name
        threads = self.load.get("threads")
        said = [self.scenario, str(what)]
        if threads:
            said.append(f"{threads} threads" if threads > 1 else "1 thread")
        if self.streams > 1:
            said.append(f"{self.streams} streams")
        return ", ".join(said)


class Settings(Record, kw_only=True):
    """How a cell is measured.

    Attributes:
        duration_s: of all measured runs of the cell together.
        warmup_s: before each.
        processes: fresh ones, one after the other, that share the duration.
        cold_starts: processes whose time to the first result is taken, the ones above among them.
        rate_hz: of arrivals, where the scenario keeps a schedule; None for its own.
        seed: of random arrivals; each process has another one that follows from it.
        idle_s: watched before the first process, for what idling draws; only with a meter.
        memory: measure memory by phase, in a pass of its own.
    """

    duration_s: float = 10.0
    warmup_s: float = 1.0
    processes: int = 3
    cold_starts: int = 3
    rate_hz: float | None = None
    seed: int = 0
    idle_s: float = 2.0
    memory: bool = True


DURATIONS = {"smoke": 10.0, "standard": 60.0, "mlperf": 600.0}
"""Name -> seconds of a cell. The last is MLPerf's shortest run of the server scenario."""
