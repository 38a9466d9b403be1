"""What ``edgecv bench`` measures: the cells of its matrix, its images, the board's power."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.bench.cell import DURATIONS, Cell
from edgecv.bench.report import Subject
from edgecv.errors import UsageError
from edgecv.hints import Hints

if TYPE_CHECKING:
    from rich.console import Console

    from edgecv.bench.energy import BoardPower


def numbers(text: str, option: str) -> list[int | None]:
    """Parse ``1,2,4``; nothing is [None].

    Raises:
        UsageError: anything else.
    """
    if not text:
        return [None]
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise UsageError("", where=option, expected="numbers such as 1,2,4", got=repr(text))
    return list(counts)


def seconds(text: str) -> float:
    """Parse a duration: a name, or seconds.

    Raises:
        UsageError: neither, or not between 0.1 and 3600 seconds.
    """
    try:
        found = DURATIONS[text] if text in DURATIONS else float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 3600:
        named = ", ".join(f"{name} ({value:g} s)" for name, value in DURATIONS.items())
        raise UsageError(
            "", where="--duration", expected=f"{named}, or 0.1 to 3600 seconds", got=repr(text)
        )
    return found


def images(model: Path, sources: tuple[str, ...], scratch: Path) -> list[Path]:
    """List the images to run on: the user's, or the golden ones of the bundle.

    Raises:
        UsageError: there are none; random pixels would not do.
    """
    from edgecv.bundle import is_bundle, open_bundle
    from edgecv.image_files import expand

    if sources:
        return expand(sources)
    if is_bundle(model):
        with open_bundle(model) as bundle:
            found = []
            for i, golden in enumerate(bundle.manifest.golden):
                place = scratch / f"{i:03d}-{Path(golden.image.path).name}"
                place.write_bytes(bundle.read(golden.image))
                found.append(place)
        if found:
            return found
    raise UsageError(
        "there is nothing to measure with",
        where=str(model),
        expected="real images: random pixels would not exercise suppression",
        remedy="name some with --data",
    )


def cells(
    model: Path,
    hints: Hints,
    *,
    trusted: bool,
    variant: str | None,
    backend: str | None,
    scenarios: Sequence[str],
    threads: Sequence[int | None],
    streams: Sequence[int],
) -> list[Cell]:
    """Lay out the matrix: scenarios times variants or backends times threads times streams.

    Streams matter to ``multistream`` and ``server`` only; the others get one.

    Raises:
        UsageError: options that do not fit the model.
        BackendError: an engine is missing.
    """
    from edgecv.bundle import is_bundle

    lay_out = _of_bundle if is_bundle(model) else _of_file
    chosen = lay_out(model, hints, trusted, variant, backend)
    said = hints if hints.given() else None
    return [
        Cell(
            model=model,
            load={**load, "threads": count},
            hints=said,
            scenario=scenario,
            streams=several,
            asked_precision=precision,
            accuracy=accuracy,
        )
        for scenario in scenarios
        for load, precision, accuracy in chosen
        for count in threads
        for several in (streams if scenario in ("multistream", "server") else (1,))
    ]


Choice = tuple[dict[str, Any], str | None, dict[str, float]]


def _of_bundle(
    model: Path, hints: Hints, trusted: bool, variant: str | None, backend: str | None
) -> list[Choice]:
    from edgecv.bench.limits import accuracy
    from edgecv.bundle import open_bundle
    from edgecv.engines import why_not
    from edgecv.variants import choose_variant

    del trusted
    if hints.given():
        raise UsageError(
            f"a bundle says itself how it is fed and read: {', '.join(hints.given())}",
            where=str(model),
            remedy="pack the model file anew with these options",
        )
    with open_bundle(model) as bundle:
        manifest = bundle.manifest
    wanted = None if backend == "all" else backend
    if variant not in (None, "all"):
        variants = [choose_variant(manifest, variant, wanted)[0]]
    else:
        choose_variant(manifest, None, wanted)
        variants = [
            v
            for v in manifest.variants
            if wanted in (None, v.backend) and why_not(v.backend, v.precision) is None
        ]
    return [({"variant": v.id}, v.precision, accuracy(manifest, v.id)) for v in variants]


def _of_file(
    model: Path, hints: Hints, trusted: bool, variant: str | None, backend: str | None
) -> list[Choice]:
    from edgecv.engines import backends_for, choose_backend, find_model_file, why_not

    del hints
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
    return [({"backend": name}, None, {}) for name in names]


def subject(model: Path) -> Subject:
    """Say which bytes are measured."""
    from edgecv.bundle import is_bundle, open_bundle
    from edgecv.engines import find_model_file

    if is_bundle(model):
        with open_bundle(model, verify=False) as bundle:
            digest = bundle.digest
            size = sum(entry.bytes for entry in bundle.manifest.files())
        return Subject(name=model.name, sha256=digest, bytes=size)
    path = find_model_file(model)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Subject(name=model.name, sha256=digest, bytes=path.stat().st_size)


def board_power(name: str | None) -> tuple[BoardPower | None, list[str]]:
    """Look up what a board draws, for energies of tier 4.

    Args:
        name: of a target; None recognises this machine.

    Returns:
        Its power, or None where there is no figure; and what a user should know about it.

    Raises:
        UsageError: there is no such target.
    """
    from edgecv import targets
    from edgecv.bench.energy import BoardPower

    found = targets.detect()
    notes = []
    if name is None:
        if found.target is None:
            return None, []
        name = found.target
    elif name != found.target:
        here = found.target or "none of the targets"
        notes.append(
            f"this machine is {here}, not {name}: speeds are this machine's, and no energy is told "
            f"from the table of {name}"
        )
    target = targets.load(name)
    if notes:
        return None, notes
    idle, load, cores = target.power.idle, target.power.load, target.cpu.cores
    if None in (idle.watts, load.watts, idle.uncertainty, load.uncertainty, cores):
        return None, notes
    return (
        BoardPower(
            name=target.title,
            cores=cores or 1,
            idle_w=idle.watts or 0.0,
            idle_uncertainty_w=idle.uncertainty or 0.0,
            load_w=load.watts or 0.0,
            load_uncertainty_w=load.uncertainty or 0.0,
        ),
        notes,
    )


def print_plan(model: Path, name: str, screen: Console) -> None:
    """Print which variants of a bundle run on a target; of a bare model nothing is known."""
    from edgecv import targets
    from edgecv.bundle import is_bundle, open_bundle
    from edgecv.cli.deployment import variants_table
    from edgecv.targets.planning import plan

    if is_bundle(model):
        with open_bundle(model, verify=False) as bundle:
            screen.print(variants_table(plan(bundle.manifest, targets.load(name))))
