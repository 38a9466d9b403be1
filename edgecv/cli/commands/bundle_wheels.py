"""``edgecv bundle-wheels``: everything that is installed on a board, in one folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from edgecv import targets
from edgecv.cli import output
from edgecv.errors import UsageError


@click.command("bundle-wheels")
@click.option("--target", "name", required=True, help="For which; see `edgecv targets`.")
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder that is made; it must not hold anything.",
)
@click.option(
    "--os",
    "system",
    metavar="TEXT",
    help="Part of the system's name, such as trixie; default: the target's usual one.",
)
@click.option(
    "--extra",
    "extras",
    multiple=True,
    metavar="NAME",
    help="Extra of edgecv to add, such as litert; may be repeated.",
)
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, dir_okay=False),
    help="edgecv's own wheel, which is added; `pip wheel --no-deps .` in a checkout makes it.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Take the wheels from this folder, and ask no network.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the listing as JSON.")
def command(
    name: str,
    folder: Path,
    system: str | None,
    extras: tuple[str, ...],
    wheel: Path | None,
    source: Path | None,
    json_target: str | None,
) -> None:
    """Collect the wheels of a target into a folder, with hashes and an install script.

    pip downloads them from its index, so this needs the network; the board then does not. What is
    not a wheel is refused: nothing is built.
    """
    from edgecv.cli import wheelhouse
    from edgecv.targets.planning import find_system

    output.check_target(json_target)
    target = targets.load(name)
    chosen = find_system(target, system)
    wanted = wheelhouse.requirements(extras)
    wheelhouse.check_folder(folder)
    if wheel is not None and not (wheel.is_file() and wheel.name.startswith("edgecv-")):
        raise UsageError("", where=f"--wheel {wheel}", expected="edgecv-VERSION-py3-none-any.whl")
    wheels = folder / wheelhouse.WHEELS
    wheels.mkdir(parents=True)
    try:
        with output.console(stderr=True).status(f"collecting wheels for {chosen.os}"):
            wheelhouse.download(wheels, target, chosen, wanted, source)
    except BaseException:
        shutil.rmtree(wheels)
        raise
    listing = wheelhouse.write(folder, target, chosen, wheel)
    output.write_json(json_target, listing)
    if json_target == "-":
        return
    table = output.table(f"{target.title}, {chosen.os}", "wheel", "MB>", "sha256")
    for item in listing["wheels"]:
        table.add_row(item["file"], f"{item['bytes'] / 1e6:.2f}", item["sha256"][:16])
    screen = output.console()
    screen.print(table)
    screen.print(f"{folder}: {listing['bytes'] / 1e6:.1f} MB; on the board: sh install.sh")
    if wheel is None:
        screen.print("edgecv itself is not in it: give its wheel with --wheel")
