"""A baseline that a later run must not fall behind."""

# Annotations are not postponed here: `edgecv.schema` reads them.

from edgecv.bench.comparison import MACHINE, Comparison, Pair, compare, name
from edgecv.bench.report import Report
from edgecv.record import Record

TOLERANCE = 0.05
"""A significant regression up to this part is let through."""
GATED = (
    "total p50", "total p90", "total p99", "throughput", "cold start", "gross energy",
    "marginal energy",
)  # fmt: skip
"""Figures that can fail a gate."""


class Violation(Record, kw_only=True):
    """Why a gate does not open.

    Attributes:
        cell: which cell; null where it is about the whole report.
        message: what is wrong, with numbers.
    """

    cell: str | None = None
    message: str

    def __str__(self) -> str:
        return f"{self.cell}: {self.message}" if self.cell else self.message


def gate(before: Report, after: Report, tolerance: float = TOLERANCE) -> list[Violation]:
    """List what keeps a report from passing a baseline; an empty list passes.

    A figure fails if it got worse beyond doubt (see `comparison`) and by more than the tolerance:
    the percentiles of ``total``, throughput, cold start and energy. The stages are parts of
    ``total`` and fail nothing by themselves. A cell fails that is missing, invalid in either
    report, or of which nothing can be said; everything fails on another machine.

    Args:
        before: the baseline.
        after: what is to pass.
        tolerance: 0.05 lets a figure get 5 % worse.
    """
    comparison = compare(before, after)
    if not before.results:
        return [Violation(message="the baseline holds no result")]
    if not comparison.same_machine:
        return [Violation(message=_machines(comparison))]
    failed = {failure.cell: failure.error for failure in after.failures}
    found = [
        Violation(
            cell=name(key),
            message="missing: the baseline has it"
            + (f"; failures: {'; '.join(failed.values())}" if failed else ""),
        )
        for key in comparison.only_before
    ]
    for pair in comparison.pairs:
        found += _violations(pair, tolerance)
    return found


def _violations(pair: Pair, tolerance: float) -> list[Violation]:
    cell = name(pair.key)
    invalid = [
        f"{which} is invalid" for which, status in
        (("the baseline", pair.before), ("the result", pair.after)) if status == "invalid"
    ]  # fmt: skip
    if invalid:
        reasons = {change.reason for change in pair.changes if change.reason}
        return [
            Violation(cell=cell, message=": ".join([" and ".join(invalid), *sorted(reasons)[:1]]))
        ]
    gated = [change for change in pair.changes if change.figure in GATED]
    if all(change.verdict == "cannot say" for change in gated):
        reasons = {change.reason for change in gated if change.reason}
        why = "; ".join(sorted(reasons)) or "no figure is in both reports"
        return [Violation(cell=cell, message=f"nothing can be said: {why}")]
    return [
        Violation(
            cell=cell,
            message=f"{change.figure} got {change.worse_by:.1%} worse, {tolerance:.0%} allowed: "
            f"{change.before:.4g} {change.unit} before, {change.after:.4g} after, ratio "
            f"{change.ratio:.3f} ({change.ci95[0]:.3f} to {change.ci95[1]:.3f})",
        )
        for change in gated
        if change.worse
        and change.ci95 is not None
        and change.worse_by is not None
        and change.worse_by > tolerance
    ]


def _machines(comparison: Comparison) -> str:
    said = "; ".join(
        f"{difference.name.partition('.')[2]} {difference.before} before, {difference.after} after"
        for difference in comparison.differences
        if difference.name.partition(".")[2] in MACHINE
    )
    return f"measured on another machine than the baseline, which says nothing then: {said}"
