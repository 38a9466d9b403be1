"""A report as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from edgecv.bench.comparison import Comparison, name
from edgecv.bench.report import STAGES, Report, Result

_TIMES = ("p50", "p90", "p99", "p999")


def markdown(report: Report, comparison: Comparison | None = None) -> str:
    """Write the results as Markdown tables, validity first."""
    env = report.environment
    lines = [
        f"# {_cell(report.model.name)}",
        "",
        f"{_cell(env.get('board') or env.get('cpu') or 'unknown machine')}, "
        f"{env.get('usable_cpus')} CPUs, edgecv {env.get('edgecv')}, {report.created}",
        "",
        "| validity | cell | ran in | p50 ms | 95 % of p50 | p90 ms | p99 ms | results/s "
        "| cold start ms | peak RSS MiB | energy J | tier |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result in report.results:
        total = result.latency_ms.get("total")
        interval = total.ci95 if total else None
        peak = result.memory_bytes.peak_rss
        row = [
            result.validity.status,
            name(result),
            result.precision_actual or "-",
            *(number(getattr(total, q, None)) for q in ("p50",)),
            "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
            *(number(getattr(total, q, None)) for q in ("p90", "p99")),
            number(result.throughput, 1),
            number(result.cold_start_ms.p50, 0),
            "-" if peak is None else f"{peak / 2**20:.0f}",
            "-" if result.energy.gross_j is None else f"{result.energy.gross_j:.4g}",
            str(result.energy.tier),
        ]
        lines.append("| " + " | ".join(map(_cell, row)) + " |")
    lines += ["", "Stages, p50 in ms:", "", "| cell | " + " | ".join(STAGES) + " |"]
    lines.append("|---|" + "--:|" * len(STAGES))
    for result in report.results:
        times = [number(getattr(result.latency_ms.get(stage), "p50", None)) for stage in STAGES]
        lines.append("| " + " | ".join(map(_cell, [name(result), *times])) + " |")
    reasons = [(name(r), reason) for r in report.results for reason in r.validity.reasons]
    if reasons:
        lines += ["", "Why a result is not valid:", ""]
        lines += [f"- {_cell(cell)}: {r.status}, {_cell(r.message)}" for cell, r in reasons]
    if report.failures:
        lines += ["", "Not measured:", ""]
        lines += [f"- {_cell(f.cell)}: {_cell(f.error)}" for f in report.failures]
    if comparison is not None:
        lines += ["", *_comparison(comparison)]
    lines += ["", "`-`: not measured, or too few samples to say; the JSON has the reason."]
    return "\n".join(lines) + "\n"


def _comparison(comparison: Comparison) -> list[str]:
    lines = ["Compared with the saved run (a ratio above 1 is better now):", ""]
    lines += [f"- other {_cell(text)}" for text in comparison.differences]
    lines += [f"- missing now: {_cell(cell)}" for cell in comparison.only_before]
    lines += ["", "| cell | quantity | before | after | ratio | 95 % | verdict |",
              "|---|---|--:|--:|--:|--:|---|"]  # fmt: skip
    for c in comparison.changes:
        interval = "-" if c.ci95 is None else f"{c.ci95[0]:.3f} to {c.ci95[1]:.3f}"
        verdict = c.verdict + (f" ({c.note})" if c.note else "")
        row = [c.cell, f"{c.quantity}, {c.unit}", *(_plain(v) for v in (c.before, c.after)),
               number(c.ratio, 3), interval, verdict]  # fmt: skip
        lines.append("| " + " | ".join(map(_cell, row)) + " |")
    return lines


def as_csv(report: Report) -> str:
    """Write one line for each result; empty is not measured, and ``missing`` says why."""
    stages = [f"{stage}_{q}_ms" for stage in STAGES for q in _TIMES]
    columns = [
        "model", "scenario", "variant", "backend", "engine", "precision_asked", "precision_actual",
        "threads", "streams", "processes", "images", "samples", *stages, "total_p50_ci95_low_ms",
        "total_p50_ci95_high_ms", "throughput_per_s", "cold_start_p50_ms", "peak_rss_bytes",
        "model_file_bytes", "energy_tier", "energy_gross_j", "energy_marginal_j", "dropped_share",
        "validity", "reasons", "missing",
    ]  # fmt: skip
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for result in report.results:
        writer.writerow(_row(report, result))
    return file.getvalue()


def _row(report: Report, r: Result) -> Sequence[object]:
    total = r.latency_ms.get("total")
    times = [getattr(r.latency_ms.get(stage), q, None) for stage in STAGES for q in _TIMES]
    low, high = (total.ci95 if total and total.ci95 else None) or (None, None)
    missing = {**r.missing, **r.memory_bytes.missing, **r.energy.missing}
    return [
        report.model.name, r.scenario, r.variant, r.backend, r.engine, r.precision_asked,
        r.precision_actual, r.threads, r.streams, r.processes, r.images, total.n if total else 0,
        *times, low, high, r.throughput, r.cold_start_ms.p50, r.memory_bytes.peak_rss,
        r.memory_bytes.model_file, r.energy.tier, r.energy.gross_j, r.energy.marginal_j,
        r.arrivals.dropped_share if r.arrivals else None, r.validity.status,
        "; ".join(f"{x.code}: {x.message}" for x in r.validity.reasons),
        "; ".join(f"{k}: {v}" for k, v in missing.items()),
    ]  # fmt: skip


def number(value: float | None, digits: int = 2) -> str:
    """Write a number for people; ``-`` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _cell(text: object) -> str:
    """Escape what Markdown tables would take for markup."""
    plain = str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(plain.split())
