"""``edgecv verify``: prove that a bundle is whole and still gives its recorded results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecv import plugins
from edgecv.cli import output
from edgecv.cli.options import hint_options, trusted_option
from edgecv.errors import UsageError
from edgecv.hints import Hints
from edgecv.verification import Check, Verification, bare_file, verify, verify_file

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {
    "ok": "green",
    "failed": "bold red",
    "skipped": "yellow",
    "refuse": "bold red",
    "warn": "yellow",
}


@click.command("verify")
@click.argument("path", metavar="BUNDLE|FILE", type=click.Path(path_type=Path))
@hint_options
@trusted_option
@click.option(
    "--backend", type=click.Choice(plugins.names("backends")), help="Engine for a bare FILE."
)
@click.option(
    "--images",
    multiple=True,
    metavar="PATH",
    help="Image, folder or glob to run a bare FILE on. May be repeated; default: synthetic images.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the report as JSON.")
def command(
    path: Path,
    hints: Hints,
    trusted: bool,
    backend: str | None,
    images: tuple[str, ...],
    json_target: str | None,
) -> int:
    """Check BUNDLE: schema, the hash of every file, its golden samples and its raw outputs.

    Every variant whose engine is installed replays the golden samples; the exit status is 1 if a
    difference is out of tolerance.

    Of a bare model FILE the raw outputs alone are looked at: NaNs, the same answer to every image,
    scores that share a scale with box coordinates and the like. The exit status is 1 if the file
    cannot do its task.
    """
    file = bare_file(path)
    if file is None:
        said = [*hints.given(), *(["images"] if images else []), *(["backend"] if backend else [])]
        if said and path.exists():
            raise UsageError(
                f"a bundle says itself how it is fed and read, and on what: {', '.join(said)}",
                where=str(path),
                remedy="these options are for a bare model file",
            )
        output.check_target(json_target, [path])
        report = verify(path)
    else:
        from edgecv.image_files import expand

        output.check_target(json_target, [path, *map(Path, images)])
        pictures = expand(images) if images else []
        report = verify_file(path, pictures, hints=hints, backend=backend, trusted=trusted)
    output.write_json(json_target, report.to_json())
    if json_target != "-":
        _print(path, report, bare=file is not None)
    return 0 if report.ok else 1


def _print(path: Path, report: Verification, *, bare: bool) -> None:
    from rich.text import Text

    screen = output.console()
    title = f"{path}: every hash as recorded, {report.files} file(s)"
    if report.checks:
        table = output.table(
            title, "variant", "golden", "score>", "box px>", "area>", "unmatched>", "status"
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
    elif not bare:
        screen.print(title)
    _print_flags(screen, report)
    if bare and not any(report.flags.values()):
        screen.print(f"{path}: nothing wrong with its outputs on {', '.join(report.flags)}")
    if report.note:
        screen.print(f"note: {report.note}")


def _print_flags(screen: Console, report: Verification) -> None:
    from rich.text import Text

    for name, flags in report.flags.items():
        for flag in flags:
            screen.print(Text(f"{flag.severity}: {name}: {flag.message}", _STYLE[flag.severity]))


def _numbers(check: Check) -> tuple[str, str, str, str]:
    if check.score is None or check.box_px is None:
        return "-", "-", "-", "-"
    return f"{check.score:.4f}", f"{check.box_px:.2f}", f"{check.area:.3f}", str(check.unmatched)
