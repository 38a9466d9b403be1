"""A report as a table of Markdown, for people, and as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from edgecv.bench import words
from edgecv.bench.comparison import Comparison, name
from edgecv.bench.report import STAGES, Report, Result, Work
from edgecv.page import escape_markdown, printable


def to_markdown(report: Report, comparison: Comparison | None = None) -> str:
    """Write a report as GitHub's Markdown: validity first, one row a cell, reasons as footnotes.

    Args:
        report: what was measured.
        comparison: with a saved run; a table of its own.
    """
    found = words.counts(report)
    said = ", ".join(f"{count} {status}" for status, count in found.items() if count)
    lines = [
        f"# {escape_markdown(report.model.name)}",
        "",
        f"{said or 'nothing was measured'}; {escape_markdown(report.created)}",
        "",
    ]
    notes: list[str] = []
    lines += _results(report, notes)
    lines += [f"{i}. {escape_markdown(note)}" for i, note in enumerate(notes, 1)]
    lines += [""] * bool(notes)
    if report.results:
        lines += [f"{words.WORK}:", ""]
        lines += [
            f"- {escape_markdown(f'{what}: {said}')}" for what, said in words.works(report).items()
        ]
        lines.append("")
    if report.failures:
        lines += _table(
            ["failed", "error"], "--", [[fault.cell, fault.error] for fault in report.failures]
        )
    if comparison is not None:
        lines += _comparison(comparison)
    return "\n".join(lines).rstrip() + "\n"


def to_csv(report: Report) -> str:
    """Write a report as CSV (RFC 4180): one row a cell, units in the header, nulls empty.

    The column ``missing`` says why cells are empty. A text that a spreadsheet would take for a
    formula gets an apostrophe in front.
    """
    rows: list[dict[str, Any]] = [_row(result) for result in report.results]
    rows += [
        {"status": "failed", "reasons": fault.error, "variant": fault.cell}
        for fault in report.failures
    ]
    head = list(dict.fromkeys([*_HEAD, *(title for row in rows for title in row)]))
    # Last: it is long.
    head = [*(title for title in head if title != "missing"), "missing"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, head, restval="")
    writer.writerow({title: _safe(title) for title in head})
    writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


_HEAD = (
    "status", "reasons", "scenario", "variant", "backend", "engine", "precision_asked",
    "precision_actual", "threads", "streams", "processes", "images", "duration_s",
)  # fmt: skip


def _results(report: Report, notes: list[str]) -> list[str]:
    if not report.results:
        return ["No cell was measured.", ""]
    columns = words.columns(report.results)
    head = ["validity", "scenario", "variant", "backend", "precision", "threads", "streams",
            *(column.title for column in columns)]  # fmt: skip
    rows = []
    for result in report.results:
        status: str = result.validity.status
        if result.validity.reasons:
            status += f" [{_note(notes, words.reasons(result))}]"
        row = [status, result.scenario, result.variant, result.backend, words.precision(result),
               str(result.threads), str(result.streams)]  # fmt: skip
        for column in columns:
            cell = column.cell(result)
            if cell == words.NOTHING:
                cell += f" [{_note(notes, column.why(result))}]"
            row.append(cell)
        rows.append(row)
    return _table(head, "-----" + ">" * (len(head) - 5), rows)


def _note(notes: list[str], text: str) -> int:
    """Return the number of a footnote, from 1; the same text is said once."""
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def _comparison(comparison: Comparison) -> list[str]:
    lines = [
        "## Compared",
        "",
        f"Before: {escape_markdown(comparison.before)}. "
        f"After: {escape_markdown(comparison.after)}. "
        "Ratios are after / before, with 95 % intervals.",
        "",
    ]
    if not comparison.same_machine:
        lines += ["**Measured on different machines.**", ""]
    rows = [
        [name(pair.key), change.figure, f"{words.number(change.before)} {change.unit}",
         words.number(change.after), _ratio(change.ratio), _ratios(change.ci95),
         change.verdict + (f": {change.reason}" if change.reason else "")]
        for pair in comparison.pairs
        for change in pair.changes
    ]  # fmt: skip
    head = ["cell", "figure", "before", "after", "ratio", "95 % interval", "verdict"]
    lines += _table(head, "-->>>>-", rows) if rows else ["No cell is in both reports.", ""]
    for title, keys in (("before", comparison.only_before), ("after", comparison.only_after)):
        lines += [f"- only {title}: {escape_markdown(name(key))}" for key in keys]
    lines += [
        f"- {escape_markdown(d.name)}: {_said(d.before)} before, {_said(d.after)} after"
        for d in (
            *comparison.differences,
            *(
                d.replace(name=f"{name(pair.key)}: {d.name}")
                for pair in comparison.pairs
                for d in pair.differences
            ),
        )
    ]
    return lines


def _said(text: str | None) -> str:
    return "null" if text is None else escape_markdown(text)


def _ratio(ratio: float | None) -> str:
    return words.NOTHING if ratio is None else f"{ratio:.3f}"


def _ratios(ends: tuple[float, float] | None) -> str:
    return words.NOTHING if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _table(head: list[str], marks: str, rows: Iterable[list[str]]) -> list[str]:
    """Write a table; `marks` has ``>`` where a column is aligned to the right."""
    rules = ["---:" if mark == ">" else "---" for mark in marks]
    lines = [[*map(escape_markdown, head)], rules]
    lines += [[*map(escape_markdown, row)] for row in rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {title: getattr(result, title) for title in _HEAD[2:]}
    row |= {"status": result.validity.status, "reasons": words.reasons(result)}
    for stage in STAGES:
        latency = result.latency_ms.get(stage)
        for field in ("n", "p50", "p90", "p99", "p999"):
            unit = "" if field == "n" else "_ms"
            row[f"{stage}_{field}{unit}"] = None if latency is None else getattr(latency, field)
        low, high = (latency and latency.ci95) or (None, None)
        row |= {f"{stage}_p50_low_ms": low, f"{stage}_p50_high_ms": high}
    low, high = result.throughput_ci95 or (None, None)
    row |= {
        "throughput_per_s": result.throughput,
        "throughput_low_per_s": low,
        "throughput_high_per_s": high,
        "cpu_per_image_ms": result.cpu_per_image_ms,
        "cold_start_p50_ms": result.cold_start_ms.p50,
        "dropped_share": result.arrivals and result.arrivals.dropped_share,
        "peak_rss_bytes": result.memory_bytes.peak_rss,
        "leak_bytes_per_minute": result.memory_bytes.leak_per_minute,
        "energy_tier": result.energy.tier,
    }
    for kind in ("gross", "marginal"):
        low, high = getattr(result.energy, f"{kind}_ci95") or (None, None)
        value = getattr(result.energy, f"{kind}_j")
        row |= {f"{kind}_j": value, f"{kind}_low_j": low, f"{kind}_high_j": high}
    row |= {name: getattr(result.energy.work, name) for name in Work.record_fields[:-1]}
    row |= {f"accuracy_{metric}": value for metric, value in result.accuracy.items()}
    row["missing"] = "; ".join(f"{key}: {why}" for key, why in words.missing(result).items())
    return row


def _safe(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else value
    text = printable(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
