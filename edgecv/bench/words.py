"""The results in words: what the tables and the page of a report both say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgecv.bench.report import Interval, Latency, Report, Result
from edgecv.bench.statistics import PERCENTILE_FLOORS

NOTHING = "-"
FLOORS = {name: floor for name, (_, floor) in PERCENTILE_FLOORS.items() if name != "p50"}
"""Samples that a percentile needs; the early-stopping floors of MLPerf LoadGen."""
UNSAID = "the report does not say why"
WORK = "Work of an inference, from the file: tier 5, for ranking only, no energy"
_WORK_UNITS = {"macs": "MACs", "bytes_moved": "bytes moved", "instructions": "instructions"}
TIERS = {
    1: "tier 1, meter",
    2: "tier 2, counter",
    3: "tier 3, calibrated model",
    4: "tier 4, board table",
    5: "tier 5, work counts only",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers.

    Attributes:
        title: with the unit.
        cell: the number in words of a result, `NOTHING` where it is null.
        why: the reason, where it is null.
    """

    title: str
    cell: Callable[[Result], str]
    why: Callable[[Result], str]


def columns(results: Sequence[Result]) -> list[Column]:
    """List the columns of numbers of the table of results, those that no result has left out."""
    made = [
        Column("p50 ms", _total("p50"), lambda r: why_percentile(r, "p50")),
        Column("95 % interval", lambda r: between(total(r).ci95), lambda r: why(r, "ci95")),
        Column("p90 ms", _total("p90"), lambda r: why_percentile(r, "p90")),
        Column("p99 ms", _total("p99"), lambda r: why_percentile(r, "p99")),
        Column("results/s", lambda r: number(r.throughput), lambda r: why(r, "throughput")),
        Column("cold start ms", lambda r: number(r.cold_start_ms.p50),
               lambda r: why(r, "cold_start_ms")),
        Column("peak MiB", lambda r: mebibytes(r.memory_bytes.peak_rss),
               lambda r: why(r, "peak_rss")),
    ]  # fmt: skip
    if any(result.arrivals for result in results):
        made.append(Column("dropped", _dropped, lambda r: "only where images come by a schedule"))
    metrics = dict.fromkeys(metric for result in results for metric in result.accuracy)
    made += [_metric(metric) for metric in metrics]
    made.append(Column("gross J", _joules("gross"), lambda r: why(r, "gross_j")))
    made.append(Column("marginal J", _joules("marginal"), lambda r: why(r, "marginal_j")))
    return made


def total(result: Result) -> Latency:
    """Return the latency from image to result; empty if the cell has none."""
    return result.latency_ms.get("total", Latency(n=0))


def why_percentile(result: Result, percentile: str, stage: str = "total") -> str:
    """Say why a percentile is null."""
    said = why(result, percentile, f"{stage}.{percentile}", f"latency_ms.{stage}.{percentile}")
    latency = result.latency_ms.get(stage)
    n, floor = 0 if latency is None else latency.n, FLOORS.get(percentile, 1)
    if said == UNSAID and n < floor:
        return f"needs {floor} samples, has {n}"
    return said


def why(result: Result, *names: str) -> str:
    """Find the reason of a null among those that the result and its parts give."""
    places: tuple[Mapping[str, str], ...] = (
        result.missing,
        result.memory_bytes.missing,
        result.energy.missing,
        result.energy.work.missing,
    )
    for name in names:
        for place in places:
            for field, reason in place.items():
                if field == name or field.endswith(f".{name}"):
                    return reason
    return UNSAID


def missing(result: Result) -> dict[str, str]:
    """List every reason for a null that the result and its parts give, by field."""
    found = dict(result.missing)
    for prefix, place in (
        ("memory_bytes", result.memory_bytes.missing),
        ("energy", result.energy.missing),
        ("energy.work", result.energy.work.missing),
    ):
        found.update({f"{prefix}.{name}": reason for name, reason in place.items()})
    for stage, latency in result.latency_ms.items():
        for percentile in FLOORS:
            if getattr(latency, percentile) is None:
                reason = why_percentile(result, percentile, stage)
                found.setdefault(f"latency_ms.{stage}.{percentile}", reason)
    return found


def reasons(result: Result) -> str:
    """Write why a result should not be taken at face value; empty if it is valid."""
    return "; ".join(f"{reason.code}: {reason.message}" for reason in result.validity.reasons)


def precision(result: Result) -> str:
    """Write what ran, and what was asked where that is something else."""
    asked, actual = result.precision_asked, result.precision_actual
    if actual is None:
        return f"asked {asked}, actual unknown" if asked else "unknown"
    return actual if asked in (None, actual) else f"{actual}, asked {asked}"


def short(result: Result) -> str:
    """Name a cell in a chart."""
    return short_key(result.key)


def short_key(key: tuple[str, str, str, int, int]) -> str:
    """Name a cell by its `Result.key`, with what is usual left out."""
    scenario, variant, backend, threads, streams = key
    name = f"{variant} · {backend} · {threads}t"
    if streams > 1:
        name += f" · {streams} streams"
    return name if scenario == "single" else f"{name} · {scenario}"


def energy(result: Result) -> str:
    """Say where the energy of a result comes from."""
    found = result.energy
    said = f"{TIERS[found.tier]}, {found.source}"
    if found.scope is not None:
        said += f", of the {found.scope}"
    if found.idle_w is not None:
        said += f", idle {number(found.idle_w)} W"
    if found.formula is not None:
        said += f"; {found.formula}"
    return said


def energies(report: Report) -> dict[str, list[int]]:
    """Group the cells, counted from 1, by where their energies come from."""
    found: dict[str, list[int]] = {}
    for i, result in enumerate(report.results, 1):
        found.setdefault(energy(result), []).append(i)
    return found


def works(report: Report) -> dict[str, str]:
    """Write the work of an inference, by variant and engine; what is null comes with its reason."""
    found: dict[str, str] = {}
    for result in report.results:
        work = result.energy.work
        said = []
        for name, unit in _WORK_UNITS.items():
            value = getattr(work, name)
            told = f"no {unit}: {why(result, name)}"
            said.append(told if value is None else f"{number(value / 1e6)} million {unit}")
        found[f"{result.variant} · {result.backend}"] = "; ".join(said)
    return found


def sizes(result: Result) -> str:
    """Write what a result's memory is made of, MiB, and how it grows."""
    memory = result.memory_bytes
    parts = {"model file": memory.model_file, "weights": memory.weights, "arena": memory.arena}
    said = [f"{name} {mebibytes(value)} MiB" for name, value in parts.items() if value is not None]
    if memory.leak_per_minute is not None:
        leak = f"growth {mebibytes(memory.leak_per_minute)} MiB a minute"
        if memory.leak_ci95 is not None:
            leak += " ({} to {})".format(*map(mebibytes, memory.leak_ci95))
        said.append(leak)
    return ", ".join(said)


def doubtful(report: Report) -> list[Result]:
    """List the results that have reasons, the invalid ones first."""
    some = [result for result in report.results if result.validity.reasons]
    return sorted(some, key=lambda result: result.validity.status != "invalid")


def counts(report: Report) -> dict[str, int]:
    """Count the cells by validity, the failed ones too; the worst first."""
    found = {"failed": len(report.failures), "invalid": 0, "suspect": 0, "valid": 0}
    for result in report.results:
        found[result.validity.status] += 1
    return found


def number(value: float | None) -> str:
    """Write a number with about three digits."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def between(ends: Interval | None) -> str:
    """Write an interval."""
    return NOTHING if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def mebibytes(value: float | None) -> str:
    """Write bytes in MiB, without the unit."""
    return NOTHING if value is None else number(value / 2**20)


def percent(share: float | None) -> str:
    """Write a share of 1 in per cent."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def joules(value: float | None) -> str:
    """Write an energy in J."""
    return NOTHING if value is None else f"{value:.3g}"


def _total(percentile: str) -> Callable[[Result], str]:
    return lambda result: number(getattr(total(result), percentile))


def _metric(metric: str) -> Column:
    def cell(result: Result) -> str:
        value = result.accuracy.get(metric)
        return NOTHING if value is None else f"{value:.3f}"

    return Column(metric, cell, lambda result: why(result, metric, "accuracy"))


def _joules(kind: str) -> Callable[[Result], str]:
    def cell(result: Result) -> str:
        energy = result.energy
        value = getattr(energy, f"{kind}_j")
        if value is None:
            return NOTHING
        ends = getattr(energy, f"{kind}_ci95")
        interval = f" ({joules(ends[0])} to {joules(ends[1])})" if ends else ""
        return f"{joules(value)}{interval}, tier {energy.tier}"

    return cell


def _dropped(result: Result) -> str:
    return NOTHING if result.arrivals is None else percent(result.arrivals.dropped_share)
