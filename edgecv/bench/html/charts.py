"""Charts of the results: distributions, stages, the front, ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecv.bench import words
from edgecv.bench.comparison import Change, Comparison
from edgecv.bench.front import Front, Point
from edgecv.bench.report import STAGES, Result
from edgecv.page import printable
from edgecv.svg import ACCENT, INK, LINE, MUTED, PAPER, SERIES, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 24
"""Results that a chart shows; the table has all."""

MARKERS = ("o", "s", "^", "D", "P")
_HATCHES = ("//", "\\\\", "", "xx")


def distributions(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw the latency of each result as a hill over one axis, with its percentiles.

    Args:
        results: at least one, each with a histogram; see `has_distribution`.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    rows = results[:MOST_ROWS]
    with new_figure(narrow, 0.9 + 0.52 * len(rows)) as figure:
        axes = figure.add_subplot()
        for row, result in enumerate(rows):
            histogram, latency = result.distribution_ms, words.total(result)
            edges = np.asarray(histogram.edges_ms)
            density = np.asarray(histogram.counts) / np.maximum(np.diff(edges), 1e-12)
            height = 0.5 * density / max(float(density.max()), 1e-12)
            color = SERIES[row % len(SERIES)]
            axes.stairs(row - height, edges, baseline=row, fill=True, color=color, alpha=0.35)
            axes.stairs(row - height, edges, baseline=row, color=color, linewidth=0.9)
            for marker, value in zip("osD", (latency.p50, latency.p90, latency.p99), strict=True):
                if value is not None:
                    axes.plot([value], [row], marker, color=INK, markersize=4.5, zorder=4,
                              markerfacecolor=INK if marker == "o" else PAPER)  # fmt: skip
        for marker, label in zip("osD", ("p50", "p90", "p99"), strict=True):
            axes.plot([], [], marker, color=INK, markersize=4.5, label=label,
                      markerfacecolor=INK if marker == "o" else PAPER)  # fmt: skip
        shown = [result.distribution_ms.edges_ms for result in rows]
        _log_if_wide(axes, [end for edges in shown for end in (edges[0], edges[-1])])
        _rows(axes, [words.short(result) for result in rows], narrow)
        axes.set_xlabel("latency from image to result, ms")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        said = "; ".join(
            f"{words.short(r)} p50 {words.number(words.total(r).p50)} ms, "
            f"p99 {words.number(words.total(r).p99)} ms"
            for r in rows
        )
        return to_svg(figure, f"latency{narrow:d}", f"Latency of {len(rows)} results", said)


def has_distribution(result: Result) -> bool:
    """Tell whether a result has a histogram that can be drawn."""
    histogram = result.distribution_ms
    return sum(histogram.counts) > 0 and len(histogram.edges_ms) == len(histogram.counts) + 1


def breakdown(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw the medians of the stages of each result as one bar.

    Args:
        results: at least one, each with a stage; see `has_stages`.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    rows = results[:MOST_ROWS]
    stages = STAGES[:-1]
    with new_figure(narrow, 0.9 + 0.5 * len(rows)) as figure:
        axes = figure.add_subplot()
        start = np.zeros(len(rows))
        for i, stage in enumerate(stages):
            widths = np.array([_median(result, stage) or 0.0 for result in rows])
            axes.barh(
                range(len(rows)), widths, 0.36, start, label=stage, color=SERIES[i],
                hatch=_HATCHES[i], edgecolor=PAPER, linewidth=0.6,
            )  # fmt: skip
            start += widths
        axes.set_xlim(0, max(float(start.max()), 1e-9) * 1.04)
        _rows(axes, [words.short(result) for result in rows], narrow, above=0.27)
        axes.set_xlabel("sum of the stages' medians, ms")
        figure.legend(
            loc="outside lower center", ncols=2 if narrow else 4, frameon=False, fontsize=9
        )
        said = "; ".join(
            f"{words.short(result)}: "
            + ", ".join(f"{s} {words.number(_median(result, s))} ms" for s in stages)
            for result in rows
        )
        return to_svg(figure, f"stages{narrow:d}", f"Stages of {len(rows)} results", said)


def has_stages(result: Result) -> bool:
    """Tell whether a stage of a result has a median."""
    return any(_median(result, stage) for stage in STAGES[:-1])


def front(found: Front, *, narrow: bool = False) -> str:
    """Draw accuracy against latency, and against energy where all have it.

    Args:
        found: with at least one point.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    energy = all(point.joules is not None for point in found.points)
    panels = 2 if energy else 1
    with new_figure(narrow, 3.4 * panels if narrow else 3.9) as figure:
        grid = (panels, 1) if narrow else (1, panels)
        backends = list(dict.fromkeys(point.result.backend for point in found.points))
        for panel in range(panels):
            axes = figure.add_subplot(*grid, panel + 1)
            costs = [point.ms if panel == 0 else point.joules or 0.0 for point in found.points]
            for cost, point in zip(costs, found.points, strict=True):
                i = backends.index(point.result.backend)
                color = SERIES[i % len(SERIES)]
                axes.plot(
                    [cost], [point.accuracy], MARKERS[i % len(MARKERS)], markersize=7,
                    color=color, markerfacecolor=color if point.best else PAPER,
                    markeredgewidth=1.6, zorder=3,
                )  # fmt: skip
                if point.best:
                    right = cost < 0.6 * max(costs)
                    axes.annotate(
                        f"{_cut(printable(point.result.variant), 20)}, {point.result.threads}t",
                        (cost, point.accuracy), (8 if right else -8, 4),
                        textcoords="offset points", ha="left" if right else "right",
                        fontsize=8, color=INK,
                    )  # fmt: skip
            axes.set_xlim(0, max(costs) * 1.12 or 1)
            axes.margins(y=0.15)
            axes.grid(color=LINE, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.set_xlabel("median latency, ms" if panel == 0 else "gross energy a result, J")
            axes.set_ylabel(_cut(printable(found.metric), 24))
        for i, backend in enumerate(backends):
            axes.plot([], [], MARKERS[i % len(MARKERS)], color=SERIES[i % len(SERIES)],
                      label=_cut(printable(backend), 24))  # fmt: skip
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center",
            ncols=2 if narrow else 5, frameon=False, fontsize=9,
        )  # fmt: skip
        said = "; ".join(_point(found, point) for point in found.points if point.best)
        title = f"{found.metric} against latency{' and energy' if energy else ''}"
        return to_svg(figure, f"front{narrow:d}", title, f"Not beaten: {said}.")


def ratios(comparison: Comparison, *, narrow: bool = False) -> str:
    """Draw the ratio of the median latency of each cell with its interval.

    Args:
        comparison: at least one pair has a ratio; see `ratios_of`.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    rows = ratios_of(comparison)[:MOST_ROWS]
    marks = {"faster": ("<", SERIES[2]), "slower": (">", ACCENT)}
    with new_figure(narrow, 1.0 + 0.5 * len(rows)) as figure:
        axes = figure.add_subplot()
        axes.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        ends = [1.0]
        for row, (_, change) in enumerate(rows):
            marker, color = marks.get(change.verdict, ("o", MUTED))
            ratio = change.ratio or 1.0
            low, high = change.ci95 or (ratio, ratio)
            ends += [low, high]
            axes.plot([low, high], [row, row], color=color, linewidth=2.4)
            axes.plot([ratio], [row], marker, color=color, markersize=8)
        space = max(max(ends) - 1, 1 - min(ends), 0.05) * 1.15
        axes.set_xlim(1 - space, 1 + space)
        _rows(axes, [f"{change.verdict}: {label}" for label, change in rows], narrow, above=0.27)
        axes.set_xlabel("ratio of median latencies, after / before (left: faster)")
        said = "; ".join(f"{label} {change.ratio:.3f}, {change.verdict}" for label, change in rows)
        return to_svg(figure, f"ratios{narrow:d}", f"Ratios of {len(rows)} cells", said)


def ratios_of(comparison: Comparison) -> list[tuple[str, Change]]:
    """List the cells whose median latencies have a ratio, with it."""
    return [
        (words.short_key(pair.key), change)
        for pair in comparison.pairs
        for change in pair.changes
        if change.figure == "total p50" and change.ratio is not None
    ]


def _rows(axes: Axes, names: Sequence[str], narrow: bool, above: float = 0.68) -> None:
    """Name each row above it, where the whole width is."""
    for row, text in enumerate(names):
        axes.text(
            0.0, row - above, _cut(printable(text), 46 if narrow else 100), fontsize=8.5,
            transform=axes.get_yaxis_transform(), va="bottom" if above < 0.5 else "center",
            color=INK, zorder=5,
        )  # fmt: skip
    axes.set_ylim(len(names) - 0.6, -0.95)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _log_if_wide(axes: Axes, ends: Sequence[float]) -> None:
    low, high = min(ends), max(ends)
    if not (low > 0 and high > 6 * low):
        axes.set_xlim(max(0.0, low - (high - low) * 0.05), high + (high - low) * 0.05)
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(low / 1.1, high * 1.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _median(result: Result, stage: str) -> float | None:
    latency = result.latency_ms.get(stage)
    return None if latency is None else latency.p50


def _point(found: Front, point: Point) -> str:
    said = f"{words.short(point.result)} {point.accuracy:.3f} {found.metric} at {point.ms:.1f} ms"
    return said if point.joules is None else f"{said}, {words.joules(point.joules)} J"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
