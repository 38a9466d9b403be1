"""``edgecv stream``: run a model on cameras, videos, folders and network streams."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv import plugins
from edgecv.cli import output
from edgecv.cli.options import Opener, key_values, model_options
from edgecv.errors import EdgecvError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgecv.counters import PipelineStats
    from edgecv.events import Event

_INTERRUPTED = 130


@click.command("stream")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True)
@model_options
@click.option(
    "--track", type=click.Choice(plugins.names("trackers")), help="Give objects ids that stay."
)
@click.option(
    "--zones",
    type=click.Path(path_type=Path),
    help="JSON file of zones and lines to count in; turns tracking on.",
)
@click.option(
    "--source-option",
    "source_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the sources, such as realtime=true or transport=udp; may be repeated.",
)
@click.option("--motion", is_flag=True, help="Run only frames in which something moved.")
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="TARGET",
    help="Where results go: a .jsonl or video file, a folder, http://, mqtt://, "
    "mjpeg://HOST:PORT; may be repeated.",
)
@click.option(
    "--policy",
    type=click.Choice(["latest", "every"]),
    help="Drop frames that newer ones replace, or wait for every one; default: latest "
    "for live sources.",
)
@click.option(
    "--json",
    "json_target",
    metavar="FILE|-",
    help="Write one JSON object a line and a frame; - is standard output.",
)
@click.option("--max-frames", type=click.IntRange(1), help="End after so many results.")
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(0, min_open=True),
    help="End after so many seconds.",
)
@click.option("--stats", is_flag=True, help="Say at the end where frames and time went.")
def command(
    model: Path,
    sources: tuple[str, ...],
    open_model: Opener,
    track: str | None,
    zones: Path | None,
    source_options: tuple[str, ...],
    motion: bool,
    sinks: tuple[str, ...],
    policy: Any,
    json_target: str | None,
    max_frames: int | None,
    duration_s: float | None,
    stats: bool,
) -> int:
    """Run MODEL, a bundle or a bare model file, on every frame of SOURCES.

    A source is a video file, a folder of images, a camera such as /dev/video0, or the address of a
    network stream. Several are run side by side. Ctrl-C ends it within a second with exit status
    130; the exit status is 1 where a sink could not deliver.
    """  # fmt: skip
    from edgecv.sink import record
    from edgecv.streaming import stream

    output.check_target(json_target, [model])
    _check_folders(sources, sinks)
    status = 0
    failure: EdgecvError | None = None
    counted: dict[str, Any] = {}
    with ExitStack() as stack:
        opened = stack.enter_context(open_model(model))
        for note in (*opened.info.skipped, *opened.info.notes):
            click.echo(f"note: {note}", err=True)
        lines = stack.enter_context(output.json_stream(json_target))
        run = stream(
            opened,
            list(sources),
            track=track or False,
            sinks=sinks,
            policy=policy,
            zones=zones,
            motion=motion,
            most=max_frames,
            listener=_tell,
            **key_values(source_options, "--source-option"),
        )
        stack.enter_context(run)
        if duration_s is not None:
            timer = threading.Timer(duration_s, run.finish)
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        try:
            with _Display(run):
                for frame, result in run:
                    counted[frame.stream] = result.counts
                    if lines is not None:
                        said = record(frame, result)
                        lines.write(json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n")
                        lines.flush()
        except KeyboardInterrupt:
            status = _INTERRUPTED
        except SystemExit as end:  # as SIGTERM ends the program
            status = int(end.code or 0)
        except EdgecvError as error:
            if not counted:
                raise
            # What was found before is kept; raised here, it would take the file of --json along.
            failure = error
        run.close()
        found = run.stats
    screen = output.console(stderr=True)
    screen.print(_table(found))
    _print_counts(screen, counted)
    if stats:
        _print_stats(screen, found)
    if failure is not None:
        raise failure
    failed = any(sink.failed for sink in found.sinks)
    return status or (1 if failed else 0)


def _check_folders(sources: Sequence[str], sinks: Sequence[str]) -> None:
    """Refuse a sink that would write images into a folder that is read.

    Raises:
        UsageError: a watched folder would never come to an end, and others would be mixed up.
    """
    from edgecv.sink import parse_target

    read = {Path(source.removeprefix("watch:")).resolve() for source in sources}
    for sink in sinks:
        target, _, _ = parse_target(sink)
        if "://" not in target and Path(target).is_dir() and Path(target).resolve() in read:
            raise UsageError(
                "the images that are read lie in this folder themselves",
                where=f"--sink {sink}",
                remedy="name another folder",
            )


class _Display:
    """A table of the streams that is kept up to date, where standard error is a terminal."""

    def __init__(self, run: Any) -> None:
        self._live: Any = None
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(
                console=output.console(stderr=True),
                get_renderable=lambda: _table(run.stats),
                refresh_per_second=4,
                transient=True,
            )

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()


def _tell(event: Event) -> None:
    """Print what happens beside frames; drops are in the table."""
    from edgecv.events import Dropped, Ended

    if isinstance(event, Dropped | Ended):
        return
    facts = event.to_fields()
    stream = facts.pop("stream")
    facts.pop("at_s")
    if str(facts.get("reason", "")).startswith(f"sink {facts.get('sink')}: "):
        del facts["sink"]  # the reason says it
    said = ", ".join(f"{name} {_plain(value)}" for name, value in facts.items())
    click.echo(f"note: {stream}: {type(event).__name__}: {said}", err=True)


def _plain(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(found: PipelineStats) -> Table:
    table = output.table(
        "", "stream", "fps>", "age p50 ms>", "age p90 ms>", "in>", "out>", "dropped>", "skipped>"
    )
    for one in found.streams:
        ages = one.age_ms
        table.add_row(
            one.stream,
            f"{one.fps:.1f}",
            *("-" if age is None else f"{age:.0f}" for age in (ages.p50, ages.p90)),
            *(str(n) for n in (one.frames_in, one.frames_out, one.dropped, one.skipped)),
        )
    return table


def _print_counts(screen: Any, counted: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Print what the zones and lines of each stream counted, a line each."""
    for stream, counts in counted.items():
        for places in (counts["zones"], counts["lines"]) if counts else ():
            from edgecv.zone_drawing import said_of

            for name in places:
                screen.print(f"{stream}: {said_of(name, places)}")


def _print_stats(screen: Any, found: PipelineStats) -> None:
    stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in found.stage_ms.items())
    screen.print(f"{found.seconds:.1f} s; mean ms of a frame: {stages}")
    screen.print(str(found.plan))
    for trial in found.trials:
        rate = trial.reason or f"{trial.images_per_s} frames/s"
        screen.print(f"  tried {trial.plan}: {rate}")
    for sink in found.sinks:
        error = f"; last error: {sink.error}" if sink.error else ""
        screen.print(
            f"sink {sink.sink}: {sink.written} written, {sink.dropped} dropped, "
            f"{sink.failed} failed{error}"
        )
