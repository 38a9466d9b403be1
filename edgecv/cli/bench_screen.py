"""How results of ``edgecv bench`` are shown to people."""

from __future__ import annotations

from collections.abc import Sequence

from edgecv.bench.comparison import Comparison, name
from edgecv.bench.report import STAGES, Report, Result
from edgecv.bench.tables import number
from edgecv.cli import output
from edgecv.page import printable

_MARK = {"valid": "valid", "suspect": "suspect *", "invalid": "INVALID *"}


def show(report: Report) -> None:
    """Print tables: validity first, then times, stages, and every reason for doubt."""
    results = report.results
    table = output.table(
        report.model.name, "validity", "scenario", "variant", "ran in", "threads>", "cold start>",
        "p50>", "p90>", "p99>", "images/s>", "peak RSS>", *_extra_columns(results),
    )  # fmt: skip
    for r in results:
        total = r.latency_ms.get("total")
        peak = r.memory_bytes.peak_rss
        threads = str(r.threads) if r.streams == 1 else f"{r.threads} x {r.streams}"
        table.add_row(
            _MARK[r.validity.status],
            r.scenario,
            printable(r.variant),
            r.precision_actual or "-",
            threads,
            number(r.cold_start_ms.p50, 0),
            *(number(getattr(total, q, None)) for q in ("p50", "p90", "p99")),
            number(r.throughput, 1),
            "-" if peak is None else f"{peak / 2**20:.0f} MiB",
            *_extra(r, results),
        )
    screen = output.console()
    screen.print(table)
    stages = output.table("stages, p50", "what", *(f"{stage}>" for stage in STAGES))
    for r in results:
        times = (getattr(r.latency_ms.get(stage), "p50", None) for stage in STAGES)
        stages.add_row(printable(name(r)), *map(number, times))
    screen.print(stages)
    screen.print("milliseconds, decoding included; - means not measured, or too few samples to say")
    energies = {_energy(r): r for r in results}
    for text, r in energies.items():
        # What is the same for all, such as that there is no meter, is said once.
        whose = "" if len(energies) == 1 else f", {printable(name(r))}"
        screen.print(f"energy{whose}: {text}")
    for r in results:
        for reason in r.validity.reasons:
            screen.print(f"* {printable(name(r))}: {reason.status}: {reason.message}")


def _extra_columns(results: Sequence[Result]) -> list[str]:
    return ["dropped>"] if any(r.arrivals is not None for r in results) else []


def _extra(r: Result, results: Sequence[Result]) -> list[str]:
    if not _extra_columns(results):
        return []
    share = r.arrivals.dropped_share if r.arrivals else None
    return ["-" if share is None else f"{share:.1%}"]


def _energy(r: Result) -> str:
    e = r.energy
    tier = f"tier {e.tier} ({e.source})"
    if e.gross_j is None:
        return f"{tier}: no joules: {e.missing.get('gross_j', 'no reason was recorded')}"
    interval = ""
    if e.gross_ci95 is not None:
        interval = f" ({e.gross_ci95[0] * 1e3:.4g} to {e.gross_ci95[1] * 1e3:.4g})"
    marginal = "" if e.marginal_j is None else f", {e.marginal_j * 1e3:.4g} mJ beyond idling"
    return f"{e.gross_j * 1e3:.4g} mJ a result{interval}{marginal}; {tier}"


def show_comparison(comparison: Comparison) -> None:
    """Print what changed against a saved run."""
    screen = output.console()
    for text in comparison.differences:
        screen.print(f"other than in the saved run: {printable(text)}")
    for cell in comparison.only_before:
        screen.print(f"missing now: {printable(cell)}")
    table = output.table(
        "compared with the saved run; a ratio above 1 is better now",
        "what", "quantity", "before>", "now>", "ratio>", "95 %>", "verdict",
    )  # fmt: skip
    for c in comparison.changes:
        if c.before is None and c.after is None:
            continue
        interval = "-" if c.ci95 is None else f"{c.ci95[0]:.3f} to {c.ci95[1]:.3f}"
        table.add_row(
            printable(c.cell),
            f"{c.quantity}, {c.unit}",
            *("-" if v is None else f"{v:.6g}" for v in (c.before, c.after)),
            number(c.ratio, 3),
            interval,
            c.verdict + (f" ({c.note})" if c.note else ""),
        )
    screen.print(table)
