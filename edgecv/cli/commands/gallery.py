"""``edgecv gallery``: name the vectors of images, and find the names nearest to an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecv.cli import output
from edgecv.cli.options import Opener, model_options
from edgecv.errors import ImageError, UsageError

if TYPE_CHECKING:
    from edgecv.gallery import Match


@click.group("gallery")
def command() -> None:
    """Name the vectors of images, and find the names nearest to an image."""


@command.command("build")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True)
@model_options
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="The gallery's file, such as NAME.gallery.",
)
@click.option(
    "--name-by",
    type=click.Choice(["file", "folder"]),
    default="file",
    show_default=True,
    help="Whether an image's own name or its folder's says what it shows.",
)
@click.option("--recursive", is_flag=True, help="Look into folders below a folder, too.")
@click.option("--force", is_flag=True, help="Replace an existing gallery.")
def build(
    model: Path,
    sources: tuple[str, ...],
    open_model: Opener,
    target: Path,
    name_by: str,
    recursive: bool,
    force: bool,
) -> int:
    """Make a gallery of what MODEL says about every image that SOURCES name.

    An image that cannot be used is reported and the rest go on; the exit status is then 1.
    """
    from edgecv.gallery import Gallery
    from edgecv.image_files import expand

    paths = expand(sources, recursive=recursive)
    if target.exists() and not force:
        raise UsageError("exists already", where=str(target), remedy="--force replaces it")
    failures = 0
    with open_model(model) as opened:
        gallery = Gallery.of(opened)
        for path in paths:
            name = path.stem if name_by == "file" else path.resolve().parent.name
            try:
                gallery.add(name, opened(path).embedding)
            except ImageError as error:
                failures += 1
                click.echo(f"error: {error}", err=True)
            except UsageError as error:  # a vector of zeros, or a name that is no text
                failures += 1
                click.echo(f"error: {path}: {error}", err=True)
    if not len(gallery):
        raise UsageError("no image could be used", where=", ".join(sources))
    gallery.save(target)
    click.echo(f"{target}: {len(gallery)} vectors of {len(gallery.names)} names")
    return 1 if failures else 0


@command.command("search")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("gallery", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True)
@model_options
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Names to list.")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    default=-1.0,
    help="Lowest cosine of a match; default: any.",
)
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write one JSON object a line and an image."
)
@click.option("--recursive", is_flag=True, help="Look into folders below a folder, too.")
def search(
    model: Path,
    gallery: Path,
    sources: tuple[str, ...],
    open_model: Opener,
    top: int,
    threshold: float,
    json_target: str | None,
    recursive: bool,
) -> int:
    """Find the names in GALLERY that are nearest to every image that SOURCES name.

    An image that cannot be used is reported and the rest go on; the exit status is then 1.
    """
    from edgecv.gallery import Gallery
    from edgecv.image_files import expand

    paths = expand(sources, recursive=recursive)
    output.check_target(json_target, [model, gallery, *paths])
    known = Gallery.load(gallery)
    failures = 0
    with open_model(model) as opened, output.json_stream(json_target) as stream:
        known.check(opened)
        for path in paths:
            item: dict[str, object] = {"source": str(path)}
            try:
                found = known.search(opened(path).embedding, top, threshold)
                item["matches"] = [match.to_dict() for match in found]
            except ImageError as error:
                failures += 1
                click.echo(f"error: {error}", err=True)
                item["error"] = error.message
            else:
                if json_target != "-":
                    click.echo(f"{path}: {_sentence(found)}")
            if stream is not None:
                stream.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
                stream.flush()
    return 1 if failures else 0


def _sentence(found: list[Match]) -> str:
    # A name from a stranger's file must not steer the terminal.
    shown = [
        f"{''.join(c if c.isprintable() else repr(c)[1:-1] for c in m.name)} {m.score:.3f}"
        for m in found
    ]
    return ", ".join(shown) or "nothing near enough"
