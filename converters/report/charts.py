"""The charts of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecv.converters.report.columns import (
    by_backend,
    milliseconds,
    pareto,
    points,
    value,
)
from edgecv.converters.report.document import Conversion, Rung, Sensitivity
from edgecv.page import printable
from edgecv.svg import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    PAPER,
    POINT,
    SERIES,
    new_figure,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LAYERS = 30
"""Layers that the chart of sensitivities shows."""

_MARKERS = ("o", "s", "^", "D", "P")


def scatter(conversion: Conversion, *, narrow: bool = False) -> str:
    """Draw accuracy against latency as SVG: the Pareto front, and how low a rung may be.

    A rung far below the allowed drop is put on the lower edge, with its value, so that those which
    matter stay apart. A rung without metric or latency is not drawn.

    Args:
        conversion: at least one rung has both numbers; see `can_scatter`.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    floor = _floor(conversion)
    spots = _spots(conversion.rungs, floor)
    front = pareto(conversion.rungs)
    with new_figure(narrow, 3.9 if narrow else 4.3) as figure:
        axes = figure.add_subplot()
        _limits(axes, spots, conversion.reference.value)
        _levels(axes, conversion)
        steps = _spots(front, floor)
        axes.step(
            [spot.ms for spot in steps], [spot.metric for spot in steps],
            where="post", color=MUTED, linewidth=1.2, zorder=2, label="Pareto front",
        )  # fmt: skip
        for i, backend in enumerate(by_backend(conversion)):
            color = SERIES[i % len(SERIES)]
            for shipped in (False, True):
                some = [
                    spot
                    for spot in spots
                    if (spot.rung.backend, spot.rung.shipped) == (backend, shipped)
                ]
                axes.scatter(
                    [spot.ms for spot in some], [spot.metric for spot in some],
                    s=46, marker=_MARKERS[i % len(_MARKERS)], linewidths=1.6, edgecolors=color,
                    facecolors=color if shipped else PAPER, zorder=4 if shipped else 3,
                    clip_on=False,
                )  # fmt: skip
            axes.scatter([], [], s=46, marker=_MARKERS[i % len(_MARKERS)], color=color,
                         label=printable(backend))  # fmt: skip
        axes.set_xlabel("latency, ms, one thread")
        axes.set_ylabel(printable(conversion.metric))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=2 if narrow else 5, frameon=False,
            labelcolor=INK, fontsize=9,
        )  # fmt: skip
        figure.draw_without_rendering()  # settles the layout, which the labels' places depend on
        _name_points(axes, spots, figure.dpi / POINT)
        title = f"{conversion.metric} against latency of {len(spots)} rung(s)"
        return to_svg(figure, f"scatter{narrow:d}", title, _describe(conversion, front))


def can_scatter(conversion: Conversion) -> bool:
    """Tell whether a rung has both a metric and a latency."""
    return bool(_spots(conversion.rungs, 0.0))


def bars(layers: Sequence[Sensitivity], *, narrow: bool = False) -> str:
    """Draw the most damaging layers as horizontal bars in SVG, the worst on top.

    Args:
        layers: at least one, in any order.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    worst = most_damaging(layers)
    with new_figure(narrow, 0.8 + 0.2 * max(4, len(worst))) as figure:
        axes = figure.add_subplot()
        places = range(len(worst))
        end = _end(worst)
        axes.barh(
            places, [min(layer.damage, end) for layer in worst], height=0.7,
            color=[ACCENT if layer.float else SERIES[0] for layer in worst],
        )  # fmt: skip
        names = _shorten([printable(layer.layer) for layer in worst], 20 if narrow else 48)
        axes.set_yticks(places, names, fontsize=8)
        axes.set_ylim(max(4, len(worst)) - 0.4, -0.6)
        axes.set_xlabel("damage of this layer alone in int8")
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        for place, layer in zip(places, worst, strict=True):
            if layer.damage > end:
                text = f"{layer.damage:.2g} →"
                axes.annotate(text, (end, place), (-3, 0), textcoords="offset points",
                              ha="right", va="center", fontsize=8, color=PAPER)  # fmt: skip
        axes.set_xlim(min(0.0, *(layer.damage for layer in worst)), end * 1.02)
        floats = [layer.layer for layer in worst if layer.float]
        said = f"The worst is {worst[0].layer}. Left in float: {', '.join(floats) or 'none'}."
        title = f"The {len(worst)} most damaging of {len(layers)} layers"
        return to_svg(figure, f"bars{narrow:d}", title, said)


def most_damaging(layers: Sequence[Sensitivity]) -> list[Sensitivity]:
    """Return the layers that the chart shows, the worst first."""
    return sorted(layers, key=lambda layer: -layer.damage)[:MOST_LAYERS]


@dataclass(frozen=True, slots=True)
class _Spot:
    """A rung with both numbers.

    Attributes:
        rung: it.
        ms: its latency.
        metric: its metric, or the lowest that is drawn.
        below: it is drawn higher than it is.
    """

    rung: Rung
    ms: float
    metric: float
    below: bool


def _spots(rungs: Sequence[Rung], floor: float) -> list[_Spot]:
    return [
        _Spot(rung, rung.latency_ms, max(rung.metric, floor), rung.metric < floor)
        for rung in rungs
        if rung.metric is not None and rung.latency_ms is not None
    ]


def _floor(conversion: Conversion) -> float:
    """Return the lowest metric that has its true place; all that is shipped lies above."""
    level = conversion.reference.value
    if level is None:
        return -math.inf
    allowed = max(5 * conversion.max_drop, 1.0) / 100
    metrics = [rung.metric for rung in conversion.rungs if rung.metric is not None]
    shipped = [r.metric for r in conversion.rungs if r.shipped and r.metric is not None]
    return max(min(metrics), min([level - allowed, *shipped]))


def _limits(axes: Axes, spots: Sequence[_Spot], level: float | None) -> None:
    times = [spot.ms for spot in spots]
    metrics = [spot.metric for spot in spots] + ([] if level is None else [level])
    if max(times) > 6 * min(times):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_xscale("log")
        axes.set_xlim(min(times) / 1.3, max(times) * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(times) * 1.12)
    space = max((max(metrics) - min(metrics)) * 0.12, 0.002)
    axes.set_ylim(min(metrics) - space, max(metrics) + space)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _levels(axes: Axes, conversion: Conversion) -> None:
    level = conversion.reference.value
    if level is None:
        return
    axes.axhline(level, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="float reference")
    axes.axhline(
        level - conversion.max_drop / 100, color=ACCENT, linewidth=1.2, linestyle=(0, (5, 3)),
        label=f"{conversion.max_drop:g} points below", zorder=1,
    )  # fmt: skip


def _name_points(axes: Axes, spots: Sequence[_Spot], scale: float) -> None:
    """Name what is shipped where there is room, and write values below the floor.

    Args:
        axes: laid out.
        spots: what is drawn.
        scale: pixels a point.
    """
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent().padded(2 * scale)
    centres = [axes.transData.transform((spot.ms, spot.metric)) for spot in spots]
    taken = [Bbox([c - 5 * scale, c + 5 * scale]) for c in centres]
    # What a label's distance to its mark is, points, and which of its sides lies there.
    sides = [(8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"),
             (0, -8, "center", "top"), (7, 7, "left", "bottom"), (-7, 7, "right", "bottom"),
             (7, -7, "left", "top"), (-7, -7, "right", "top")]  # fmt: skip
    for spot in sorted(spots, key=lambda spot: not spot.rung.shipped):
        if not (spot.rung.shipped or spot.below):
            continue
        text = f"↓ {value(spot.rung.metric)}" if spot.below else printable(spot.rung.variant)
        for dx, dy, ha, va in sides:
            label = axes.annotate(
                text, (spot.ms, spot.metric), (dx, dy), textcoords="offset points", ha=ha, va=va,
                fontsize=8, color=INK if spot.rung.shipped else MUTED, zorder=5,
            )  # fmt: skip
            # It moves nothing that is laid out already.
            label.set_in_layout(False)
            box = label.get_window_extent()
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1
            fits = fits and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _describe(conversion: Conversion, front: Sequence[Rung]) -> str:
    said = "; ".join(
        f"{rung.variant} {value(rung.metric)} at {milliseconds(rung.latency_ms)} ms"
        for rung in front
    )
    return f"Pareto front: {said}. Allowed drop: {points(conversion.max_drop)} points."


def _end(layers: Sequence[Sensitivity]) -> float:
    """Return where the axis of damages ends: some layers break everything, and hide the rest."""
    damages = sorted(layer.damage for layer in layers if layer.damage > 0)
    if not damages:
        return 1.0
    limit = 20 * damages[len(damages) // 2]
    return max(damage for damage in damages if damage <= limit)


def _shorten(names: Sequence[str], length: int) -> list[str]:
    """Cut names to a length: the beginning that all share first, then more of it."""
    if all(len(name) <= length for name in names):
        return list(names)
    first, last = min(names), max(names)
    # What these two begin with, all between them do, too.
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    start = max(first.rfind(mark, 0, same) for mark in "./") + 1
    cut = [name[start:] for name in names]
    return [name if len(name) <= length else f"…{name[1 - length :]}" for name in cut]
