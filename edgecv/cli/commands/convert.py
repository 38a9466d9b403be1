"""``edgecv convert``: from a trained model to a bundle that is proven to work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv.cli import output
from edgecv.cli.options import hint_options, parse_size
from edgecv.hints import Hints
from edgecv.image_files import expand
from edgecv.types import PRECISIONS

if TYPE_CHECKING:
    from edgecv.converters.conversion import Conversion
    from edgecv.converters.graphs_only import GraphsOnly

_FORMATS = ("onnx", "openvino", "tflite")


def _words(choices: tuple[str, ...]) -> Any:
    """Parse words with commas between them, each one of `choices`."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
        strange = [word for word in words if word not in choices]
        if strange or not words:
            raise click.BadParameter(
                f"expected some of {', '.join(choices)}, with commas; got {text!r}"
            )
        return words

    return parse


@click.command("convert")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="NAME.edgecv for one file; any other name makes a folder.",
)
@click.option(
    "--to",
    "formats",
    type=_words(_FORMATS),
    default=",".join(_FORMATS),
    show_default=True,
    help="Formats to make.",
)
@click.option(
    "--precision",
    "precisions",
    type=_words(PRECISIONS),
    default=",".join(PRECISIONS),
    show_default=True,
    help="Precisions that may be tried.",
)
@click.option(
    "--target",
    "board",
    help="Leave out what makes no sense there; see `edgecv targets`. Speeds are measured here.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Data set with labels; its split `train` calibrates, `val` decides, and `test`, "
    "where there is one, makes the card.",
)
@click.option("--split", default="val", show_default=True, help="Of the data, that decides.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Folder of images, or data.yaml, to calibrate on instead of --data's.",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1),
    metavar="N",
    help="Calibrate on at most so many images.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Points of the task's metric that a shipped variant may lose.",
)
@click.option(
    "--ship",
    multiple=True,
    metavar="VARIANT",
    help="Ship this variant whatever is found out about it; may be repeated.",
)
@click.option(
    "--no-fused", is_flag=True, help="Do not try graphs that prepare their pixels themselves."
)
@click.option(
    "--graphs-only",
    is_flag=True,
    help="For a task that edgecv does not decode: write the float files and their proof into the "
    "folder OUTPUT, without a bundle and a ladder.",
)
@click.option(
    "--input",
    "input_hw",
    type=parse_size,
    metavar="HxW",
    help="Input size to convert for, where the source leaves it free.",
)
@click.option(
    "--arch",
    "architecture",
    metavar="MODULE:FUNCTION",
    help="Makes the torch module that a state dict is for; FILE.py:FUNCTION works, too.",
)
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Let pickles in the source run their code: only for files that you trust.",
)
@click.option("--name", help="Of the model; default: what the source says, or its file's name.")
@click.option("--version", "version", default="1", show_default=True, help="Of the model.")
@click.option("--license", "license_", help="SPDX identifier or name.")
@click.option("--description", help="One paragraph for the card.")
@click.option(
    "--golden",
    multiple=True,
    metavar="IMAGES",
    help="Image, folder or glob whose results are recorded; default: some of the data.",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Measure accuracy on only so many images."
)
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Resamples behind each interval; 0 leaves them out.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Of the inference that decides which variant is faster.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for intermediate results; kept. Default: a hidden one beside the "
    "output, removed in the end.",
)
@click.option("--keep-work", is_flag=True, help="Do not remove the default work folder.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the whole ladder as JSON.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report as a page, as `edgecv report --html` does.",
)
@click.option("--force", is_flag=True, help="Replace an existing archive.")
@hint_options
def command(
    source: str,
    target: Path,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    board: str | None,
    data: Path | None,
    split: str,
    calibration: Path | None,
    calibration_images: int | None,
    max_drop: float,
    ship: tuple[str, ...],
    no_fused: bool,
    graphs_only: bool,
    input_hw: tuple[int, int] | None,
    architecture: str | None,
    trust_pickle: bool,
    name: str | None,
    version: str,
    license_: str | None,
    description: str | None,
    golden: tuple[str, ...],
    limit: int | None,
    bootstrap: int,
    threads: int,
    work: Path | None,
    keep_work: bool,
    json_target: str | None,
    html: Path | None,
    force: bool,
    hints: Hints,
) -> None:
    """Convert SOURCE, quantize it, prove what came out, and bundle what is good.

    SOURCE is a model file (.onnx, .xml, .tflite, TorchScript, torch.export, a state dict with
    --arch), an Ultralytics .pt or .yaml, PACKAGE.MODULE:FUNCTION, timm:NAME, hf:FOLDER or
    zero-shot:FOLDER?labels=FILE.

    For each format the ladder goes from full int8 down to floats; a variant is shipped if it loses
    at most --max-drop points on the validation images and is faster here than what is more precise.
    """  # fmt: skip
    from edgecv.converters.conversion import convert
    from edgecv.converters.decision import Rules
    from edgecv.converters.graphs_only import convert_graphs
    from edgecv.converters.judge import Effort
    from edgecv.converters.order import Order
    from edgecv.converters.source import Request
    from edgecv.page import check_target

    output.check_target(json_target, [target, *(path for path in (data,) if path)])
    if html is not None:
        check_target(html, overwrite=force)
    formats, excluded, notes = _narrow(board, formats, precisions)
    order = Order(
        request=Request(source, input_hw, architecture, trust_pickle),
        output=target,
        formats=formats,  # type: ignore[arg-type]  # checked by the option
        rules=Rules(precisions, max_drop, ship, not no_fused),  # type: ignore[arg-type]  # click gives text
        effort=Effort(limit=limit, bootstrap=bootstrap, threads=threads),
        hints=hints.replace(name=name, license=license_, description=description),
        data=data,
        split=split,
        calibration=calibration,
        calibration_limit=calibration_images,
        golden=tuple(expand(golden)),
        work=work,
        keep_work=keep_work,
        overwrite=force,
        name=name,
        version=version,
        target=board,
        excluded=excluded,  # type: ignore[arg-type]  # as above
        notes=notes,
    )
    err = output.console(stderr=True)
    for note in notes:
        err.print(note)
    if graphs_only:
        proven = convert_graphs(order, progress=lambda line: err.print(line))
        output.write_json(json_target, proven.document)
        if json_target != "-":
            _show_graphs(proven)
        return
    made = convert(order, progress=lambda line: err.print(line))
    output.write_json(json_target, made.document)
    _show(made, json_target, html, force)


def _narrow(
    board: str | None, formats: tuple[str, ...], precisions: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Leave out what makes no sense on a target: formats, (format, precision) pairs, notes."""
    if board is None:
        return formats, (), ()
    from edgecv import targets
    from edgecv.converters.artifact import BACKENDS
    from edgecv.targets.narrowing import narrow

    left = narrow(targets.load(board), BACKENDS, formats, precisions)  # type: ignore[arg-type]  # as above
    told = f"made for {board}; every speed was measured on this machine, not there"
    return left.formats, left.excluded, (told, *left.notes)


def _show(made: Conversion, json_target: str | None, html: Path | None, force: bool) -> None:
    """Show the ladder as ``edgecv report`` does."""
    from edgecv.cli.ladder import print_ladder
    from edgecv.converters.report import document, page

    ladder = document.validate(dict(made.document))
    if html is not None:
        page.write_page(made.path, html, overwrite=force)
    if json_target != "-":
        print_ladder(ladder, output.console())
        shipped = ", ".join(trial.id for trial in made.trials if trial.shipped)
        click.echo(f"{made.path}: {shipped}")


def _show_graphs(proven: GraphsOnly) -> None:
    """Show how far each file is from its source."""
    table = output.table(
        f"parity on {proven.document['images']}", "file", "output", "max abs>", "cosine>", "SNR dB>"
    )
    for row in proven.document["parity"]:
        told = ("-" if row[key] is None else f"{row[key]:.6g}" for key in ("cosine", "snr_db"))
        table.add_row(row["step"], row["name"], f"{row['max_abs']:.3g}", *told)
    output.console().print(table)
    click.echo(f"{proven.path}: {', '.join(path.name for path in proven.files.values())}")
