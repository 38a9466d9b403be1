"""``edgecv plan``: what a bundle will do on a board that is not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecv import targets
from edgecv.bundle import is_bundle, open_bundle
from edgecv.cli import output
from edgecv.cli.deployment import variants_table
from edgecv.errors import UsageError

if TYPE_CHECKING:
    from edgecv.targets.planning import Deployment


@click.command("plan")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", "name", required=True, help="Where it is to run; see `edgecv targets`.")
@click.option(
    "--os",
    "system",
    metavar="TEXT",
    help="Part of the system's name, such as trixie; default: the target's usual one.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the plan as JSON.")
def command(bundle: Path, name: str, system: str | None, json_target: str | None) -> int:
    """Say which variants of BUNDLE will run on a target and which will not, and what to install.

    Nothing is run and nothing is downloaded. The exit status is 1 if no variant will run.
    """
    from edgecv.targets.planning import find_system, plan

    output.check_target(json_target, [bundle])
    target = targets.load(name)
    if not bundle.exists():
        raise UsageError("no such file or folder", where=str(bundle))
    if not is_bundle(bundle):
        raise UsageError(
            "not a bundle",
            where=str(bundle),
            remedy="edgecv pack makes one from a model file, edgecv convert a proven one",
        )
    with open_bundle(bundle) as opened:
        made = plan(opened.manifest, target, find_system(target, system))
    output.write_json(json_target, made.to_dict())
    if json_target != "-":
        _print(made)
    return 0 if made.chosen is not None else 1


def _print(made: Deployment) -> None:
    screen = output.console()
    screen.print(variants_table(made))
    if made.chosen is None:
        screen.print("no variant will run there")
    else:
        screen.print("* what edgecv takes there, with every engine installed that the bundle has")
        if made.chosen_base != made.chosen:
            screen.print(f"with the base install alone: {made.chosen_base or 'none'}")
    for basis in dict.fromkeys(variant.memory.basis for variant in made.variants):
        screen.print(f"peak: {basis}")
    wheels = output.table(
        f"wheels, looked up on {made.wheels_checked}", "part", "package", "version", "MB>", "here",
        "note",
    )  # fmt: skip
    for package in made.packages:
        wheels.add_row(
            package.part,
            package.project,
            package.version or "-",
            "-" if package.megabytes is None else f"{package.megabytes:.2f}",
            package.here or "-",
            package.reason or "",
        )
    for part, megabytes in made.megabytes.items():
        wheels.add_row(part, "together", "", f"{megabytes:.1f}", "", "")
    screen.print(wheels)
    for trap in made.traps:
        screen.print(f"trap: {trap}")
    for note in made.notes:
        screen.print(f"note: {note}")
