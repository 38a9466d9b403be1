"""``edgecv export-metadata``: tell another tool what a bundle knows."""

from __future__ import annotations

from pathlib import Path

import click

from edgecv.interchange import export_metadata, writers


@click.command("export-metadata")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format",
    required=True,
    type=click.Choice(writers()),
    help="Whose metadata are written.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the model and what belongs to it; it must not exist yet.",
)
@click.option("--variant", help="Variant of the bundle; default: the first that fits.")
def command(bundle: Path, format: str, output: Path, variant: str | None) -> None:
    """Write a variant of BUNDLE with the metadata that another tool reads.

    What was written is read back; what the format cannot say is listed.
    """
    made = export_metadata(bundle, format, output, variant=variant)
    click.echo(f"{made.path}: variant {made.variant}, {len(made.files)} file(s)")
    for item in made.lost:
        click.echo(f"not kept: {item}", err=True)
