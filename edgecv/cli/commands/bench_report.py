"""``edgecv bench-report``: make pages and tables of a saved benchmark, and compare it."""

from __future__ import annotations

from pathlib import Path

import click

from edgecv.cli.report_files import check_reports, report_options, write_reports


@click.command("bench-report")
@click.argument("report", type=click.Path(path_type=Path))
@report_options
def command(report: Path, **files: str | None) -> int:
    """Show REPORT, the JSON that `edgecv bench` wrote, maybe on a board that draws no charts.

    With --gate the exit status is 1 where anything is significantly worse than in the baseline.
    """
    from edgecv.bench import saved

    read = saved.read(report)
    others = check_reports(files, [report])
    return 0 if write_reports(read, files, others) else 1
