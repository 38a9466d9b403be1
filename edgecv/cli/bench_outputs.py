"""What the commands write and print of a benchmark's report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecv import page
from edgecv.cli import output
from edgecv.errors import UsageError
from edgecv.page import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgecv.bench.report import Report, Result


def check_outputs(
    html: Path | None,
    markdown: str | None,
    csv: str | None,
    inputs: Iterable[Path] = (),
    *,
    overwrite: bool = False,
) -> None:
    """Refuse targets that cannot be written, before work is done for them.

    Args:
        html: where the page goes.
        markdown: where the Markdown goes; ``-`` is standard output.
        csv: where the CSV goes; ``-`` is standard output.
        inputs: what the command reads; it is never written over.
        overwrite: replace a page that is there.

    Raises:
        UsageError: a target that cannot be written, or two for standard output.
    """
    inputs = list(inputs)
    if markdown == csv == "-":
        raise UsageError("only one of --markdown and --csv can go to standard output")
    if html is not None:
        page.check_target(html, overwrite=overwrite)
        for item in inputs:
            page.check_target(html, overwrite=True, source=item)
    for option, target in (("--markdown", markdown), ("--csv", csv)):
        output.check_target(target, inputs, option)


def write_outputs(
    report: Report,
    before: Report | None,
    html: Path | None,
    markdown: str | None,
    csv: str | None,
    inputs: Iterable[Path] = (),
    *,
    overwrite: bool = False,
) -> None:
    """Write what was asked for; see `check_outputs`.

    Args:
        report: what was measured.
        before: an earlier run to compare with.
        html: where the page goes.
        markdown: where the Markdown goes.
        csv: where the CSV goes.
        inputs: what the command reads.
        overwrite: replace a page that is there.

    Raises:
        UsageError: a target that cannot be written.
        DependencyMissingError: the page needs the extra ``report``.
    """
    from edgecv.bench import tables
    from edgecv.bench.comparison import compare

    inputs = list(inputs)
    comparison = None if before is None else compare(before, report)
    if html is not None:
        from edgecv.bench.html import render

        page.write(html, render(report, comparison), overwrite=overwrite)
    with output.json_stream(markdown, inputs, "--markdown") as file:
        if file is not None:
            file.write(tables.to_markdown(report, comparison))
    with output.json_stream(csv, inputs, "--csv") as file:
        if file is not None:
            file.write(tables.to_csv(report))


def print_report(report: Report, before: Report | None, screen: Console) -> None:
    """Print validity first, a table of the results, and what changed since another run.

    Args:
        report: what was measured.
        before: an earlier run to compare with.
        screen: where to.
    """
    from edgecv.bench import words
    from edgecv.bench.comparison import compare, name

    counts = ", ".join(
        f"{count} {status}" for status, count in words.counts(report).items() if count
    )
    screen.print(f"{printable(report.model.name)}: {counts or 'nothing was measured'}")
    for failure in report.failures:
        screen.print(f"failed: {printable(failure.cell)}: {printable(failure.error)}")
    for result in words.doubtful(report):
        said = printable(f"{words.short(result)}: {words.reasons(result)}")
        screen.print(f"{result.validity.status}: {said}")
    if report.results:
        table, left_out = results_table(report.results, screen.width)
        screen.print(table)
        if left_out:
            screen.print(f"no room for {', '.join(left_out)}: --markdown and --html tell them")
        _print_stages(report, screen)
    if before is None:
        return
    comparison = compare(before, report)
    if not comparison.same_machine:
        screen.print("compared with a run on another machine")
    for pair in comparison.pairs:
        said = "; ".join(
            f"{change.figure} {change.verdict}"
            + (f" ({change.ratio:.3f})" if change.ratio is not None else "")
            for change in pair.changes
            if change.verdict not in ("no difference", "cannot say")
        )
        screen.print(printable(f"{name(pair.key)}: {said or 'no difference that can be told'}"))
    for title, keys in (("before", comparison.only_before), ("after", comparison.only_after)):
        for key in keys:
            screen.print(f"only {title}: {printable(name(key))}")


_GAP = 3
"""Characters between two columns."""
_NARROW = (
    "marginal J",
    "gross J",
    "95 % interval",
    "p99 ms",
    "cold start ms",
    "p90 ms",
    "peak MiB",
)
"""Columns that a narrow screen does without, the first one first."""


def results_table(results: Sequence[Result], width: int) -> tuple[Table, list[str]]:
    """Lay out one row for each result.

    Args:
        results: one at least.
        width: of the screen, characters; columns that do not fit are left out.

    Returns:
        The table, and the titles of what is left out.
    """
    from edgecv.bench import words

    names = [printable(words.short(result)) for result in results]
    cells = {c.title: [c.cell(result) for result in results] for c in words.columns(results)}
    empty = [title for title, told in cells.items() if set(told) == {words.NOTHING}]
    left_out: list[str] = []
    for title in dict.fromkeys([*empty, *_NARROW]):
        widths = [max(map(len, names)), len("validity")]
        widths += [max(map(len, (t, *told))) for t, told in cells.items() if t not in left_out]
        if sum(widths) + _GAP * len(widths) <= width:
            break
        if title in cells:
            left_out.append(title)
    shown = {printable(title): told for title, told in cells.items() if title not in left_out}
    table = output.table("", "cell", "validity", *(f"{title}>" for title in shown))
    for name, result, *row in zip(names, results, *shown.values(), strict=True):
        table.add_row(name, result.validity.status, *row)
    return table, left_out


def _print_stages(report: Report, screen: Console) -> None:
    """Print the median of each stage, where the energies come from, and the work."""
    from edgecv.bench import words
    from edgecv.bench.report import STAGES

    split = [result for result in report.results if "infer" in result.latency_ms]
    if split:
        table = output.table("stages, p50 in ms", "cell", *(f"{stage}>" for stage in STAGES))
        for result in split:
            times = (result.latency_ms[stage].p50 for stage in STAGES)
            cells = ("-" if time is None else f"{time:.2f}" for time in times)
            table.add_row(printable(words.short(result)), *cells)
        screen.print(table)
    screen.print("latency counts decoding; - is not measured, or too few samples to say")
    told: dict[str, None] = {}
    for result in report.results:
        energy = result.energy
        why = (
            "" if energy.gross_j is not None else f": {energy.missing.get('gross_j', 'no joules')}"
        )
        told[f"energy: tier {energy.tier}, {energy.source}{why}"] = None
    for line in told:
        screen.print(printable(line))
    for what, work in words.works(report).items():
        screen.print(printable(f"work, tier 5, for ranking only: {what}: {work}"))


def print_gate(before: Report, after: Report, tolerance: float, screen: Console) -> int:
    """Print what keeps a report from passing its baseline; return the exit status."""
    from edgecv.bench.gate import gate

    found = gate(before, after, tolerance)
    for violation in found:
        screen.print(f"gate: {printable(str(violation))}")
    screen.print("gate: failed" if found else "gate: passed")
    return 1 if found else 0
