"""``edgecv bench``: measure a model on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from edgecv import plugins
from edgecv.cli import output
from edgecv.cli.options import hint_options, trusted_option
from edgecv.errors import EdgecvError, UsageError
from edgecv.hints import Hints

_STAGES = ("decode", "preprocess", "infer", "postprocess")


@click.command("bench")
@click.argument("model", type=click.Path(path_type=Path))
@hint_options
@trusted_option
@click.option(
    "--data",
    "sources",
    multiple=True,
    metavar="IMAGES",
    help="Image, folder or glob; may be repeated. Default: the bundle's golden images.",
)
@click.option("--variant", help="Only this variant; default: every one that can run here.")
@click.option(
    "--backend",
    type=click.Choice([*plugins.names("backends"), "all"]),
    help="Only this engine; `all` for every one that opens a bare file.",
)
@click.option(
    "--threads",
    default="",
    metavar="N[,N]",
    help="Threads to measure with; default: the CPUs this process may use.",
)
@click.option(
    "--duration",
    "duration_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    help="Seconds of each steady run.",
)
@click.option(
    "--warmup",
    "warmup_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 600),
    help="Seconds before it.",
)
@click.option(
    "--cold-starts",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Processes started to measure the time to the first result.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the report as JSON.")
def command(
    model: Path,
    hints: Hints,
    trusted: bool,
    sources: tuple[str, ...],
    variant: str | None,
    backend: str | None,
    threads: str,
    duration_s: float,
    warmup_s: float,
    cold_starts: int,
    json_target: str | None,
) -> int:
    """Measure MODEL: cold start, latency of each stage, throughput and peak memory.

    Every configuration runs in processes of its own, on real images, and each result says how far
    it can be believed. A configuration that fails is reported, and the exit status is 1.
    """
    from edgecv.bench import runner
    from edgecv.bench.environment import environment

    counts = _threads(threads)
    output.check_target(json_target, [model])
    if not model.exists():
        raise UsageError("no such file or folder", where=str(model))
    screen = output.console(stderr=True)
    results, failures = [], []
    with tempfile.TemporaryDirectory(prefix="edgecv-bench-") as scratch:
        images = _images(model, sources, Path(scratch))
        cells = _cells(model, hints, trusted, variant, backend, counts)
        for cell in cells:
            name = cell.load.get("variant") or cell.load.get("backend") or model.name
            try:
                with screen.status(name) as status:
                    results.append(
                        runner.measure(
                            cell,
                            images,
                            duration_s=duration_s,
                            warmup_s=warmup_s,
                            cold_starts=cold_starts,
                            progress=status.update,
                        )
                    )
            except EdgecvError as error:
                failures.append({"cell": name, "error": error.message})
                click.echo(f"error: {name}: {error}", err=True)
    report = {
        "schema": runner.SCHEMA,
        "model": model.name,
        "environment": environment(),
        "results": results,
        "failures": failures,
    }
    output.write_json(json_target, report)
    if results and json_target != "-":
        _print(model, results)
    return 1 if failures or not results else 0


def _threads(text: str) -> list[int | None]:
    if not text:
        return [None]
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise UsageError("", where="--threads", expected="numbers such as 1,2,4", got=repr(text))
    return list(counts)


def _images(model: Path, sources: tuple[str, ...], scratch: Path) -> list[Path]:
    """List the images to run on: the user's, or the golden ones of the bundle."""
    from edgecv.bundle import is_bundle, open_bundle
    from edgecv.image_files import expand

    if sources:
        return expand(sources)
    if is_bundle(model):
        with open_bundle(model) as bundle:
            images = []
            for i, golden in enumerate(bundle.manifest.golden):
                place = scratch / f"{i:03d}-{Path(golden.image.path).name}"
                place.write_bytes(bundle.read(golden.image))
                images.append(place)
        if images:
            return images
    raise UsageError(
        "there is nothing to measure with",
        where=str(model),
        expected="real images: random pixels would not exercise suppression",
        remedy="name some with --data",
    )


def _cells(
    model: Path,
    hints: Hints,
    trusted: bool,
    variant: str | None,
    backend: str | None,
    counts: list[int | None],
) -> list[Any]:
    """Lay out the matrix: variants or backends, times threads."""
    from edgecv.bench.runner import Cell
    from edgecv.bundle import is_bundle, open_bundle
    from edgecv.engines import backends_for, choose_backend, find_model_file, why_not
    from edgecv.loading import choose_variant

    chosen: list[tuple[dict[str, Any], str | None]] = []
    if is_bundle(model):
        if hints.given():
            raise UsageError(
                f"a bundle says itself how it is fed and read: {', '.join(hints.given())}",
                where=str(model),
                remedy="pack the model file anew with these options",
            )
        with open_bundle(model) as bundle:
            manifest = bundle.manifest
        wanted = None if backend == "all" else backend
        if variant is not None:
            variants = [choose_variant(manifest, variant, wanted)[0]]
        else:
            choose_variant(manifest, None, wanted)
            variants = [
                v
                for v in manifest.variants
                if wanted in (None, v.backend) and why_not(v.backend, v.precision) is None
            ]
        chosen = [({"variant": v.id}, v.precision) for v in variants]
    else:
        if variant is not None:
            raise UsageError("a bare model file has no variants", where=str(model))
        path = find_model_file(model)
        if backend == "all":
            names = [name for name in backends_for(path) if why_not(name) is None]
        else:
            names = [choose_backend(path, backend)]
        if not trusted:
            from edgecv.probe import probe

            for name in names:
                probe(path, name)
        chosen = [({"backend": name}, None) for name in names]
    said = hints if hints.given() else None
    return [
        Cell(model, {**load, "threads": count}, said, precision)
        for load, precision in chosen
        for count in counts
    ]


def _print(model: Path, results: list[dict[str, Any]]) -> None:
    columns = ("variant", "ran in", "threads>")
    table = output.table(
        str(model), *columns, "cold start>", "p50>", "p90>", "p99>", "images/s>", "peak RSS>"
    )
    stages = output.table("stages, p50", *columns[::2], *(f"{stage}>" for stage in _STAGES))
    for result in results:
        latency = result["latency_ms"]
        peak = result["memory_bytes"]["peak_rss"]
        doubt = "*" if result["validity"]["reasons"] else ""
        name, threads = result["variant"] + doubt, str(result["threads"])
        table.add_row(
            name,
            result["precision_actual"] or "-",
            threads,
            f"{result['cold_start_ms']['p50']:.0f}",
            *(_ms(latency["total"][q]) for q in ("p50", "p90", "p99")),
            f"{result['throughput']:.1f}",
            f"{peak / 2**20:.0f} MiB" if peak else "-",
        )
        stages.add_row(name, threads, *(_ms(latency[stage]["p50"]) for stage in _STAGES))
    screen = output.console()
    screen.print(table)
    screen.print(stages)
    screen.print("milliseconds, decoding included; - means too few samples to say")
    for result in results:
        for reason in result["validity"]["reasons"]:
            screen.print(f"* {result['variant']}, {result['threads']} thread(s): {reason}")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
