"""The figures of a result that can be compared, each with its 95 % interval or why it has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from edgecv.bench.report import STAGES, Histogram, Interval, Result

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# Two-sided 97.5 % quantiles of Student's t at 1, 2, ... degrees of freedom; any table of it.
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a result.

    Attributes:
        name: such as ``total p50``.
        unit: of it.
        value: it.
        ci95: 95 % interval.
        missing: why there is no interval.
    """

    name: str
    unit: str
    value: float
    ci95: Interval | None = None
    missing: str | None = None


def stages(result: Result) -> dict[str, Figure]:
    """List p50, p90 and p99 of every stage that has them, by name.

    The interval of a median is the report's; that of ``total`` is at least as wide as the medians
    of the processes say: Student's t on their logarithms, as a bootstrap over few processes is too
    narrow. That of p90 and p99 is known for ``total`` alone, whose histogram the report holds: the
    order statistics that bracket the percentile (binomial), to the histogram's edges, joined in
    quadrature on the log scale with the interval of the median, which holds what differs from
    process to process.
    """
    found = {}
    for stage in (*STAGES, *(name for name in result.latency_ms if name not in STAGES)):
        latency = result.latency_ms.get(stage)
        if latency is None:
            continue
        median = latency.ci95
        if stage == "total" and median is not None and latency.p50:
            median = _widened(median, result.process_p50_ms, latency.p50)
        for percentile, share in PERCENTILES.items():
            value = getattr(latency, percentile)
            if value is None:
                continue
            ci95, missing = median, "the report holds no interval of this median"
            if percentile != "p50":
                ci95, missing = None, "the report holds no interval of this percentile"
                if stage == "total" and median is not None and latency.p50:
                    ranks = _from_histogram(result.distribution_ms, share, value)
                    ci95 = _joined(value, ranks, latency.p50, median)
            name = f"{stage} {percentile}"
            found[name] = Figure(name, "ms", value, ci95, None if ci95 else missing)
    return found


def throughput(result: Result) -> Figure | None:
    """Return the results a second."""
    if result.throughput is None:
        return None
    return _figure("throughput", "1/s", result.throughput, result.throughput_ci95)


def cold_start(result: Result) -> Figure | None:
    """Return the median cold start; its interval is of order statistics, from 6 samples on."""
    value = result.cold_start_ms.p50
    if value is None:
        return None
    samples = sorted(result.cold_start_ms.samples)
    ends = ranks(len(samples), 0.5)
    if ends is None:
        missing = f"an interval needs 6 cold starts, the report holds {len(samples)}"
        return Figure("cold start", "ms", value, None, missing)
    return Figure("cold start", "ms", value, (samples[ends[0]], samples[ends[1]]))


def peak_rss(result: Result) -> Figure | None:
    """Return the peak resident set, which is one number without an interval."""
    value = result.memory_bytes.peak_rss
    if value is None:
        return None
    missing = "one number of the whole run, without an interval"
    return Figure("peak RSS", "bytes", float(value), None, missing)


def joules(result: Result, kind: Literal["gross", "marginal"]) -> Figure | None:
    """Return the energy of a result, ``gross`` or ``marginal``."""
    value = getattr(result.energy, f"{kind}_j")
    if value is None:
        return None
    return _figure(f"{kind} energy", "J", value, getattr(result.energy, f"{kind}_ci95"))


def ranks(n: int, share: float) -> tuple[int, int] | None:
    """Find the order statistics that bracket a percentile with at least 95 % confidence.

    The number of samples below it is binomial(n, share), whatever the distribution: exact up to
    1000 samples, by the normal approximation with continuity correction above.

    Returns:
        0-based ranks (low, high); None where so few samples cannot reach 95 %.
    """
    if n > 1000:
        half = 1.96 * math.sqrt(n * share * (1 - share)) + 0.5
        low, high = math.floor(n * share - half) - 1, math.ceil(n * share + half)
    else:
        terms = [
            math.exp(
                math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
                + k * math.log(share) + (n - k) * math.log1p(-share)
            )
            for k in range(n + 1)
        ]  # fmt: skip
        # sums[k]: at most k samples lie below. The tails beyond the ranks hold 2.5 % at most.
        sums = list(accumulate(terms))
        low = sum(total <= 0.025 for total in sums) - 1
        high = next((k for k, total in enumerate(sums) if total >= 0.975), n)
    return (low, high) if low >= 0 and high < n else None


def _figure(name: str, unit: str, value: float, ci95: Interval | None) -> Figure:
    missing = None if ci95 else "the report holds no interval"
    return Figure(name, unit, value, ci95, missing)


def _widened(ci95: Interval, medians: Sequence[float], value: float) -> Interval:
    """Widen the interval of a median to what its processes say of each other."""
    if len(medians) < 2 or min(medians) <= 0:
        return ci95
    logs = [math.log(median) for median in medians]
    n = len(logs)
    mean = sum(logs) / n
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / (n - 1))
    half = (_T975[n - 2] if n - 2 < len(_T975) else 2.2) * deviation / math.sqrt(n)
    return min(ci95[0], value * math.exp(-half)), max(ci95[1], value * math.exp(half))


def _from_histogram(histogram: Histogram, share: float, value: float) -> Interval | None:
    n = sum(histogram.counts)
    ends = ranks(n, share)
    edges = histogram.edges_ms
    if ends is None or len(edges) != len(histogram.counts) + 1:
        return None
    below = list(accumulate(histogram.counts))
    low = edges[next(i for i, count in enumerate(below) if count > ends[0])]
    high = edges[next(i for i, count in enumerate(below) if count > ends[1]) + 1]
    return min(low, value), max(high, value)


def _joined(value: float, ends: Interval | None, p50: float, median: Interval) -> Interval | None:
    if ends is None or min(ends[0], median[0], value) <= 0:
        return None
    low = math.hypot(math.log(value / ends[0]), math.log(p50 / min(p50, median[0])))
    high = math.hypot(math.log(ends[1] / value), math.log(max(p50, median[1]) / p50))
    return value * math.exp(-low), value * math.exp(high)
