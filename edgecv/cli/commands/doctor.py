"""``edgecv doctor``: say what this machine can run, and what is missing."""

from __future__ import annotations

from importlib.util import find_spec

import click

from edgecv.cli import output

_TOOLS = {
    "faster_coco_eval": ("eval", "mAP in `edgecv eval`"),
    "yaml": ("eval", "data.yaml, and metadata.yaml beside OpenVINO models"),
}


@click.command("doctor")
@click.option("--json", "json_target", metavar="FILE|-", help="Write everything as JSON.")
def command(json_target: str | None) -> int:
    """Show engines, versions, CPU features and usable CPUs, and how to get what is missing.

    The exit status is 1 if no engine is installed.
    """
    from rich.text import Text

    from edgecv.bench.environment import environment
    from edgecv.engines import load_backend

    facts = environment()
    tools = {name: find_spec(name) is not None for name in _TOOLS}
    output.write_json(json_target, {**facts, "tools": tools})
    usable = any(version for name, version in facts["engines"].items() if name != "null")
    if json_target == "-":
        return 0 if usable else 1
    screen = output.console()
    machine = output.table("machine", "what", "value")
    memory = facts["memory_bytes"]
    features = facts["cpu_features"]
    rows = {
        "edgecv": f"{facts['edgecv']} on Python {facts['python']}, {facts['machine']}",
        "board": facts["board"] or "unknown",
        "CPU": facts["cpu"] or "unknown",
        "features": ", ".join(features) if features else "none that matter, or unreadable",
        "usable CPUs": str(facts["usable_cpus"]),
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "unknown",
        "governor": facts["governor"] or "not readable here",
        "libraries": ", ".join(f"{n} {v}" for n, v in facts["libraries"].items()),
    }
    for what, value in rows.items():
        machine.add_row(what, value)
    screen.print(machine)
    engines = output.table("engines", "backend", "opens", "version", "how to get it")
    for name, version in facts["engines"].items():
        backend = load_backend(name)
        package = f"edgecv[{backend.EXTRA}]" if backend.EXTRA else "edgecv"
        remedy = f"pip install '{package}'"
        engines.add_row(
            name,
            " ".join(backend.SUFFIXES),
            version or Text("not installed", "yellow"),
            "" if version else remedy,
        )
    screen.print(engines)
    for name, present in tools.items():
        if not present:
            extra, use = _TOOLS[name]
            screen.print(f"{name} is missing ({use}): pip install 'edgecv[{extra}]'")
    return 0 if usable else 1
