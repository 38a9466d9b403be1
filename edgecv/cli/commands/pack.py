"""``edgecv pack``: make a bundle from model files."""

from __future__ import annotations

from pathlib import Path

import click

from edgecv import plugins
from edgecv.bundle import open_bundle
from edgecv.cli.options import hint_options, trusted_option
from edgecv.errors import UsageError
from edgecv.hints import Hints
from edgecv.image_files import expand, is_image
from edgecv.packing import pack


@click.command("pack")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="NAME.edgecv for one file; any other name makes a folder.",
)
@hint_options
@trusted_option
@click.option("--name", help="Of the model; default: what the file says, or its name.")
@click.option("--version", "version", default="1", show_default=True, help="Of the model.")
@click.option("--license", "license_", help="SPDX identifier or name.")
@click.option("--description", help="One paragraph for the card.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(plugins.names("backends")),
    help="Only for this engine; may be repeated. Default: every installed one.",
)
@click.option(
    "--golden",
    multiple=True,
    metavar="IMAGES",
    help="Image, folder or glob whose results are recorded, for `edgecv verify`; may be repeated.",
)
@click.option(
    "--conf",
    "confidence",
    type=click.FloatRange(0, 1),
    help="Confidence threshold that the bundle records.",
)
@click.option(
    "--iou", type=click.FloatRange(0, 1), help="Suppression threshold that the bundle records."
)
@click.option("--force", is_flag=True, help="Replace an existing archive.")
def command(
    models: tuple[Path, ...],
    output: Path,
    hints: Hints,
    trusted: bool,
    name: str | None,
    version: str,
    license_: str | None,
    description: str | None,
    backends: tuple[str, ...],
    golden: tuple[str, ...],
    confidence: float | None,
    iou: float | None,
    force: bool,
) -> None:
    """Make a bundle of MODELS that need no conversion; several files make several variants."""
    strays = [model for model in models if is_image(model.name)]
    if strays:
        raise UsageError(
            "an image among the models",
            where=str(strays[0]),
            remedy="repeat --golden for each image, or give it a folder or a glob in quotes",
        )
    thresholds = {"confidence": confidence, "iou": iou}
    options = {key: value for key, value in thresholds.items() if value is not None}
    hints = hints.replace(
        name=name,
        license=license_,
        description=description,
        head_options={**options, **(hints.head_options or {})} or None,
    )
    written = pack(
        models,
        output,
        hints=hints,
        backends=backends,
        golden=expand(golden),
        version=version,
        trusted=trusted,
        overwrite=force,
        note=lambda text: click.echo(f"note: {text}", err=True),
    )
    with open_bundle(written) as bundle:
        manifest = bundle.manifest
    variants = ", ".join(variant.id for variant in manifest.variants)
    click.echo(f"{written}: {manifest.task} ({manifest.head.name}), variants {variants}")
