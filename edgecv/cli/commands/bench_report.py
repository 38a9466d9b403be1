"""``edgecv bench-report``: tables, a page and a gate of a benchmark that was saved."""

from __future__ import annotations

from pathlib import Path

import click

from edgecv.cli import output
from edgecv.cli.bench_outputs import check_outputs, print_gate, write_outputs


@click.command("bench-report")
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a self-contained page."
)
@click.option("--markdown", metavar="FILE|-", help="Write a table of Markdown.")
@click.option("--csv", metavar="FILE|-", help="Write the numbers for a spreadsheet.")
@click.option(
    "--compare",
    "before",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare with an earlier result; ratios are RESULT / FILE.",
)
@click.option(
    "--gate",
    "baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Fail if RESULT is significantly worse than this result.",
)
@click.option(
    "--tolerance",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 10),
    help="How much worse the gate lets a figure get, as a part of it.",
)
@click.option("--force", is_flag=True, help="Replace the page if it exists.")
def command(
    result: Path,
    html: Path | None,
    markdown: str | None,
    csv: str | None,
    before: Path | None,
    baseline: Path | None,
    tolerance: float,
    force: bool,
) -> int:
    """Show RESULT, the JSON of edgecv bench, which may come from another machine.

    Without an option that writes to standard output, a short table is printed. Exit status 1: the
    gate failed.
    """
    from edgecv.bench.saved import read

    inputs = [path for path in (result, before, baseline) if path is not None]
    check_outputs(html, markdown, csv, inputs, overwrite=force)
    report = read(result)
    other = None if before is None else read(before)
    reference = None if baseline is None else read(baseline)
    write_outputs(report, other, html, markdown, csv, inputs, overwrite=force)
    if "-" not in (markdown, csv):
        from edgecv.cli.bench_outputs import print_report

        print_report(report, other, output.console())
        if html is not None:
            output.console().print(f"page: {html}")
    if reference is None:
        return 0
    # Beside a table on standard output, the gate speaks on the other stream.
    return print_gate(reference, report, tolerance, output.console(stderr="-" in (markdown, csv)))
