"""The ladder in words: what the terminal, the page and the Markdown table all say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecv.converters.report.document import Conversion, LabelledSet, Rung
from edgecv.page import printable

NOTHING = "-"
AGREEMENT = "agreement"
"""Title of the column that only some ladders have."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the ladder.

    Attributes:
        title: with the unit.
        numeric: aligned to the right.
        cell: words for a rung; `NOTHING` where the value is null.
    """

    title: str
    numeric: bool
    cell: Callable[[Rung], str]


def columns(conversion: Conversion) -> list[Column]:
    """List the columns after those of backend and mark; the reason comes last."""
    made = [
        Column("variant", False, lambda rung: printable(rung.variant)),
        Column(printable(conversion.metric), True, lambda rung: value(rung.metric)),
        Column("drop, points", True, drop),
        Column("ms", True, lambda rung: milliseconds(rung.latency_ms)),
        Column("speed-up", True, lambda rung: speedup(rung.speedup)),
        Column("MiB", True, lambda rung: mebibytes(rung.size_bytes)),
    ]
    if any(rung.agreement is not None for rung in conversion.rungs):
        made.append(Column(AGREEMENT, True, lambda rung: percent(rung.agreement)))
    made += [Column("recipe", False, recipe), Column("reason", False, reason)]
    return made


def by_backend(conversion: Conversion) -> dict[str, list[Rung]]:
    """Group the rungs by backend, both in the document's order."""
    groups: dict[str, list[Rung]] = {}
    for rung in conversion.rungs:
        groups.setdefault(rung.backend, []).append(rung)
    return groups


def pareto(rungs: Sequence[Rung]) -> list[Rung]:
    """List the rungs that no other beats in metric and latency at once, fastest first.

    A rung without either number is left out; of equals the first stays.
    """
    front: list[Rung] = []
    measured = [rung for rung in rungs if rung.metric is not None and rung.latency_ms is not None]
    for rung in sorted(measured, key=lambda rung: (rung.latency_ms or 0, -(rung.metric or 0))):
        if not front or (rung.metric or 0) > (front[-1].metric or 0):
            front.append(rung)
    return front


def summary(conversion: Conversion) -> list[str]:
    """Say in a few lines what was found, on which images, and on what machine."""
    reference = conversion.reference
    metric, gate = conversion.metric, conversion.data.gate
    if reference.value is None or gate is None:
        found = f"{metric} was not measured: no labelled images"
        if gate is not None:
            found = f"{metric} of the float reference could not be measured on {labelled(gate)}"
    else:
        interval = f" ({between(reference.ci95)})" if reference.ci95 else ""
        found = f"{metric} {value(reference.value)}{interval} in float on {labelled(gate)}"
    lines = [
        f"{conversion.name} ({conversion.task}): {found}; "
        f"reference {reference.variant} on {reference.backend}"
    ]
    shipped = [rung for rung in conversion.rungs if rung.shipped]
    said = f"{len(shipped)} of {len(conversion.rungs)} rung(s) shipped"
    said += f", {conversion.max_drop:g} points of drop allowed"
    fastest = min(
        (rung for rung in shipped if rung.latency_ms is not None),
        key=lambda rung: rung.latency_ms or 0,
        default=None,
    )
    if fastest is not None:
        said += f"; the fastest of them: {fastest.variant}, {milliseconds(fastest.latency_ms)} ms"
        if fastest.speedup is not None:
            said += f", {speedup(fastest.speedup)} as fast as the reference"
    lines.append(said)
    host = conversion.host
    lines.append(
        "latency: p50 from pixels in memory to the result, one thread, on "
        f"{host['cpu']} ({host['cores']} cores)"
    )
    return [printable(line) for line in lines]


def images(conversion: Conversion) -> list[tuple[str, str]]:
    """Say which images were used for what: (use, images)."""
    data = conversion.data
    calibration = NOTHING
    if data.calibration is not None:
        found = data.calibration
        calibration = f"{found.name}, {found.images} images, sha256 {found.sha256[:12]}"
    gate = NOTHING if data.gate is None else labelled(data.gate)
    card = NOTHING if data.card is None else labelled(data.card)
    if data.card is not None and data.card == data.gate:
        card += " (the same that decided what is shipped)"
    rows = [
        ("calibration: ranges, fixes and layers chosen", calibration),
        ("gate: decided what is shipped, and gave the numbers of the ladder", gate),
        ("card: what the bundle's own numbers were measured on", card),
    ]
    return [(use, printable(text)) for use, text in rows]


def labelled(data: LabelledSet) -> str:
    """Name a labelled set with its split and size."""
    return f"{data.name} {data.split}, {data.images} images"


def recipe(rung: Rung) -> str:
    """Say how a rung was made, and what it really ran in where that is something else."""
    said = rung.recipe or rung.precision
    if rung.graph == "fused":
        said += ", fused"
    if rung.precision_actual and rung.precision_actual != rung.precision:
        said += f", ran in {rung.precision_actual}"
    return printable(said)


def reason(rung: Rung) -> str:
    """Return a rung's reason and its flags."""
    return printable("; ".join(part for part in (rung.reason, *rung.flags) if part))


def drop(rung: Rung) -> str:
    """Write a rung's drop in points, with its interval."""
    if rung.drop is None:
        return NOTHING
    if rung.drop_ci95 is None:
        return points(rung.drop)
    low, high = rung.drop_ci95
    return f"{points(rung.drop)} ({points(low)} to {points(high)})"


def points(number: float) -> str:
    """Write points with two digits; never ``-0.00``."""
    return f"{round(number, 2) + 0.0:.2f}"


def value(number: float | None) -> str:
    """Write a metric."""
    return NOTHING if number is None else f"{number:.3f}"


def between(ends: tuple[float, float] | None) -> str:
    """Write an interval of a metric."""
    return NOTHING if ends is None else f"{value(ends[0])} to {value(ends[1])}"


def milliseconds(number: float | None) -> str:
    """Write a latency with about three digits."""
    if number is None:
        return NOTHING
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def speedup(number: float | None) -> str:
    """Write a ratio of latencies, such as ``1.42x``."""
    return NOTHING if number is None else f"{number:.2f}x"


def mebibytes(number: int | None) -> str:
    """Write a size in MiB, without the unit."""
    return NOTHING if number is None else f"{number / 2**20:.2f}"


def percent(number: float | None) -> str:
    """Write a share of 1 in per cent."""
    return NOTHING if number is None else f"{100 * number:.1f} %"
