"""``edgecv report``: the quantization ladder of a bundle, as a table and as a page."""

from __future__ import annotations

from pathlib import Path

import click

from edgecv.cli import output


@click.command("report")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--html",
    "html_target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a self-contained page: charts, tables, disagreements.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the record as JSON.")
@click.option("--force", is_flag=True, help="Replace the page if it exists.")
def command(bundle: Path, html_target: Path | None, json_target: str | None, force: bool) -> None:
    """Show what the conversion of BUNDLE tried, what it measured, and what it shipped and why.

    BUNDLE may also be the JSON that edgecv convert wrote.
    """
    from edgecv import page
    from edgecv.cli.ladder import print_ladder
    from edgecv.converters.report import document
    from edgecv.converters.report.page import make

    output.check_target(json_target, [bundle])
    if html_target is not None:
        page.check_target(html_target, overwrite=force, source=bundle)
    conversion = document.read(bundle)
    if html_target is not None:
        text = make(bundle, conversion)
        page.write(html_target, text, overwrite=force, source=bundle)
    output.write_json(json_target, conversion.to_dict(), [bundle])
    if json_target != "-":
        print_ladder(conversion, output.console())
        if html_target is not None:
            output.console().print(f"page: {html_target}")
