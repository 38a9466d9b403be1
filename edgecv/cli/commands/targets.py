"""``edgecv targets``: what is known about boards, and which one this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgecv import targets
from edgecv.cli import output
from edgecv.errors import UsageError

if TYPE_CHECKING:
    from edgecv.targets.target import Advice, Avoid, Target, Watts


@click.command("targets")
@click.argument("name", required=False)
@click.option("--detect", is_flag=True, help="Say which target this machine is, and why.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write everything as JSON.")
def command(name: str | None, detect: bool, json_target: str | None) -> int:
    """List the targets; show the target NAME in full; or find out which one this machine is.

    With --detect the exit status is 1 if it is none of them.
    """
    if name is not None and detect:
        raise UsageError("NAME and --detect exclude each other", where="targets")
    output.check_target(json_target)
    if detect:
        return _detect(json_target)
    if name is not None:
        target = targets.load(name)
        output.write_json(json_target, target.to_dict())
        if json_target != "-":
            _show(target)
        return 0
    found = [targets.load(each) for each in targets.names()]
    output.write_json(json_target, [target.to_dict() for target in found])
    if json_target != "-":
        _list(found)
    return 0


def _list(found: list[Target]) -> None:
    table = output.table(
        "targets", "name", "what", "CPU", "memory MiB>", "features", "try first", "idle W>",
        "load W>",
    )  # fmt: skip
    for target in found:
        table.add_row(
            target.name,
            target.title,
            target.cpu.name,
            _range(target.memory_mib),
            " ".join(target.cpu.features),
            _advice(target.precisions[0]),
            _figure(target.power.idle),
            _figure(target.power.load),
        )
    output.console().print(table)


def _show(target: Target) -> None:
    table = output.table(f"{target.name}: {target.title}", "what", "value")
    cpu = target.cpu
    facts = [cpu.name, cpu.architecture]
    facts += [f"{cpu.cores} cores"] if cpu.cores else []
    facts += [f"{cpu.mhz} MHz"] if cpu.mhz else []
    table.add_row("CPU", ", ".join(facts))
    table.add_row("features", ", ".join(cpu.features))
    if cpu.features_sometimes:
        table.add_row("on some", ", ".join(cpu.features_sometimes))
    table.add_row("memory", f"{_range(target.memory_mib)} MiB")
    for system in target.systems:
        table.add_row("system", f"{system.os}: Python {system.python}, glibc {system.glibc}")
    for item in target.precisions:
        table.add_row("worth trying", f"{_advice(item)}: {item.why}")
    for avoid in target.avoid:
        table.add_row("avoid", f"{_advice(avoid)}, {avoid.cause}: {avoid.why}")
    for name, engine in target.engines.items():
        table.add_row("engine", name if engine.runs else f"{name} does not run: {engine.reason}")
        for trap in engine.traps:
            table.add_row("trap", f"{name}: {trap}")
    for trap in target.traps:
        table.add_row("trap", trap)
    for state, watts in (("idle", target.power.idle), ("load", target.power.load)):
        table.add_row(state, _watts(watts))
        for source in watts.sources:
            table.add_row("source", source)
    thermal = target.thermal
    if thermal.throttle_start_c is None:
        table.add_row("throttles", f"unknown: {thermal.reason}")
    else:
        note = f" {thermal.note}" if thermal.note else ""
        table.add_row("throttles", f"from {thermal.throttle_start_c:g} degrees Celsius.{note}")
    for source in (*thermal.sources, *target.sources):
        table.add_row("source", source)
    output.console().print(table)


def _detect(json_target: str | None) -> int:
    found = targets.detect()
    output.write_json(json_target, found.to_dict())
    if json_target != "-":
        screen = output.console()
        title = "none of the targets"
        if found.target is not None:
            title = f"{found.target}: {targets.load(found.target).title}"
        screen.print(title)
        for reason in found.why:
            screen.print(f"  {reason}")
        table = output.table("why it is no other", "target", "reason")
        for name, reason in found.others.items():
            table.add_row(name, reason)
        screen.print(table)
    return 0 if found.target is not None else 1


def _advice(item: Advice | Avoid) -> str:
    return f"{item.precision} ({', '.join(item.backends)})" if item.backends else item.precision


def _range(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _figure(watts: Watts) -> str:
    return "-" if watts.watts is None else f"{watts.watts:g} ± {watts.uncertainty:g}"


def _watts(watts: Watts) -> str:
    if watts.watts is None:
        return f"unknown: {watts.reason}"
    return f"{_figure(watts)} W: {watts.basis}"
