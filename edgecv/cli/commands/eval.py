"""``edgecv eval``: measure a model's accuracy on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv import plugins
from edgecv.cli import output, track_eval
from edgecv.cli.options import Opener, model_options
from edgecv.errors import UsageError

if TYPE_CHECKING:
    from edgecv.evaluation import Evaluation


@click.command("eval")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@model_options
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="data.yaml, COCO JSON, a Pascal VOC or MVTec folder, a folder of class folders; for "
    "tracks, a gt.txt, a sequence, or a folder of sequences.",
)
@click.option("--split", default="val", show_default=True, help="Part of the data to measure.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(plugins.names("datasets")),
    help="Format of the data, where it cannot be told.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the images, where it is not beside the annotations.",
)
@click.option(
    "--class-map",
    type=click.Choice(["auto", "index"]),
    default="auto",
    show_default=True,
    help="How the classes of data and model belong together.",
)
@click.option("--limit", type=click.IntRange(1), help="Measure only so many images, spread evenly.")
@click.option(
    "--bootstrap",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Resamples for the 95 % intervals; 0 leaves them out.",
)
@track_eval.track_options
@click.option("--json", "json_target", metavar="FILE|-", help="Write the report as JSON.")
def command(
    model: Path | None,
    open_model: Opener,
    data: Path,
    split: str,
    format_: str | None,
    images: Path | None,
    class_map: str,
    limit: int | None,
    bootstrap: int,
    tracks: dict[str, Any],
    json_target: str | None,
) -> None:
    """Measure MODEL on labelled images: mAP of boxes, masks, oriented boxes or poses, top-1, mIoU.

    With --task track, measure the tracks of MODEL and a tracker, or those in --results, on
    MOTChallenge sequences: MOTA, IDF1, HOTA.

    Detection runs at confidence 0.001 unless --conf says otherwise, as mAP asks for. Intervals come
    from a bootstrap over images.
    """
    from rich.markup import escape
    from rich.progress import Progress

    from edgecv.dataset import open_dataset
    from edgecv.evaluation import evaluate

    if open_model.hints.task == "track":
        track_eval.evaluate(model, open_model, data, tracks, json_target)
        return
    track_eval.refuse(tracks)
    if model is None:
        raise UsageError("no model", where="eval", expected="MODEL, a bundle or a model file")
    output.check_target(json_target, [model, data])
    with open_model(model) as opened:
        # Class folders are read by the model's labels; other formats name their own classes.
        by_label = opened.task == "classify" and class_map == "auto"
        dataset = open_dataset(
            data,
            split,
            format_,
            task=opened.task,
            labels=opened.labels if by_label else (),
            images=images,
        )
        with Progress(console=output.console(stderr=True)) as bar:
            work = bar.add_task(escape(f"{dataset.name} {split}"), total=None)
            evaluation = evaluate(
                opened,
                dataset,
                limit=limit,
                confidence=open_model.options["confidence"],
                iou=open_model.options["iou"],
                class_map=class_map,  # type: ignore[arg-type]  # click.Choice checked it
                progress=lambda done, total: bar.update(work, completed=done, total=total),
                bootstrap=bootstrap,
            )
    output.write_json(json_target, evaluation.to_json())
    if json_target != "-":
        _print(model, evaluation)


def _print(model: Path, evaluation: Evaluation) -> None:
    title = (
        f"{model} ({evaluation.variant}, {evaluation.precision or 'precision unknown'}) on "
        f"{evaluation.data} {evaluation.split}, {evaluation.images} images"
    )
    table = output.table(title, "metric", "value>", "95 % interval")
    for name, value in evaluation.metrics.items():
        ends = evaluation.ci95.get(name)
        interval = "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
        if value is None:
            table.add_row(name, "-", evaluation.reasons.get(name, ""))
        else:
            table.add_row(name, f"{value:.3f}", interval)
    screen = output.console()
    screen.print(table)
    for note in evaluation.notes:
        screen.print(f"note: {note}")
    if evaluation.problems:
        screen.print(f"{evaluation.skipped} images skipped, {len(evaluation.problems)} problem(s):")
        for problem in evaluation.problems[:10]:
            screen.print(f"  {problem}")
        if len(evaluation.problems) > 10:
            screen.print(f"  ... and {len(evaluation.problems) - 10} more; --json lists them all")
