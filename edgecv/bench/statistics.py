"""Summaries of timings that say when there are too few of them.

A cell is measured in several processes, for what differs from process to process (where memory
came to lie, which CPU it began on) is not seen by more samples of one. Every interval here is
therefore over processes first, and over the samples of each second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecv.bench.report import Histogram, Latency

PERCENTILE_FLOORS = {"p50": (50.0, 1), "p90": (90.0, 64), "p99": (99.0, 662), "p999": (99.9, 6636)}
"""Name -> percentile, and the samples below which it is not reported: those of the early-stopping
rule of MLPerf LoadGen (99 % confidence that a run of this length tells it). A median needs no
floor, its interval tells."""

DRIFT_LIMIT = 0.10
OUTER_FENCE = 3.0
"""Interquartile ranges beyond the quartiles: Tukey's "far out", Exploratory Data Analysis, 1977."""
_SHORTEST_MS = 1e-6
_RESAMPLES = 2000
_MEDIANS = 200
_MOST = 2000
_BINS = 40
_FEWEST_CORRELATED = 64
# Student's t, two-sided 95 %, by degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_Z95 = 1.959964


def summarise(processes: Sequence[Sequence[float]], seed: int = 0) -> Latency:
    """Summarise one stage.

    Args:
        processes: the samples of each process in the order of time, milliseconds.
        seed: of the bootstrap.

    Returns:
        Percentiles over all samples together. ``ci95`` is of the median: over processes and blocks
        of their samples; with one process only over its samples, and so too narrow for whatever
        differs between processes.
    """
    data = np.sort(np.concatenate([np.asarray(p, np.float64) for p in processes] or [np.empty(0)]))
    n = len(data)
    if not n:
        return Latency(n=0)
    found = {
        name: round_(np.percentile(data, q)) if n >= floor else None
        for name, (q, floor) in PERCENTILE_FLOORS.items()
    }
    return Latency(
        n=n,
        mean=round_(data.mean()),
        min=round_(data[0]),
        max=round_(data[-1]),
        ci95=median_interval(processes, seed),
        outliers=outliers(data),
        **found,
    )


def median_interval(
    processes: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, float] | None:
    """Return a 95 % interval of the median; None where the samples cannot support one.

    With one process: the order statistics of the sign test (see `sign_test_ranks`), further apart
    by what `correlation_time` says: neighbours that resemble each other tell less than as many
    independent samples. With several: a process is drawn, then blocks of its samples (neighbours
    are drawn together), and the deviations are widened as Student's t is against the normal
    distribution, for so few processes.

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), sections 3.8
    (hierarchical data) and 8.2.3 (block resampling).
    """
    groups = [np.asarray(p, np.float64) for p in processes if len(p)]
    if len(groups) < 2:
        return _one_process(groups[0]) if groups else None
    random = np.random.default_rng(seed)
    medians = np.stack([_resampled_medians(group, random) for group in groups])
    return _over_processes(medians, float(np.median(np.concatenate(groups))), random)


def _one_process(samples: np.ndarray[Any, Any]) -> tuple[float, float] | None:
    data = np.sort(samples)
    low, high = sign_test_ranks(len(data))
    if low is None or high is None:
        return None
    centre = (len(data) - 1) / 2
    low = math.floor(centre - (centre - low) * math.sqrt(correlation_time(samples)))
    return None if low < 0 else (round_(data[low]), round_(data[len(data) - 1 - low]))


def correlation_time(samples: np.ndarray[Any, Any]) -> float:
    """Return how many samples tell as much about the median as one independent sample; at least 1.

    That is the sum of the autocorrelations of "lies below the median", on which the error of a
    median depends. Below 64 samples it cannot be told from chance, and 1 is returned.

    Source: Sen, On the asymptotic normality of sample quantiles for mixing processes (1968); the
    sum ends where Geyer's initial positive sequence does, Practical Markov chain Monte Carlo
    (1992), section 3.3.
    """
    n = len(samples)
    if n < _FEWEST_CORRELATED:
        return 1.0
    below = (samples < np.median(samples)).astype(np.float64)
    below -= below.mean()
    power = np.abs(np.fft.rfft(below, 2 * n)) ** 2
    shared = np.fft.irfft(power, 2 * n)[: n - n % 2]
    if shared[0] < 1e-9:
        return 1.0
    pairs = (shared / shared[0]).reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: ends[0] if len(ends) else None])
    return max(1.0, 2 * float(pairs.sum()) - 1)


def _resampled_medians(samples: np.ndarray[Any, Any], random: np.random.Generator) -> Any:
    """Draw medians of one process, by blocks of about sqrt(n) samples."""
    step = -(-len(samples) // _MOST)
    if step > 1:
        # One of every few, by chance: images that are run in turn must not be thinned in step.
        starts = np.arange(0, len(samples) - step + 1, step)
        samples = samples[starts + random.integers(0, step, len(starts))]
    n = len(samples)
    size = max(1, math.isqrt(n))
    starts = random.integers(0, n - size + 1, (_MEDIANS, -(-n // size)))
    drawn = samples[starts[:, :, None] + np.arange(size)]
    return np.median(drawn.reshape(_MEDIANS, -1), axis=1)


def _over_processes(
    medians: Any, centre: float, random: np.random.Generator
) -> tuple[float, float]:
    # On the logarithmic scale: times are positive, and processes differ by factors.
    logs = np.log(np.maximum(medians, _SHORTEST_MS))
    count = len(logs)
    picked = random.integers(0, count, (_RESAMPLES, count))
    drawn = logs[picked, random.integers(0, logs.shape[1], picked.shape)].mean(axis=1)
    low, high = np.quantile(drawn - drawn.mean(), [0.025, 0.975]) * _widening(count)
    return round_(centre * math.exp(low)), round_(centre * math.exp(high))


def _widening(count: int) -> float:
    """Correct the bootstrap's spread for few processes: sqrt(n / (n - 1)) and Student's t."""
    return math.sqrt(count / (count - 1)) * student_t(count - 1) / _Z95


def student_t(freedom: int) -> float:
    """Return the factor of a two-sided 95 % interval, by degrees of freedom.

    Beyond those tabulated, the first two terms of its expansion about the normal distribution's
    (Fisher and Cornish, 1960): right to 0.005 from there on.
    """
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = _Z95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean over processes, by Student's t; None below two."""
    half = half_width(values)
    if half is None:
        return None
    mean = float(np.mean(values))
    return round_(mean - half), round_(mean + half)


def half_width(values: Sequence[float]) -> float | None:
    """Return half of the 95 % interval of a mean, by Student's t, not rounded; None below two."""
    n = len(values)
    if n < 2:
        return None
    return student_t(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)


def rate_interval(rates: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a rate over processes, on the logarithmic scale."""
    if not rates or min(rates) <= 0:
        return None
    found = mean_interval([math.log(rate) for rate in rates])
    if found is None:
        return None
    low, high = (float(f"{math.exp(value):.6g}") for value in found)
    return low, high


def bootstrap_median(values: np.ndarray[Any, Any], seed: int) -> tuple[float, float]:
    """Bootstrap the 95 % interval of the median of independent values, such as rounds."""
    random = np.random.default_rng(seed)
    drawn = np.median(random.choice(values, (_RESAMPLES, len(values))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def outliers(data: np.ndarray[Any, Any]) -> int:
    """Count the samples beyond Tukey's outer fences; 0 below four samples."""
    if len(data) < 4:
        return 0
    first, third = np.percentile(data, [25, 75])
    reach = OUTER_FENCE * (third - first)
    return int(np.count_nonzero((data < first - reach) | (data > third + reach)))


def histogram(processes: Sequence[Sequence[float]]) -> Histogram:
    """Count all samples in at most 40 bins of equal ratio, the shortest and the longest included.

    Equal ratios show the body of a distribution and its tail in one picture.
    """
    data = np.concatenate([np.asarray(p, np.float64) for p in processes] or [np.empty(0)])
    if not len(data):
        return Histogram()
    low, high = float(data.min()), float(data.max())
    edges = np.geomspace(max(low, 1e-4), max(high, 1e-4) * 1.001, _BINS + 1)
    # Rounded before counting, so that what is told of the bins is true of them.
    edges = np.unique([float(f"{edge:.6g}") for edge in edges])
    edges[0] = min(edges[0], low)
    counts, _ = np.histogram(data, edges)
    return Histogram(edges_ms=tuple(map(float, edges)), counts=tuple(map(int, counts)))


def sign_test_ranks(n: int) -> tuple[int, int] | tuple[None, None]:
    """Find the order statistics that bracket the median with at least 95 % confidence.

    Source: the sign test: the number of samples below the median is binomial(n, 1/2), whatever the
    distribution.

    Returns:
        0-based ranks (low, high); (None, None) below 6 samples, which cannot reach 95 %.
    """
    if n < 6:
        return None, None
    below = 0.0
    low = -1
    for k in range(n // 2):
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        )
        if below > 0.025:
            break
        low = k
    return low, n - 1 - low


def drift(samples_ms: Sequence[float]) -> float | None:
    """Return the change of the median from the first third to the last, as a part of the first.

    None for fewer than 30 samples.
    """
    n = len(samples_ms)
    if n < 30:
        return None
    first = float(np.median(samples_ms[: n // 3]))
    last = float(np.median(samples_ms[-(n // 3) :]))
    return last / first - 1 if first else None


def round_(value: Any) -> float:
    """Round to a tenth of a microsecond, as a plain float."""
    return round(float(value), 4)
