"""Charts of the machine: memory over the phases, temperature and frequency over time."""

from __future__ import annotations

from collections.abc import Sequence

from edgecv.bench import words
from edgecv.bench.html.charts import MARKERS
from edgecv.bench.report import Result
from edgecv.page import printable
from edgecv.svg import LINE, MUTED, SERIES, new_figure, to_svg

PHASES = ("import", "load", "first", "steady")
PANELS = {
    "temperature_c": "temperature, °C",
    "mhz": "frequency, MHz",
    "busy_share": "busy CPUs, %",
    "watts": "power, W",
}
_STYLES = ((), (5, 2), (1, 1.5), (6, 2, 1, 2), (9, 3))


def memory(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw the resident set at the end of each phase, one line for each kind of process.

    Args:
        results: at least one; see `with_phases`.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    with new_figure(narrow, 3.6) as figure:
        axes = figure.add_subplot()
        for i, result in enumerate(results):
            spots = [
                (at, found.rss / 2**20)
                for at, phase in enumerate(PHASES)
                if (found := result.memory_bytes.phases.get(phase)) and found.rss is not None
            ]
            axes.plot(
                [at for at, _ in spots], [size for _, size in spots], color=SERIES[i],
                marker=MARKERS[i], markersize=5, dashes=_STYLES[i], linewidth=1.6,
                label=printable(words.short(result))[:44],
            )  # fmt: skip
        axes.set_xticks(range(len(PHASES)), PHASES)
        axes.set_xlim(-0.2, len(PHASES) - 0.8)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("resident set, MiB")
        axes.grid(color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(
            loc="outside lower center", ncols=1 if narrow else 2, frameon=False, fontsize=8.5
        )
        said = "; ".join(
            f"{words.short(result)}: "
            + ", ".join(
                f"{name} {words.mebibytes(phase.rss)} MiB"
                for name, phase in result.memory_bytes.phases.items()
            )
            for result in results
        )
        return to_svg(figure, f"memory{narrow:d}", "Memory over the phases", said)


def with_phases(results: Sequence[Result]) -> list[Result]:
    """Choose the results that the chart of memory shows: one of each variant and engine, five."""
    found: dict[tuple[str, str], Result] = {}
    for result in results:
        phases = result.memory_bytes.phases
        if any(name in phases and phases[name].rss is not None for name in PHASES):
            found.setdefault((result.variant, result.backend), result)
    return list(found.values())[: len(SERIES)]


def timeline(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Draw the machine over the measured time, the cells one after the other.

    Args:
        results: at least one with a moment that has a number; see `panels`.
        narrow: for a phone.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    shown = panels(results)
    with new_figure(narrow, 0.7 + 1.35 * len(shown)) as figure:
        first = None
        said = []
        for i, field in enumerate(shown):
            axes = figure.add_subplot(len(shown), 1, i + 1, sharex=first)
            first = first or axes
            start = 0.0
            values = []
            for number, result in enumerate(results):
                if not result.timeline:
                    continue
                if start:
                    axes.axvline(start, color=LINE, linewidth=1)
                spots = [
                    (start + moment.at_s, value * (100 if field == "busy_share" else 1))
                    for moment in result.timeline
                    if (value := getattr(moment, field)) is not None
                ]
                # A line for each cell: between them nothing was measured.
                axes.plot(
                    [at for at, _ in spots], [value for _, value in spots], color=SERIES[i],
                    linewidth=1.3, marker="." if len(spots) == 1 else None,
                )  # fmt: skip
                if i == 0:
                    axes.text(start, 1.02, f" {number + 1}", fontsize=8, color=MUTED,
                              transform=axes.get_xaxis_transform(), va="bottom")  # fmt: skip
                values += [value for _, value in spots]
                start += max(moment.at_s for moment in result.timeline)
            said.append(
                f"{PANELS[field]}: {words.number(min(values))} to {words.number(max(values))}"
            )
            axes.set_ylabel(PANELS[field].replace(", ", ",\n"), fontsize=8.5)
            axes.set_xlim(0, max(start, 1e-9))
            if field != "temperature_c":
                axes.set_ylim(0, max(*values, 1e-9) * 1.15)
            axes.grid(axis="y", color=LINE, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(labelbottom=i == len(shown) - 1)
        figure.axes[-1].set_xlabel("measured time, s; above: the cells")
        return to_svg(figure, f"timeline{narrow:d}", "The machine over time", "; ".join(said))


def panels(results: Sequence[Result]) -> list[str]:
    """List the fields of a moment that any result has a number of."""
    return [
        field
        for field in PANELS
        if any(getattr(moment, field) is not None for r in results for moment in r.timeline)
    ]
