"""Which results no other beats: accuracy, latency and energy at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from edgecv.bench import words
from edgecv.bench.report import Report, Result, Scenario


@dataclass(frozen=True, slots=True)
class Point:
    """A result with its place.

    Attributes:
        result: it.
        accuracy: of its variant.
        ms: median latency.
        joules: gross energy; None where the energies of all cannot be compared.
        best: nothing beats it in all of these at once.
    """

    result: Result
    accuracy: float
    ms: float
    joules: float | None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Front:
    """The results that can be placed.

    Attributes:
        metric: of the accuracies.
        scenario: whose latencies they are.
        points: fastest first; empty if nothing can be placed.
        notes: what is left out and why.
    """

    metric: str
    scenario: str
    points: tuple[Point, ...]
    notes: tuple[str, ...]


def find(report: Report) -> Front:
    """Place the results of one scenario, and tell which ones no other beats.

    Invalid results are left out. Energy counts where every placed result has joules of one tier
    and scope: others are no match for each other.
    """
    usable = [r for r in report.results if r.validity.status != "invalid"]
    metrics = [metric for result in usable for metric in result.accuracy]
    if not metrics:
        return Front("", "", (), ("no result that is not invalid has an accuracy: a bundle's card "
                                  "holds them, a bare file has none",))  # fmt: skip
    metric = max(dict.fromkeys(metrics), key=metrics.count)
    placed = [r for r in usable if metric in r.accuracy and words.total(r).p50 is not None]
    present = [name for name in get_args(Scenario) if any(r.scenario == name for r in placed)]
    if not present:
        return Front(metric, "", (), ("no result has both an accuracy and a latency",))
    scenario = present[0]
    placed = [r for r in placed if r.scenario == scenario]
    notes = []
    left = len(report.results) - len(placed)
    if left:
        notes.append(
            f"{left} of {len(report.results)} results are not drawn: invalid, of another scenario "
            f"than {scenario}, or without {metric} or latency"
        )
    kinds = {(r.energy.tier, r.energy.scope, r.energy.gross_j is None) for r in placed}
    energy = len(kinds) == 1 and not next(iter(kinds))[2]
    if not energy:
        notes.append("energy takes no part: not every result has joules of one tier and scope")
    points = [
        Point(
            r, r.accuracy[metric], words.total(r).p50 or 0.0, r.energy.gross_j if energy else None
        )
        for r in placed
    ]
    marked = [
        Point(p.result, p.accuracy, p.ms, p.joules, not any(_beats(q, p) for q in points))
        for p in points
    ]
    return Front(metric, scenario, tuple(sorted(marked, key=lambda p: p.ms)), tuple(notes))


def _beats(one: Point, other: Point) -> bool:
    a, b = _costs(one), _costs(other)
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _costs(point: Point) -> Sequence[float]:
    return (-point.accuracy, point.ms, point.joules or 0.0)
