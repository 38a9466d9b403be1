"""``edgecv race``: which of several models, variants or settings is faster, side by side."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv import plugins
from edgecv.cli import output
from edgecv.cli.options import hint_options, trusted_option
from edgecv.errors import UsageError
from edgecv.hints import Hints
from edgecv.page import printable

if TYPE_CHECKING:
    from edgecv.bench.interleaved import Competitor


@click.command("race")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@hint_options
@trusted_option
@click.option(
    "--data",
    "sources",
    multiple=True,
    metavar="IMAGES",
    help="Image, folder or glob; may be repeated. Default: the first bundle's golden images.",
)
@click.option("--variant", help="Only this variant of each bundle; default: all that run here.")
@click.option(
    "--backend",
    type=click.Choice([*plugins.names("backends"), "all"]),
    help="Only this engine; `all` for every one that opens a bare file.",
)
@click.option(
    "--threads", default="", metavar="N[,N]", help="Threads; default: the CPUs that may be used."
)
@click.option(
    "--rounds", default=20, show_default=True, type=click.IntRange(6, 1000),
    help="In each, everybody has one turn.",
)  # fmt: skip
@click.option(
    "--turn", "turn_s", default=0.2, show_default=True, type=click.FloatRange(0.01, 60),
    help="Seconds of a turn.",
)  # fmt: skip
@click.option("--json", "json_target", metavar="FILE|-", help="Write what was timed as JSON.")
def command(
    models: tuple[Path, ...],
    hints: Hints,
    trusted: bool,
    sources: tuple[str, ...],
    variant: str | None,
    backend: str | None,
    threads: str,
    rounds: int,
    turn_s: float,
    json_target: str | None,
) -> int:
    """Time MODELS side by side: pixels to result, in turns, each in a process of its own.

    What happens to the machine happens to all of them; the ratio to the first one is taken within
    each round, and where its interval holds 1 there is no difference to speak of.
    """
    from edgecv.bench.interleaved import ratio, take_turns
    from edgecv.cli import bench_matrix as matrix

    output.check_target(json_target, models)
    counts = matrix.numbers(threads, "--threads")
    for model in models:
        if not model.exists():
            raise UsageError("no such file or folder", where=str(model))
    with tempfile.TemporaryDirectory(prefix="edgecv-race-") as scratch:
        images = matrix.images(models[0], sources, Path(scratch))
        competitors = _competitors(models, hints, trusted, variant, backend, counts)
        if len(competitors) < 2:
            raise UsageError(
                "there is nobody to race against",
                where=competitors[0].name,
                remedy="name another model, or several numbers with --threads",
            )
        with output.console(stderr=True).status("racing") as status:
            timings = take_turns(
                competitors, images, rounds=rounds, turn_s=turn_s, progress=status.update
            )
    first = timings[competitors[0].name]
    rows: list[dict[str, Any]] = []
    for competitor in competitors:
        timing = timings[competitor.name]
        speed = ratio(first, timing)
        rows.append(
            {
                "name": competitor.name,
                "precision": timing.precision,
                "threads": timing.threads,
                "p50_ms": round(timing.p50_ms, 4),
                "ci95_ms": [round(value, 4) for value in timing.ci95],
                "stages_ms": {stage: round(ms, 4) for stage, ms in timing.stages_ms.items()},
                "samples": timing.samples,
                "speed": round(speed.value, 4),
                "speed_ci95": [round(value, 4) for value in speed.ci95],
                "verdict": "reference" if timing is first else speed.verdict,
            }
        )
    output.write_json(json_target, {"rounds": rounds, "turn_s": turn_s, "results": rows})
    if json_target != "-":
        _show(rows)
    return 0


def _competitors(
    models: tuple[Path, ...],
    hints: Hints,
    trusted: bool,
    variant: str | None,
    backend: str | None,
    counts: list[int | None],
) -> list[Competitor]:
    from edgecv.bench.interleaved import Competitor
    from edgecv.cli import bench_matrix as matrix

    found: dict[str, Competitor] = {}
    for model in models:
        for cell in matrix.cells(
            model, hints, trusted=trusted, variant=variant, backend=backend, scenarios=["single"],
            threads=counts, streams=[1],
        ):  # fmt: skip
            what = cell.load.get("variant") or cell.load.get("backend")
            count = "" if cell.load["threads"] is None else f" x{cell.load['threads']}"
            name = f"{model.name}: {what}{count}"
            if name in found:
                name = f"{model}: {what}{count}"
            said = None if cell.hints is None else cell.hints.given()
            found[name] = Competitor(name, model, cell.load, (), said)
    return list(found.values())


def _show(rows: list[dict[str, Any]]) -> None:
    table = output.table(
        "pixels to result, ms; how many times as fast as the first",
        "model", "ran in", "threads>", "p50>", "95 %>", "speed>", "95 %>", "verdict",
    )  # fmt: skip
    for row in rows:
        intervals = ["{:.3f} to {:.3f}".format(*row[key]) for key in ("ci95_ms", "speed_ci95")]
        table.add_row(
            printable(row["name"]),
            row["precision"] or "-",
            str(row["threads"]),
            f"{row['p50_ms']:.3f}",
            intervals[0],
            f"{row['speed']:.3f}",
            intervals[1],
            row["verdict"],
        )
    output.console().print(table)
