"""``edgecv tune``: find the fastest way to run a bundle here, and remember it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecv.cli import output
from edgecv.errors import UsageError
from edgecv.page import printable

if TYPE_CHECKING:
    from edgecv.bench.space import Goal
    from edgecv.bench.standings import Standing
    from edgecv.bench.tuning import Tuning
    from edgecv.tuned import Choice


@click.command("tune")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    "sources",
    multiple=True,
    metavar="IMAGES",
    help="Image, folder or glob; may be repeated. Default: the bundle's golden images.",
)
@click.option(
    "--goal",
    type=click.Choice(["latency", "throughput"]),
    default="latency",
    show_default=True,
    help="One image after the other, or as many a second as possible.",
)
@click.option(
    "--max-latency", type=click.FloatRange(0, min_open=True), metavar="MS",
    help="Of the 90th percentile, from encoded image to result.",
)  # fmt: skip
@click.option(
    "--max-memory", type=click.FloatRange(0, min_open=True), metavar="MIB",
    help="Peak resident set of a process that runs it.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(0), metavar="POINTS",
    help="Of accuracy below the best variant, by the bundle's card.",
)  # fmt: skip
@click.option(
    "--seconds",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Of the measurement in full, which the limits are held against.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="In which all of it ends; what was not reached is listed.",
)
@click.option("--dry-run", is_flag=True, help="Measure, and remember nothing.")
@click.option("--forget", is_flag=True, help="Only forget what was found for this bundle and CPU.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write all that was found as JSON.")
def command(
    bundle: Path,
    sources: tuple[str, ...],
    goal: Goal,
    max_latency: float | None,
    max_memory: float | None,
    max_drop: float | None,
    seconds: float,
    budget: float | None,
    dry_run: bool,
    forget: bool,
    json_target: str | None,
) -> int:
    """Race the variants of BUNDLE with several numbers of threads, and remember the fastest.

    `edgecv.load` and every command then use it on this CPU for these bytes, unless a variant or an
    engine is named. Each candidate runs in a process of its own, and they take turns; one that
    fails is told, and the others go on.
    """
    from edgecv import tuned
    from edgecv.bench.limits import Limits
    from edgecv.bench.tuning import tune
    from edgecv.bundle import is_bundle, open_bundle
    from edgecv.cli.bench_matrix import images

    if not is_bundle(bundle):
        raise UsageError(
            "only bundles are tuned: their manifest says which bytes were measured",
            where=str(bundle),
            remedy="make one with edgecv pack or edgecv convert",
        )
    if forget:
        with open_bundle(bundle, verify=False) as opened:
            there = tuned.forget(opened.digest)
        output.console().print("forgotten" if there else "there was nothing to forget")
        return 0
    output.check_target(json_target, [bundle])
    limits = Limits(
        max_latency_ms=max_latency,
        max_memory_bytes=None if max_memory is None else max_memory * 2**20,
        max_drop_points=max_drop,
    )
    screen = output.console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="edgecv-tune-") as scratch:
        found = images(bundle, sources, Path(scratch))
        with screen.status("tuning") as status:
            done = tune(
                bundle, found, goal=goal, limits=limits, seconds=seconds, budget_s=budget,
                progress=status.update,
            )  # fmt: skip
    choices = [choice for choice in (done.choice, done.pinned) if choice is not None]
    places = [] if dry_run else [tuned.write(choice) for choice in choices]
    if done.not_better and not dry_run:
        # Pinned processes would go on with what an earlier search found.
        tuned.forget_pinned(choices[0].digest, done.not_better)
    kept = str(places[0]) if places else None
    output.write_json(json_target, {**done.to_dict(), "kept": kept})
    if json_target != "-":
        _show(done, places)
    return 0


def _show(done: Tuning, places: list[Path]) -> None:
    screen = output.console()
    many = any(c is not None and c.goal == "throughput" for c in (done.choice, done.pinned))
    title = "encoded images to results" if many else "pixels to result"
    table = output.table(
        f"{title}, taking turns", "candidate", "engine",
        "images/s>" if many else "p50 ms>", "speed>", "peak MiB>", "ended",
    )  # fmt: skip
    for s in done.standings:
        table.add_row(
            printable(s.candidate.name),
            s.candidate.backend,
            "-" if not s.p50_ms else f"{1e3 / s.p50_ms:.1f}" if many else f"{s.p50_ms:.2f}",
            "-" if s.speed is None else f"{s.speed:.3f}",
            "-" if s.peak_rss_bytes is None else f"{s.peak_rss_bytes / 2**20:.0f}",
            _ended(s),
        )
    screen.print(table)
    for name, why in done.passed_over.items():
        screen.print(f"passed over: {printable(name)}: {printable(why)}")
    if done.choice is not None:
        _say("chosen", done.choice)
    if done.pinned is not None:
        still = "faster still" if done.choice else "the limits are kept only"
        _say(f"{still} when the process is pinned to the fast CPUs", done.pinned)
        cpus = ",".join(map(str, done.pinned.affinity))
        screen.print(f"run it with: taskset -c {cpus} COMMAND; it is then found by itself")
    for place in places:
        screen.print(f"kept in {place}")
    if not places:
        screen.print("not kept")


def _ended(s: Standing) -> str:
    if s.status in ("lasted", "slower"):
        return printable(s.left) or "lasted"
    return f"{s.status}: {printable(s.left)}"


def _say(what: str, choice: Choice) -> None:
    screen = output.console()
    plan = choice.plan
    how = str(plan) if choice.goal == "throughput" else f"{plan.threads} thread(s)"
    screen.print(f"{what} for {choice.goal}: {printable(choice.variant)} ({choice.engine}), {how}")
    p50, rate = choice.measured["p50_ms"], choice.measured["throughput"]
    screen.print(
        f"measured: p50 {p50:.2f} ms, {rate:.1f} results/s ({choice.measured['validity']})"
    )
