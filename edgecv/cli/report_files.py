"""The files that a benchmark's report is written to, and the saved runs that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecv.cli import output
from edgecv.errors import UsageError

if TYPE_CHECKING:
    from edgecv.bench.report import Report

F = TypeVar("F", bound=Callable[..., Any])
_WRITTEN = ("json", "html", "markdown", "csv")


def report_options(function: F) -> F:
    """Add the options; each arrives under its own name, such as ``json``."""
    options = (
        click.option("--json", metavar="FILE|-", help="Write the report as JSON."),
        click.option("--html", metavar="FILE", help="Write it as one page, charts inside."),
        click.option("--markdown", metavar="FILE|-", help="Write it as Markdown."),
        click.option("--csv", metavar="FILE|-", help="Write one line for each result."),
        click.option("--compare", metavar="FILE", help="Compare with a saved JSON report."),
        click.option("--gate", metavar="FILE",
                     help="Exit with 1 if anything is significantly worse than in this report."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def check_reports(
    files: Mapping[str, str | None], inputs: Iterable[Path] = ()
) -> dict[str, Report]:
    """Check where reports go, and read those that are compared with, before any work is done.

    Returns:
        ``compare`` and ``gate``, as far as given.

    Raises:
        UsageError: a place that cannot be written, or a saved report that cannot be read.
        DependencyMissingError: a page is asked for, and what draws it is not installed.
    """
    from edgecv.bench import saved

    inputs = list(inputs)
    taken = [name for name in _WRITTEN if files.get(name) == "-"]
    if len(taken) > 1:
        raise UsageError("only one can go to standard output", where=f"--{taken[1]}")
    for name in _WRITTEN:
        output.check_target(files.get(name), inputs, option=f"--{name}")
    if files.get("html") is not None:
        if files["html"] == "-":
            raise UsageError("a page is written to a file", where="--html")
        from edgecv.svg import new_figure

        with new_figure(False, 1):
            pass
    return {
        name: saved.read(Path(place))
        for name in ("compare", "gate")
        if (place := files.get(name)) is not None
    }


def write_reports(
    report: Report, files: Mapping[str, str | None], saved: Mapping[str, Report]
) -> bool:
    """Write and print a report; return whether it passed the gate.

    Tables are printed unless a report goes to standard output.
    """
    from edgecv.bench import tables
    from edgecv.bench.comparison import compare, gate
    from edgecv.cli import bench_screen

    comparison = compare(saved["compare"], report) if "compare" in saved else None
    output.write_json(files.get("json"), report.to_dict())
    output.write_text(files.get("markdown"), tables.markdown(report, comparison), "--markdown")
    output.write_text(files.get("csv"), tables.as_csv(report), "--csv")
    if files.get("html") is not None:
        from edgecv.bench.html import render

        output.write_text(files["html"], render(report, comparison), "--html")
    if "-" not in (files.get(name) for name in _WRITTEN) and report.results:
        bench_screen.show(report)
        if comparison is not None:
            bench_screen.show_comparison(comparison)
    violations = gate(saved["gate"], report) if "gate" in saved else []
    for text in violations:
        click.echo(f"gate: {text}", err=True)
    return not violations
