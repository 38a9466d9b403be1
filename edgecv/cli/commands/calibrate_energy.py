"""``edgecv calibrate-energy``: fit this board's power to its load, from a meter."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from edgecv.cli import output


@click.command("calibrate-energy")
@click.option(
    "-o", "--output", "target", required=True, metavar="FILE", help="Where the calibration goes."
)
@click.option(
    "--usb-log", type=click.Path(path_type=Path), metavar="FILE",
    help="CSV that a USB power meter is logging meanwhile; default: a meter of the board.",
)  # fmt: skip
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.2, 600),
    help="Of each step.",
)
@click.option(
    "--settle",
    "settle_s",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0, 600),
    help="Seconds that pass before each.",
)
def command(target: str, usb_log: Path | None, seconds: float, settle_s: float) -> int:
    """Load the CPUs step by step, read the meter, and fit a line: watts = a + b x busy CPUs.

    `edgecv bench --calibration FILE` then tells energies on this board without the meter.
    """
    from edgecv import host
    from edgecv.bench import calibration, environment
    from edgecv.bench.recorder import Recorder
    from edgecv.schema import to_json

    output.check_target(target, [p for p in (usb_log,) if p is not None], "--output")
    screen = output.console(stderr=True)
    with Recorder(usb_log=usb_log) as recorder, screen.status("calibrating") as status:
        steps = calibration.measure(
            recorder, seconds=seconds, settle_s=settle_s, progress=status.update
        )
    assert recorder.origin is not None  # or measure had failed
    source = recorder.origin.source
    found = calibration.Calibration(
        schema=calibration.SCHEMA,
        board=environment.board() or host.cpu_model() or calibration.UNKNOWN,
        cpu=host.cpu_model(),
        cores=host.usable_cpus(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        meter=source,
        scope=recorder.origin.scope,
        steps=tuple(steps),
        **calibration.fit(steps),
    )
    with output.json_stream(target, option="--output") as file:
        if file is not None:
            file.write(to_json(found).decode())
    table = output.table(f"{found.board}, {source}", "busy CPUs>", "watts>", "the line says>")
    for busy, watts in steps:
        fitted = found.idle_w + found.watts_per_cpu * busy
        table.add_row(f"{busy:.2f}", f"{watts:.3f}", f"{fitted:.3f}")
    show = output.console()
    show.print(table)
    show.print(
        f"watts = {found.idle_w:.3f} (+- {found.idle_ci_w:.3f}) + {found.watts_per_cpu:.3f} "
        f"(+- {found.watts_per_cpu_ci:.3f}) x busy CPUs; off by {found.left_out_w:.3f} W at steps "
        "that it was not fitted to"
    )
    return 0
