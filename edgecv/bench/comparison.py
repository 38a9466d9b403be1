"""Compare two reports, and let a continuous integration fail on a significant regression.

The interval of a ratio follows from those of its two parts on the logarithmic scale, as for
independent estimates: the half widths add up as the root of their squares. Where the interval of a
ratio holds 1, there is no difference to speak of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from edgecv.bench import energy
from edgecv.bench.report import Report, Result
from edgecv.record import Record

Verdict = Literal["better", "worse", "no difference", "cannot say"]
TOLERANCE = 0.05
_COMPARED = ("cpu", "cpu_features", "usable_cpus", "governor", "kernel", "python", "engines")


class Change(Record, kw_only=True):
    """One number of one cell, before and after.

    Attributes:
        cell: what was measured.
        quantity: such as ``total p50`` or ``throughput``.
        unit: of both values.
        before: the saved value.
        after: the new one.
        ratio: how many times as good the new one is: above 1 is better, whatever the quantity.
        ci95: its interval; None where a part has none.
        verdict: ``better`` or ``worse`` only where the interval leaves 1 out.
        note: why nothing can be said.
    """

    cell: str
    quantity: str
    unit: str
    before: float | None
    after: float | None
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    verdict: Verdict = "cannot say"
    note: str = ""


class Comparison(Record, kw_only=True):
    """Two reports side by side.

    Attributes:
        changes: of the cells that both have.
        only_before: cells that are missing now.
        only_after: cells that are new.
        differences: of the two machines and their software, in words.
    """

    changes: tuple[Change, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


def name(result: Result) -> str:
    """Name a cell for people."""
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    streams = "" if result.streams == 1 else f", {result.streams} streams"
    engine = "" if result.variant == result.backend else f" ({result.backend})"
    return f"{result.scenario}, {result.variant}{engine}, {threads}{streams}"


def compare(before: Report, after: Report) -> Comparison:
    """Compare cell by cell what scenario, variant, backend, threads and streams make the same."""
    old, new = ({r.key: r for r in report.results} for report in (before, after))
    changes = [c for key, r in new.items() if key in old for c in _changes(old[key], r)]
    return Comparison(
        changes=tuple(changes),
        only_before=tuple(name(r) for key, r in old.items() if key not in new),
        only_after=tuple(name(r) for key, r in new.items() if key not in old),
        differences=tuple(_differences(before, after)),
    )


def gate(before: Report, after: Report, tolerance: float = TOLERANCE) -> list[str]:
    """List what a continuous integration should fail for.

    Args:
        before: the baseline.
        after: the new report.
        tolerance: worsening, as a part of the old value, that is let pass even if it is beyond
            doubt.

    Returns:
        Significant regressions beyond the tolerance, in words; cells of the baseline that are
        missing; results that are invalid, for they prove nothing; and two different machines.
    """
    found = compare(before, after)
    violations = [f"missing: {cell}" for cell in found.only_before]
    for result in after.results:
        if result.validity.status == "invalid":
            reasons = "; ".join(r.message for r in result.validity.reasons if r.status == "invalid")
            violations.append(f"invalid: {name(result)}: {reasons}")
    violations += [
        f"other machine: {text}" for text in found.differences if text.startswith(("cpu", "usable"))
    ]
    for change in found.changes:
        if change.verdict == "worse" and change.ratio is not None and change.ratio < 1 - tolerance:
            violations.append(
                f"worse: {change.cell}: {change.quantity} from {change.before:g} to "
                f"{change.after:g} {change.unit} ({1 - change.ratio:.0%} worse)"
            )
    return violations


def _changes(before: Result, after: Result) -> Iterator[Change]:
    cell = name(after)
    note = next(
        (
            f"the {which} result is invalid"
            for which, result in (("saved", before), ("new", after))
            if result.validity.status == "invalid"
        ),
        "",
    )
    old, new = before.latency_ms.get("total"), after.latency_ms.get("total")
    if old is not None and new is not None:
        yield _ratio(cell, "total p50", "ms", old.p50, new.p50, old.ci95, new.ci95, note)
    for stage in ("decode", "preprocess", "infer", "postprocess"):
        a, b = before.latency_ms.get(stage), after.latency_ms.get(stage)
        if a is not None and b is not None:
            yield _ratio(cell, f"{stage} p50", "ms", a.p50, b.p50, a.ci95, b.ci95, note)
    for tail in ("p90", "p99"):
        a_tail, b_tail = getattr(old, tail, None), getattr(new, tail, None)
        if a_tail is not None and b_tail is not None:
            yield _ratio(cell, f"total {tail}", "ms", a_tail, b_tail, None, None, note)
    yield _ratio(
        cell, "throughput", "results/s", before.throughput, after.throughput,
        before.throughput_ci95, after.throughput_ci95, note, more_is_better=True,
    )  # fmt: skip
    cold = (before.cold_start_ms, after.cold_start_ms)
    yield _ratio(
        cell, "cold start p50", "ms", cold[0].p50, cold[1].p50,
        _range(cold[0].samples), _range(cold[1].samples), note,
    )  # fmt: skip
    peaks = (before.memory_bytes.peak_rss, after.memory_bytes.peak_rss)
    if None not in peaks:
        # Sizes repeat to a few pages; what allocators make of chance is below a part in a hundred.
        spread = tuple((p * 0.99, p * 1.01) for p in peaks if p is not None)
        yield _ratio(cell, "peak RSS", "bytes", *peaks, spread[0], spread[1], note)
    value, told = energy.compare(before.energy, after.energy)
    yield Change(
        cell=cell,
        quantity="energy",
        unit="J/result",
        before=before.energy.gross_j,
        after=after.energy.gross_j,
        ratio=value,
        verdict="cannot say"
        if note or (value is None and told != "the intervals overlap")
        else "no difference"
        if value is None
        else "better"
        if value > 1
        else "worse",
        note=note or (told if value is None else ""),
    )


def _ratio(
    cell: str,
    quantity: str,
    unit: str,
    before: float | None,
    after: float | None,
    before_ci: tuple[float, float] | None,
    after_ci: tuple[float, float] | None,
    note: str = "",
    *,
    more_is_better: bool = False,
) -> Change:
    change = Change(cell=cell, quantity=quantity, unit=unit, before=before, after=after, note=note)
    if not before or not after:
        return change.replace(note=note or "not measured in both")
    value = after / before if more_is_better else before / after
    if before_ci is None or after_ci is None:
        return change.replace(ratio=round(value, 4), note=note or "no interval")
    parts = [_log_half(before, before_ci), _log_half(after, after_ci)]
    if None in parts:
        return change.replace(ratio=round(value, 4), note=note or "an interval that reaches 0")
    half = math.hypot(*(p for p in parts if p is not None))
    low, high = value * math.exp(-half), value * math.exp(half)
    verdict: Verdict = "better" if low > 1 else "worse" if high < 1 else "no difference"
    return change.replace(
        ratio=round(value, 4),
        ci95=(round(low, 4), round(high, 4)),
        verdict="cannot say" if note else verdict,
    )


def _log_half(value: float, interval: tuple[float, float]) -> float | None:
    """Return the larger half of an interval on the logarithmic scale."""
    low, high = interval
    if low <= 0:
        return None
    return max(abs(math.log(value / low)), abs(math.log(high / value)))


def _range(samples: Sequence[float]) -> tuple[float, float] | None:
    """Return the range of at least six samples: the sign test's interval of their median."""
    return (min(samples), max(samples)) if len(samples) >= 6 else None


def _differences(before: Report, after: Report) -> Iterator[str]:
    for key in _COMPARED:
        old, new = before.environment.get(key), after.environment.get(key)
        if (
            list(old) != list(new)
            if isinstance(old, list | tuple) and isinstance(new, list | tuple)
            else old != new
        ):
            yield f"{key}: {old} before, {new} now"
    if before.model.sha256 != after.model.sha256:
        yield "model: other bytes"
