"""``edgecv verify``: prove that a bundle is whole and still gives its recorded results."""

from __future__ import annotations

from pathlib import Path

import click

from edgecv.cli import output
from edgecv.verification import Check, verify

_STYLE = {"ok": "green", "failed": "bold red", "skipped": "yellow"}


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "json_target", metavar="FILE|-", help="Write the report as JSON.")
def command(bundle: Path, json_target: str | None) -> int:
    """Check BUNDLE: schema, the hash of every file, and its golden samples.

    Every variant whose engine is installed replays the golden samples; the exit status is 1 if a
    difference is out of tolerance.
    """
    from rich.text import Text

    output.check_target(json_target, [bundle])
    report = verify(bundle)
    output.write_json(json_target, report.to_json())
    if json_target != "-":
        screen = output.console()
        title = f"{bundle}: every hash as recorded, {report.files} file(s)"
        if report.checks:
            table = output.table(
                title, "variant", "golden", "score>", "box px>", "unmatched>", "status"
            )
            for check in report.checks:
                status = f"{check.status}: {check.reason}" if check.reason else check.status
                table.add_row(
                    check.variant,
                    check.image or "-",
                    *_numbers(check),
                    Text(status, _STYLE[check.status]),
                )
            screen.print(table)
        else:
            screen.print(title)
        if report.note:
            screen.print(f"note: {report.note}")
    return 0 if report.ok else 1


def _numbers(check: Check) -> tuple[str, str, str]:
    if check.score is None or check.box_px is None:
        return "-", "-", "-"
    return f"{check.score:.4f}", f"{check.box_px:.2f}", str(check.unmatched)
