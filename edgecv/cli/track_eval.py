"""``edgecv eval --task track``: its options, and how it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecv import plugins
from edgecv.cli import output
from edgecv.errors import UsageError

if TYPE_CHECKING:
    from edgecv.cli.options import Opener
    from edgecv.track_evaluation import TrackEvaluation

F = TypeVar("F", bound=Callable[..., Any])
_NAMES = (
    *("results", "tracker", "tracker_options", "followed", "fps", "min_visibility"),
    "save_results",
)
_OPTIONS = (
    click.option("--results", type=click.Path(exists=True, path_type=Path),
                 help="Tracks: MOTChallenge files to measure; no MODEL is needed."),
    click.option("--tracker", type=click.Choice(plugins.names("trackers")),
                 help="Tracks: what follows the detections.  [default: bytetrack]"),
    click.option("--tracker-option", "tracker_options", multiple=True, metavar="KEY=VALUE",
                 help="Tracks: option of the tracker. May be repeated."),
    click.option("--class", "followed", metavar="NAME",
                 help="Tracks: class that is followed, '*' for all.  [default: person]"),
    click.option("--fps", type=click.FloatRange(0, min_open=True),
                 help="Tracks: frames a second, where seqinfo.ini is not to say."),
    click.option("--min-visibility", type=click.FloatRange(0, 1),
                 help="Tracks: true boxes less visible do not count."),
    click.option("--save-results", type=click.Path(file_okay=False, path_type=Path),
                 help="Tracks: folder for what the tracker found, one file a sequence."),
)  # fmt: skip


def track_options(command: F) -> F:
    """Add the options of tracks; the command gets them as ``tracks``, a dictionary."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        tracks = {name: kwargs.pop(name) for name in _NAMES}
        return command(*args, tracks=tracks, **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # wraps keeps what click looks at


def refuse(tracks: dict[str, Any]) -> None:
    """Raise UsageError where options of tracks are given for another task."""
    for name, value in tracks.items():
        if value not in (None, ()):
            flag = {"tracker_options": "tracker-option", "followed": "class"}.get(name, name)
            raise UsageError(
                "only for tracks",
                where=f"--{flag.replace('_', '-')}",
                remedy="add --task track",
            )


def evaluate(
    model: Path | None,
    open_model: Opener,
    data: Path,
    tracks: dict[str, Any],
    json_target: str | None,
) -> None:
    """Measure tracks as the command line says, and print them.

    Raises:
        UsageError: neither or both of MODEL and --results, or options that do not fit.
    """
    from edgecv import track_evaluation

    results: Path | None = tracks["results"]
    if (model is None) == (results is None):
        raise UsageError(
            "neither a model nor tracks" if model is None else "a model and tracks",
            where="eval --task track",
            expected="either MODEL, or --results with tracks that somebody made",
        )
    visibility = tracks["min_visibility"] or 0.0
    if results is not None:
        for name in ("tracker", "tracker_options", "followed", "fps", "save_results"):
            if tracks[name] not in (None, ()):
                raise UsageError("nothing is run with --results", where=f"option {name}")
        output.check_target(json_target, [data, results])
        report = track_evaluation.evaluate_results(data, results, min_visibility=visibility)
    else:
        assert model is not None
        report = _run(model, open_model, data, tracks, visibility, json_target)
    output.write_json(json_target, report.to_json())
    if json_target != "-":
        _print(report)


def _run(
    model: Path,
    open_model: Opener,
    data: Path,
    tracks: dict[str, Any],
    visibility: float,
    json_target: str | None,
) -> TrackEvaluation:
    from rich.progress import Progress

    from edgecv.track_evaluation import evaluate_tracker
    from edgecv.tracker import DEFAULT, create_tracker

    output.check_target(json_target, [model, data])
    name = tracks["tracker"] or DEFAULT
    options = dict(map(_option, tracks["tracker_options"]))
    create_tracker(name, **options)  # before a model is opened for nothing
    opener = replace(open_model, hints=open_model.hints.replace(task=None))
    with opener(model) as opened, Progress(console=output.console(stderr=True)) as bar:
        work = bar.add_task("frames", total=None)
        return evaluate_tracker(
            opened,
            partial(create_tracker, name, **options),
            data,
            name=f"{model} ({opened.info.variant}), {name}",
            label=tracks["followed"],
            confidence=open_model.options["confidence"],
            frame_rate=tracks["fps"],
            min_visibility=visibility,
            save=tracks["save_results"],
            progress=lambda done, total: bar.update(work, completed=done, total=total),
        )


def _option(pair: str) -> tuple[str, Any]:
    key, separator, text = pair.partition("=")
    if not separator:
        raise UsageError("", where="--tracker-option", expected="KEY=VALUE", got=repr(pair))
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text


def _print(report: TrackEvaluation) -> None:
    columns = report.sequences if len(report.sequences) > 1 else {}
    table = output.table(
        f"{report.tracks} on {report.data}", "metric", "value>", *(f"{name}>" for name in columns)
    )
    for metric, value in report.metrics.items():
        others = [_text(values[metric]) for values in columns.values()]
        table.add_row(metric, _text(value), *others)
    screen = output.console()
    screen.print(table)
    for name, reason in report.reasons.items():
        screen.print(f"note: {name}: {reason}")
    if report.problems:
        screen.print(f"{len(report.problems)} images could not be run:")
        for problem in report.problems[:10]:
            screen.print(f"  {problem}")


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
