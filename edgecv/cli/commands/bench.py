"""``edgecv bench``: measure a model on this machine."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from edgecv import plugins
from edgecv.cli import output, remote_bench
from edgecv.cli.options import hint_options, trusted_option
from edgecv.errors import UsageError
from edgecv.hints import Hints

SCENARIOS = (*plugins.names("bench.scenarios"), "cold")


@click.command("bench", cls=remote_bench.Command)
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
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice([*SCENARIOS, "all"]),
    help="How images arrive; may be repeated. Default: single.",
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
    "--streams",
    default="",
    metavar="N[,N]",
    help="Images at the same time in multistream (default 2) and server (default 1).",
)
@click.option(
    "--rate", "rate_hz", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Arrivals a second in server; default: 60 % of what was reached while warming up.",
)  # fmt: skip
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Frames a second in camera; default: 30.",
)  # fmt: skip
@click.option(
    "--duration",
    default="smoke",
    show_default=True,
    metavar="NAME|SECONDS",
    help="Of each result, over all its processes: smoke (10 s), standard (60 s), mlperf (600 s).",
)
@click.option(
    "--warmup",
    "warmup_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 600),
    help="Seconds before it, in each process.",
)
@click.option(
    "--processes",
    default=3,
    show_default=True,
    type=click.IntRange(1, 50),
    help="Fresh processes that share the duration.",
)
@click.option(
    "--cold-starts",
    type=click.IntRange(1, 100),
    help="Processes whose time to the first result is taken, those above among them. Default: 3, "
    "and 6 in cold.",
)
@click.option("--target", help="Which board this is, for its table; default: it is recognised.")
@click.option(
    "--calibration", type=click.Path(path_type=Path), metavar="FILE",
    help="Of this board, made by `edgecv calibrate-energy`.",
)  # fmt: skip
@click.option(
    "--usb-log", type=click.Path(path_type=Path), metavar="FILE",
    help="CSV that a USB power meter is logging meanwhile.",
)  # fmt: skip
@click.option(
    "--host", "hosts", multiple=True, metavar="ssh://USER@BOARD[:PORT]",
    help="Measure there, over SSH; may be repeated, which makes a table of a fleet.",
)  # fmt: skip
@click.option(
    "--remote-python", default="python3", show_default=True, metavar="PATH",
    help="Python on --host, in which edgecv's dependencies are installed.",
)  # fmt: skip
@click.option("--progress-lines", is_flag=True, hidden=True, help="Say how far it is, for --host.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the report as JSON.")
@click.option(
    "--html", "html_target", type=click.Path(path_type=Path), metavar="FILE",
    help="Write it as one page, charts inside.",
)  # fmt: skip
@click.option("--markdown", "markdown_target", metavar="FILE|-", help="Write it as Markdown.")
@click.option("--csv", "csv_target", metavar="FILE|-", help="Write one line for each result.")
@click.option("--force", is_flag=True, help="Replace the page if it exists.")
@click.option(
    "--compare", "compared", type=click.Path(path_type=Path), metavar="FILE",
    help="Compare with a saved JSON report.",
)  # fmt: skip
@click.option(
    "--gate", "baseline", type=click.Path(path_type=Path), metavar="FILE",
    help="Exit with 1 if anything is significantly worse than in this report.",
)  # fmt: skip
@click.option(
    "--tolerance",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Worsening that the gate lets pass, as a part.",
)
def command(
    model: Path,
    hints: Hints,
    trusted: bool,
    sources: tuple[str, ...],
    scenarios: tuple[str, ...],
    variant: str | None,
    backend: str | None,
    threads: str,
    streams: str,
    rate_hz: float | None,
    fps: float | None,
    duration: str,
    warmup_s: float,
    processes: int,
    cold_starts: int | None,
    target: str | None,
    calibration: Path | None,
    usb_log: Path | None,
    hosts: tuple[str, ...],
    remote_python: str,
    progress_lines: bool,
    json_target: str | None,
    html_target: Path | None,
    markdown_target: str | None,
    csv_target: str | None,
    force: bool,
    compared: Path | None,
    baseline: Path | None,
    tolerance: float,
) -> int:
    """Measure MODEL: cold start, latency of each stage, throughput, memory and energy.

    Every configuration runs in fresh processes, on real images, while the machine is watched, and
    each result says how far it can be believed. A configuration that fails is reported, and the
    exit status is 1; so it is where --gate finds a regression.
    """
    from edgecv.bench import usb_log as log_of_usb
    from edgecv.bench.calibration import Calibration
    from edgecv.bench.cell import Settings
    from edgecv.bench.environment import environment
    from edgecv.bench.report import SCHEMA, Report
    from edgecv.bench.saved import read
    from edgecv.cli import bench_matrix as matrix
    from edgecv.cli import bench_outputs, bench_progress

    counts = matrix.numbers(threads, "--threads")
    several = [n for n in matrix.numbers(streams, "--streams") if n is not None]
    if streams and not {"multistream", "server", "all"} & set(scenarios):
        raise UsageError(
            "only multistream and server work on several images at once",
            where="--streams",
            remedy="add --scenario multistream",
        )
    for option, value, scenario in (("--rate", rate_hz, "server"), ("--fps", fps, "camera")):
        if value is not None and not {scenario, "all"} & set(scenarios):
            raise UsageError(
                f"only {scenario} keeps it", where=option, remedy=f"add --scenario {scenario}"
            )
    settings = Settings(
        duration_s=matrix.seconds(duration),
        warmup_s=warmup_s,
        processes=processes,
        cold_starts=cold_starts or Settings().cold_starts,
    )
    read_from = (model, compared, baseline, calibration, usb_log)
    inputs = [path for path in read_from if path is not None]
    output.check_target(json_target, inputs)
    bench_outputs.check_outputs(html_target, markdown_target, csv_target, inputs, overwrite=force)
    before = None if compared is None else read(compared)
    held = None if baseline is None else read(baseline)
    if not model.exists():
        raise UsageError("no such file or folder", where=str(model))
    screen = output.console(stderr=True)
    if hosts:
        single = {"--html": html_target, "--csv": csv_target, "--compare": before, "--gate": held}
        remote_bench.check(hosts, usb_log, [name for name, given in single.items() if given])
        found = remote_bench.measure(model, sources, hosts, remote_python, settings.duration_s)
        if len(found) > 1:
            return remote_bench.write_fleet(found, json_target, markdown_target)
        report = remote_bench.only(found)
    else:
        if usb_log is not None:
            log_of_usb.read(usb_log)
        fitted = None if calibration is None else Calibration.read_here(calibration)
        board, notes = matrix.board_power(target)
        for note in notes:
            screen.print(f"note: {note}")
        if target is not None:
            matrix.print_plan(model, target, screen)
        asked = SCENARIOS if "all" in scenarios else tuple(dict.fromkeys(scenarios)) or ("single",)
        with tempfile.TemporaryDirectory(prefix="edgecv-bench-") as scratch:
            pictures = matrix.images(model, sources, Path(scratch))
            laid_out = [
                cell
                for scenario in asked
                for cell in matrix.cells(
                    model,
                    hints,
                    trusted=trusted or scenario != asked[0],
                    variant=variant,
                    backend=backend,
                    scenarios=[scenario],
                    threads=counts,
                    streams=several or ([2] if scenario == "multistream" else [1]),
                )
            ]
            rates = {"server": rate_hz, "camera": fps}
            growing = bench_progress.GrowingTable(screen)
            with growing.shown():
                results, failures = bench_progress.measure_all(
                    laid_out,
                    pictures,
                    settings,
                    rates,
                    bench_progress.Lines() if progress_lines else growing,
                    usual_starts=cold_starts is None,
                    board=board,
                    calibration=fitted,
                    usb_log=usb_log,
                )
        report = Report(
            schema=SCHEMA,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=matrix.subject(model),
            settings={**settings.to_dict(), "rate_hz": rate_hz, "fps": fps},
            environment=environment(),
            results=tuple(results),
            failures=tuple(failures),
        )
    output.write_json(json_target, report.to_dict(), inputs)
    bench_outputs.write_outputs(
        report, before, html_target, markdown_target, csv_target, inputs, overwrite=force
    )
    if "-" not in (json_target, markdown_target, csv_target):
        bench_outputs.print_report(report, before, output.console())
    status = 0 if report.results and not report.failures else 1
    if held is not None:
        status = max(status, bench_outputs.print_gate(held, report, tolerance, screen))
    return status
