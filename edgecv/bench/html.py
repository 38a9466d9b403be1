"""A report as one HTML page: no script, nothing from the network, everything inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecv import page
from edgecv.bench import charts
from edgecv.bench.comparison import Comparison, name
from edgecv.bench.report import STAGES, Report, Result
from edgecv.bench.tables import number

_TEMPLATE = Path(__file__).with_name("page.html")
_TIERS = {1: "meter", 2: "counter", 3: "calibration", 4: "board table", 5: "work only"}


def render(report: Report, comparison: Comparison | None = None) -> str:
    """Make the page of a report.

    Args:
        report: what it is about.
        comparison: with a saved run, if there is one.

    Raises:
        DependencyMissingError: Jinja2 or matplotlib is not installed.
    """
    results = report.results
    counts = {
        status: sum(r.validity.status == status for r in results)
        for status in ("valid", "suspect", "invalid")
    }
    timed, placed, phased = charts.timed(results), charts.placed(results), charts.phased(results)
    return page.template(_TEMPLATE).render(
        report=report,
        counts=counts,
        rows=[_row(r) for r in results],
        stages=STAGES,
        name=name,
        number=number,
        distributions=page.both(charts.distributions, timed) if timed else None,
        breakdown=page.both(charts.stages, timed) if timed else None,
        pareto=page.both(charts.pareto, placed) if placed else None,
        front={r.key for r in charts.front(results)},
        memory=page.both(charts.memory, phased) if phased else None,
        timeline=page.both(charts.timeline, results) if charts.over_time(results) else None,
        left_out=max(0, len(results) - charts.MOST),
        environment=_environment(report),
        nulls=_nulls(results),
        comparison=comparison,
        raw=page.embedded(report.to_dict()),
    )


def _row(r: Result) -> dict[str, Any]:
    """Lay out one line of the summary; text for people."""
    total = r.latency_ms.get("total")
    interval = total.ci95 if total else None
    peak, e = r.memory_bytes.peak_rss, r.energy
    return {
        "result": r,
        "name": name(r),
        "precision": r.precision_actual or "-",
        "p50": number(total.p50 if total else None),
        "interval": "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
        "p90": number(total.p90 if total else None),
        "p99": number(total.p99 if total else None),
        "n": total.n if total else 0,
        "outliers": total.outliers if total else 0,
        "rate": number(r.throughput, 1),
        "cold": number(r.cold_start_ms.p50, 0),
        "peak": "-" if peak is None else f"{peak / 2**20:.0f}",
        "dropped": "-"
        if r.arrivals is None or r.arrivals.dropped_share is None
        else f"{r.arrivals.dropped_share:.1%}",
        "energy": "-" if e.gross_j is None else f"{e.gross_j * 1e3:.4g}",
        "energy_interval": ""
        if e.gross_ci95 is None
        else f"{e.gross_ci95[0] * 1e3:.4g} to {e.gross_ci95[1] * 1e3:.4g}",
        "tier": f"{e.tier}, {_TIERS[e.tier]}",
    }


def _environment(report: Report) -> list[tuple[str, str]]:
    missing = report.environment.get("missing")
    reasons = missing if isinstance(missing, dict) else {}
    rows = []
    for key, value in report.environment.items():
        if key == "missing":
            continue
        if value is None:
            text = f"not known: {reasons.get(key, 'no reason was recorded')}"
        elif isinstance(value, dict):
            text = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
        elif isinstance(value, list | tuple):
            text = ", ".join(map(str, value))
        else:
            text = str(value)
        rows.append((key.replace("_", " "), text))
    rows += [(f"setting: {key}", str(value)) for key, value in report.settings.items()]
    return [*rows, ("model's sha256", report.model.sha256 or "not known")]


def _nulls(results: Sequence[Result]) -> list[tuple[str, str]]:
    """List what could not be measured, by reason, each once."""
    found: dict[str, dict[str, None]] = {}
    for r in results:
        for part in (r.missing, r.memory_bytes.missing, r.energy.missing, r.energy.work.missing):
            for key, why in part.items():
                # How many samples there were is in the table.
                found.setdefault(why.rpartition("samples; ")[2], {})[key] = None
    return [(", ".join(keys), why) for why, keys in found.items()]
