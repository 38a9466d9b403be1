"""``edgecv predict``: run a model on images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from edgecv.cli import output
from edgecv.cli.options import Opener, model_options, parse_size
from edgecv.errors import ImageError, UsageError
from edgecv.model import Model
from edgecv.result import Result
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections

_MAPS = ("semantic", "depth", "anomaly")


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True)
@model_options
@click.option(
    "--json",
    "json_target",
    metavar="FILE|-",
    help="Write one JSON object a line and an image; - is standard output.",
)
@click.option(
    "--save",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the images with the results drawn on them.",
)
@click.option("--recursive", is_flag=True, help="Look into folders below a folder, too.")
@click.option(
    "--tile",
    "tile_hw",
    type=parse_size,
    metavar="HxW",
    help="Run images in tiles of this size, in pixels of the image, and merge the results.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 0.9),
    help="Of neighbouring tiles, in parts of a tile's side; default: 0.2.",
)
@click.option("--whole", is_flag=True, help="With --tile: run the whole image, too.")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    sources: tuple[str, ...],
    open_model: Opener,
    json_target: str | None,
    folder: Path | None,
    recursive: bool,
    tile_hw: tuple[int, int] | None,
    overlap: float | None,
    whole: bool,
) -> int:
    """Run MODEL, a bundle or a bare model file, on every image that SOURCES name.

    A source is an image, a folder of images, or a glob in quotes. An image that cannot be used is
    reported and the rest go on; the exit status is then 1.
    """
    from edgecv.image_files import expand

    paths = expand(sources, recursive=recursive)
    output.check_target(json_target, [model, *paths])
    if tile_hw is None and (whole or overlap is not None):
        raise UsageError("--overlap and --whole are about tiles", remedy="give --tile HxW as well")
    writer = _Saver(folder, paths) if folder else None
    failures = 0
    with (
        open_model(model) as opened,
        output.json_stream(json_target) as stream,
        _results(opened, paths, tile_hw, 0.2 if overlap is None else overlap, whole) as results,
    ):
        for note in (*opened.info.skipped, *opened.info.notes):
            click.echo(f"note: {note}", err=True)
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, ImageError):
                failures += 1
                click.echo(f"error: {result}", err=True)
                _write(stream, {"source": str(path), "error": result.message})
                continue
            _write(stream, result.to_json())
            saved = ""
            if writer:
                try:
                    saved = f" -> {writer.save(path, result)}"
                except ImageError as error:
                    failures += 1
                    click.echo(f"error: {error}", err=True)
            if json_target != "-":
                click.echo(_sentence(result, opened) + saved)
    return 1 if failures else 0


@contextmanager
def _results(
    model: Model,
    paths: Sequence[Path],
    tile_hw: tuple[int, int] | None,
    overlap: float,
    whole: bool,
) -> Iterator[Iterable[Result | ImageError]]:
    """Give a result, or what is wrong with it, for each image, in order."""
    if tile_hw is None:
        from edgecv.throughput import predict_all

        with predict_all(model, paths, errors="keep") as results:
            yield results
        return
    from edgecv.tiles import tiled

    def one(path: Path) -> Result | ImageError:
        try:
            return tiled(model, path, tile_hw=tile_hw, overlap=overlap, whole=whole)
        except ImageError as error:
            return error

    yield map(one, paths)


def _write(stream: IO[str] | None, item: dict[str, Any]) -> None:
    if stream is not None:
        stream.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
        stream.flush()


def _sentence(result: Result, model: Model) -> str:
    """Sum up a result in one line."""
    height, width = result.source_hw
    value = result.value
    if isinstance(value, Detections):
        counts = Counter(int(c) for c in value.class_id)
        found = ", ".join(f"{n}x {_name(model, c)}" for c, n in counts.most_common()) or "nothing"
        if value.dropped:
            found += f" ({value.dropped} dropped: beyond a bound, or not finite)"
    elif isinstance(value, Classes):
        found = ", ".join(f"{_name(model, c)} {s:.2f}" for c, s in list(value)[:3])
    elif model.task in _MAPS:
        found = _map_sentence(value, model, height * width)
    elif model.task == "embed":
        found = f"a vector of {len(value)} numbers"
    else:
        found = model.task
    return f"{result.source} {width}x{height}: {found} ({result.timings_ms.total:.1f} ms)"


def _map_sentence(value: Any, model: Model, pixels: int) -> str:
    """Sum up a result that is a map."""
    if model.task == "semantic":
        largest = sorted(value, key=lambda item: -item[1])[:5]
        return ", ".join(f"{_name(model, c)} {n / pixels:.0%}" for c, n in largest) or "nothing"
    summary = value.summary
    span = f"{summary.low:.4g} to {summary.high:.4g}, mean {summary.mean:.4g}"
    if model.task == "depth":
        return f"{value.kind} depth {span}"
    verdict = {None: "", True: ", anomalous", False: ", normal"}[value.anomalous]
    return f"anomaly score {value.score:.4g}{verdict}; map {span}"


def _name(model: Model, class_id: int) -> str:
    name = model.labels[class_id] if class_id < len(model.labels) else f"class {class_id}"
    # A label from a stranger's file must not steer the terminal.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


class _Saver:
    """Draw results into a folder, made if need be, under names that do not collide."""

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot be made: {error.strerror}", where=f"--save {folder}"
            ) from None
        self.folder = folder
        self.taken: set[str] = set()
        own = folder.resolve()
        for source in sources:
            if source.resolve().parent == own:
                raise UsageError(
                    "the images lie in this folder themselves, and would be written over",
                    where=f"--save {folder}",
                    got=str(source),
                    remedy="name another folder",
                )

    def save(self, path: Path, result: Result) -> Path:
        """Draw one result; the picture is named after its image."""
        from edgecv import codecs
        from edgecv.drawing import draw

        names = (f"{path.stem}{'' if i == 1 else f'-{i}'}.jpg" for i in range(1, 10**9))
        name = next(name for name in names if name.casefold() not in self.taken)
        self.taken.add(name.casefold())
        target = self.folder / name
        codecs.write(target, draw(codecs.read(path), result))
        return target
