"""The charts of a benchmark's page, as SVG; see `edgecv.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecv.bench.comparison import name
from edgecv.bench.report import Result
from edgecv.page import printable
from edgecv.svg import INK, LINE, MUTED, PAPER, SERIES, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 16
"""Results that a chart shows; the tables show all."""
PHASES = ("import", "load", "first", "steady")
_STAGES = ("decode", "preprocess", "infer", "postprocess")
_MARKERS = ("o", "s", "^", "D", "P")
_DASHES = ("solid", "dashed", "dashdot", "dotted")


def label(result: Result, width: int = 40) -> str:
    """Name a result beside a chart, cut in the middle where it is too long."""
    text = printable(name(result))
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def timed(results: Sequence[Result]) -> list[Result]:
    """Return the results with a latency by stage, as many as a chart shows; not cold starts."""
    return [r for r in results if r.distribution_ms.counts and "infer" in r.latency_ms][:MOST]


def distributions(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw how the total latency of each result is distributed, with its percentiles.

    Args:
        results: of `timed`; at least one.
        narrow: for a phone.
    """
    with new_figure(narrow, 0.9 + 0.5 * len(results)) as figure:
        axes = figure.add_subplot()
        for row, result in enumerate(results):
            edges = np.array(result.distribution_ms.edges_ms)
            counts = np.array(result.distribution_ms.counts, float)
            heights = 0.75 * counts / counts.max()
            base = -row
            axes.stairs(
                base + heights, edges, baseline=base, fill=True, color=SERIES[0], alpha=0.55
            )
            total = result.latency_ms.get("total")
            for q, mark in (("p50", "|"), ("p90", "d"), ("p99", "o")):
                value = None if total is None else getattr(total, q)
                if value is not None:
                    axes.plot([value], [base], marker=mark, markersize=9 if mark == "|" else 4.5,
                              markeredgewidth=1.6, color=INK, linestyle="none")  # fmt: skip
        axes.set_xscale("log")
        _plain_log(axes)
        _rows(axes, results, narrow)
        axes.set_ylim(-len(results) + 0.6, 1.0)
        axes.set_xlabel("total latency, ms (logarithmic); | p50, ◆ p90, ● p99")
        said = "; ".join(
            f"{label(r)}: median {t.p50:.2f} ms"
            for r in results
            if (t := r.latency_ms.get("total")) is not None and t.p50 is not None
        )
        return to_svg(figure, f"distributions{narrow:d}", "Distributions of the latency", said)


def stages(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw the median of each stage as bars one after the other.

    Args:
        results: with a latency by stage; at least one.
        narrow: for a phone.
    """
    with new_figure(narrow, 1.1 + 0.34 * max(3, len(results))) as figure:
        axes = figure.add_subplot()
        places = [-i for i in range(len(results))]
        left = np.zeros(len(results))
        for i, stage in enumerate(_STAGES):
            widths = np.array([_p50(result, stage) for result in results])
            axes.barh(places, widths, left=left, height=0.62, color=SERIES[i], label=stage,
                      edgecolor=PAPER, linewidth=1.2)  # fmt: skip
            left += widths
        _rows(axes, results, narrow)
        axes.set_ylim(-len(results) + 0.4, 0.6)
        axes.set_xlabel("p50 of each stage, ms")
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=2 if narrow else 4, frameon=False,
                      labelcolor=INK, fontsize=9)  # fmt: skip
        said = "; ".join(
            f"{label(r)}: " + ", ".join(f"{s} {_p50(r, s):.2f} ms" for s in _STAGES)
            for r in results
        )
        return to_svg(figure, f"stages{narrow:d}", "Latency by stage", said)


def placed(results: Sequence[Result]) -> list[Result]:
    """Return the results with an accuracy and a median latency."""
    return [r for r in results if r.accuracy and _p50(r, "total")][:MOST]


def front(results: Sequence[Result]) -> list[Result]:
    """Return those of `placed` that no other beats in accuracy and latency, nor in energy.

    Energy counts where all of them have one of the same tier.
    """
    spots = placed(results)
    tiers = {r.energy.tier for r in spots if r.energy.gross_j is not None}
    metered = len(tiers) == 1 and all(r.energy.gross_j is not None for r in spots)

    def costs(r: Result) -> tuple[float, ...]:
        energy = r.energy.gross_j if metered and r.energy.gross_j is not None else 0.0
        return (-_accuracy(r), _p50(r, "total"), energy)

    def beaten(r: Result) -> bool:
        return any(
            all(a <= b for a, b in zip(costs(o), costs(r), strict=True)) and costs(o) != costs(r)
            for o in spots
        )

    return sorted((r for r in spots if not beaten(r)), key=lambda r: _p50(r, "total"))


def pareto(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw accuracy against latency, with the energy beside each point where it is known.

    Args:
        results: of `placed`; at least one.
        narrow: for a phone.
    """
    best = front(results)
    metric = next(iter(results[0].accuracy))
    with new_figure(narrow, 3.6) as figure:
        axes = figure.add_subplot()
        axes.step([_p50(r, "total") for r in best], [_accuracy(r) for r in best], where="post",
                  color=MUTED, linewidth=1.2, zorder=2, label="Pareto front")  # fmt: skip
        backends = list(dict.fromkeys(r.backend for r in results))
        for i, backend in enumerate(backends):
            some = [r for r in results if r.backend == backend]
            axes.scatter([_p50(r, "total") for r in some], [_accuracy(r) for r in some], s=46,
                         marker=_MARKERS[i % len(_MARKERS)], color=SERIES[i % len(SERIES)],
                         label=printable(backend), zorder=3)  # fmt: skip
        for i, r in enumerate(results):
            energy = "" if r.energy.gross_j is None else f", {r.energy.gross_j * 1e3:.3g} mJ"
            threads = "" if r.threads == 1 else f" x{r.threads}"
            axes.annotate(f"{printable(r.variant)[:24]}{threads}{energy}",
                          (_p50(r, "total"), _accuracy(r)), (6, 5 if i % 2 == 0 else -11),
                          textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
        axes.margins(x=0.25, y=0.25)
        axes.set_xlabel("total latency, p50, ms")
        axes.set_ylabel(printable(metric))
        axes.grid(color=LINE, linewidth=0.8)
        figure.legend(loc="outside lower center", ncols=2 if narrow else 4, frameon=False,
                      labelcolor=INK, fontsize=9)  # fmt: skip
        said = "On the front: " + (", ".join(label(r) for r in best) or "none")
        return to_svg(figure, f"pareto{narrow:d}", "Accuracy, latency and energy", said)


def phased(results: Sequence[Result]) -> list[Result]:
    """Return results whose memory is known in at least two phases; one of each that is loaded.

    How images arrive makes no difference to what the pass for memory does.
    """
    found = {
        r.key[1:4]: r for r in reversed(results) if sum(_rss(r, p) is not None for p in PHASES) > 1
    }
    return list(reversed(found.values()))[:MOST]


def memory(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw the resident set over the phases of a process.

    Args:
        results: of `phased`; at least one.
        narrow: for a phone.
    """
    with new_figure(narrow, 2.6 + 0.16 * len(results)) as figure:
        axes = figure.add_subplot()
        for i, result in enumerate(results):
            values = [
                (p, v) for p, v in enumerate(_rss(result, q) for q in PHASES) if v is not None
            ]
            axes.plot([p for p, _ in values], [v / 2**20 for _, v in values],
                      marker=_MARKERS[i % len(_MARKERS)], color=SERIES[i % len(SERIES)],
                      linestyle=_DASHES[i // len(SERIES) % len(_DASHES)],
                      linewidth=1.6, markersize=5, label=label(result))  # fmt: skip
        axes.set_xticks(range(len(PHASES)), PHASES)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("resident set, MiB")
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        figure.legend(loc="outside lower left", ncols=1 if narrow else 2, frameon=False,
                      labelcolor=INK, fontsize=8)  # fmt: skip
        said = "; ".join(
            f"{label(r)}: "
            + ", ".join(f"{p} {v / 2**20:.0f} MiB" for p in PHASES if (v := _rss(r, p)) is not None)
            for r in results
        )
        return to_svg(figure, f"memory{narrow:d}", "Memory over the phases", said)


_SERIES_OF_TIME = (
    ("temperature_c", "temperature, C"),
    ("mhz", "clock, MHz"),
    ("busy_share", "busy CPUs, share"),
    ("watts", "power, W"),
)


def over_time(results: Sequence[Result]) -> list[str]:
    """Return which series of the timelines hold anything."""
    return [
        key
        for key, _ in _SERIES_OF_TIME
        if any(getattr(m, key) is not None for r in results for m in r.timeline)
    ]


def timeline(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw temperature, clock, load and power over the whole run, one result after the other.

    Args:
        results: at least one has a timeline; see `over_time`.
        narrow: for a phone.
    """
    shown = [pair for pair in _SERIES_OF_TIME if pair[0] in over_time(results)]
    with new_figure(narrow, 0.7 + 1.25 * len(shown)) as figure:
        grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        offset = 0.0
        for i, result in enumerate(results):
            if not result.timeline:
                continue
            for axes, (key, _) in zip(grid, shown, strict=True):
                found = [(m.at_s + offset, getattr(m, key)) for m in result.timeline]
                found = [(t, v) for t, v in found if v is not None]
                axes.plot([t for t, _ in found], [v for _, v in found], linewidth=1.3,
                          color=SERIES[i % len(SERIES)])  # fmt: skip
            offset += result.timeline[-1].at_s
            for axes in grid:
                axes.axvline(offset, color=LINE, linewidth=0.8, zorder=1)
        for axes, (_, title) in zip(grid, shown, strict=True):
            axes.set_ylabel(title, fontsize=8)
            axes.grid(axis="y", color=LINE, linewidth=0.8)
        grid[-1].set_xlabel("seconds of measuring; a line ends each result, in the table's order")
        said = "Over time: " + ", ".join(title for _, title in shown)
        return to_svg(figure, f"timeline{narrow:d}", "The machine over the run", said)


def _rows(axes: Axes, results: Sequence[Result], narrow: bool) -> None:
    names = [label(r, 22 if narrow else 44) for r in results]
    axes.set_yticks([-i for i in range(len(results))], names, fontsize=8)
    axes.tick_params(axis="y", length=0)


def _plain_log(axes: Axes) -> None:
    """Write plain numbers along a logarithmic axis, few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _p50(result: Result, stage: str) -> float:
    found = result.latency_ms.get(stage)
    return 0.0 if found is None or found.p50 is None else found.p50


def _accuracy(result: Result) -> float:
    return next(iter(result.accuracy.values()))


def _rss(result: Result, phase: str) -> int | None:
    found = result.memory_bytes.phases.get(phase)
    return None if found is None else found.rss
