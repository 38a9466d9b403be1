"""Energy of an inference, from the best source there is; the tier of the source is always told.

1. a meter, 2. a counter of the CPU or its power chip, 3. a line that was fitted for this very
board, 4. the board's table, 5. nothing but the work. docs/energy.md says what each leaves out.

With T the time of the measured windows, n their results, E the energy in them, and P_idle what
idling draws: gross = E / n, marginal = (E - P_idle T) / n.

The half widths of their 95 % intervals, with t = T / n the time of a result, in squares as
independent uncertainties are (GUM, JCGM 100:2008, 5.1.2)::

    h_gross^2    = s_gross^2 + e^2 + (accuracy x gross)^2
    h_marginal^2 = s_marginal^2 + (t h_idle)^2 + e^2 + (accuracy x gross)^2

where s is Student's half width over the windows, for one and the same P_idle, h_idle that of
P_idle (see `edgecv.bench.trace.Trace.mean`), and e what is unsure at the ends of the windows, added
up, for all of them begin and end alike. One idling serves all windows: its error does not average
out over them. Adding half widths of few degrees of freedom in squares makes the interval a little
wide rather than narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgecv.bench.calibration import Calibration
from edgecv.bench.power import Origin
from edgecv.bench.report import Energy, Work
from edgecv.bench.statistics import half_width
from edgecv.bench.trace import Power, Spent
from edgecv.record import Record

_METERED = "gross = E / n, marginal = (E - P_idle T) / n; E measured, T = {t:.2f} s, n = {n}"
_LINE = (
    "P = a + b u with u busy CPUs (CPU time / T): gross = P T / n, marginal = b u T / n; "
    "a = {a:.3f} W, b = {b:.3f} W, u = {u:.3f}, T = {t:.2f} s, n = {n}"
)
_ONE = "one process only: nothing to compare it with"


class BoardPower(Record, kw_only=True):
    """What boards of a kind draw, from published measurements.

    Attributes:
        name: of the kind.
        cores: of the board.
        idle_w: with nothing to do.
        idle_uncertainty_w: half width of the range that the sources leave open.
        load_w: with every core busy.
        load_uncertainty_w: the same for it.
    """

    name: str
    cores: int
    idle_w: float
    idle_uncertainty_w: float
    load_w: float
    load_uncertainty_w: float


def metered(
    origin: Origin,
    spent: Sequence[Spent],
    idle: Power | str,
    seconds: Sequence[float],
    results: Sequence[int],
    work: Work,
) -> Energy:
    """Tell what was measured, tiers 1 and 2.

    Args:
        origin: of the readings.
        spent: the energy of each measured run.
        idle: what idling draws, or why that is not known.
        seconds: length of each run.
        results: of each run; one at least in all.
        work: told in any case.
    """
    elapsed_s, n = sum(seconds), sum(results)
    total = sum(one.joules for one in spent)
    gross = total / n
    # The same for gross and marginal: what an end or the meter is off by.
    off = math.hypot(sum(one.ends_j for one in spent) / n, (origin.accuracy or 0.0) * gross)
    ran = [(e.joules / k, s / k) for e, s, k in zip(spent, seconds, results, strict=True) if k]
    missing: dict[str, str] = {}
    gross_half = _joined(half_width([e for e, _ in ran]), off)
    if gross_half is None:
        missing["gross_ci95"] = _ONE
    marginal = marginal_half = None
    if isinstance(idle, str):
        missing |= dict.fromkeys(("marginal_j", "marginal_ci95", "idle_w"), idle)
    else:
        marginal = (total - idle.watts * elapsed_s) / n
        scatter = half_width([e - idle.watts * s for e, s in ran])
        idle_half = None if idle.half_w is None else idle.half_w * elapsed_s / n
        marginal_half = _joined(scatter, idle_half, off)
        if marginal_half is None:
            missing["marginal_ci95"] = _ONE if scatter is None else "too few readings while idling"
    return Energy(
        tier=origin.tier,
        source=origin.source,
        gross_j=_round(gross),
        gross_ci95=_around(gross, gross_half),
        marginal_j=_round(marginal),
        marginal_ci95=_around(marginal, marginal_half),
        idle_w=None if isinstance(idle, str) else _round(idle.watts),
        load_w=_round(total / elapsed_s),
        formula=_METERED.format(t=elapsed_s, n=n),
        scope=origin.scope,
        work=work,
        missing=missing,
    )


def calibrated(
    c: Calibration, cpu_s: float, elapsed_s: float, n: int, work: Work, instead: str = ""
) -> Energy:
    """Tell what the line of this board says, tier 3.

    Args:
        c: made on this board.
        cpu_s: CPU time of the measured processes.
        elapsed_s: length of all runs.
        n: their results.
        work: told in any case.
        instead: of which better source this is, and why.
    """
    u = cpu_s / elapsed_s
    each_s = elapsed_s / n
    power = c.idle_w + c.watts_per_cpu * u
    # Two uncertain numbers and what the line leaves over, all as half widths of 95 %.
    half = math.hypot(c.idle_ci_w, c.watts_per_cpu_ci * u, 2 * c.left_out_w)
    marginal = c.watts_per_cpu * u
    marginal_half = math.hypot(c.watts_per_cpu_ci * u, 2 * c.left_out_w)
    return Energy(
        tier=3,
        source=f"calibration of {c.board} ({c.meter}, {c.created[:10]}){instead}",
        gross_j=_round(power * each_s),
        gross_ci95=_around(power * each_s, half * each_s),
        marginal_j=_round(marginal * each_s),
        marginal_ci95=_around(marginal * each_s, marginal_half * each_s),
        idle_w=c.idle_w,
        load_w=_round(power),
        formula=_LINE.format(a=c.idle_w, b=c.watts_per_cpu, u=u, t=elapsed_s, n=n),
        scope=c.scope,
        work=work,
    )


def tabled(
    b: BoardPower, cpu_s: float, elapsed_s: float, n: int, work: Work, instead: str = ""
) -> Energy:
    """Tell what boards of this kind draw, tier 4; the arguments are those of `calibrated`."""
    busy = cpu_s / elapsed_s
    u = min(1.0, busy / b.cores)
    each_s = elapsed_s / n
    power = b.idle_w + (b.load_w - b.idle_w) * u
    half = math.hypot((1 - u) * b.idle_uncertainty_w, u * b.load_uncertainty_w)
    marginal = (b.load_w - b.idle_w) * u
    marginal_half = u * math.hypot(b.idle_uncertainty_w, b.load_uncertainty_w)
    slope = (b.load_w - b.idle_w) / b.cores
    return Energy(
        tier=4,
        source=f"table of {b.name}: published measurements, not this board{instead}",
        gross_j=_round(power * each_s),
        gross_ci95=_around(power * each_s, half * each_s),
        marginal_j=_round(marginal * each_s),
        marginal_ci95=_around(marginal * each_s, marginal_half * each_s),
        idle_w=b.idle_w,
        load_w=_round(power),
        formula=_LINE.format(a=b.idle_w, b=slope, u=busy, t=elapsed_s, n=n),
        scope="board",
        work=work,
    )


def unknown(why: str, work: Work) -> Energy:
    """Tell no joules, and why: tier 5."""
    names = ("gross_j", "marginal_j", "idle_w", "load_w")
    return Energy(tier=5, source="work only", work=work, missing=dict.fromkeys(names, why))


def _joined(*halves: float | None) -> float | None:
    known = [half for half in halves if half is not None]
    return math.hypot(*known) if len(known) == len(halves) else None


def _around(value: float | None, half: float | None) -> tuple[float, float] | None:
    if value is None or half is None:
        return None
    return float(f"{value - half:.6g}"), float(f"{value + half:.6g}")


def _round(value: Any) -> float | None:
    return None if value is None else float(f"{value:.6g}")
