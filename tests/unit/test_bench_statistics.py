"""The statistics of the benchmark, against brute force and known distributions."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecv.bench import statistics
from edgecv.bench.interleaved import Ratio


def test_a_summary_of_known_samples() -> None:
    data = [float(i) for i in range(1, 101)]
    random.Random(3).shuffle(data)
    said = statistics.summarise([data])
    assert (said.n, said.mean, said.min, said.max, said.p50) == (100, 50.5, 1.0, 100.0, 50.5)
    assert said.p90 == pytest.approx(np.percentile(data, 90), abs=1e-3)
    assert (said.p99, said.p999, said.outliers) == (None, None, 0)


@pytest.mark.parametrize(
    ("count", "known"),
    [(1, ""), (63, ""), (64, "p90"), (661, "p90"), (662, "p90 p99"), (6635, "p90 p99"),
     (6636, "p90 p99 p999")],
)  # fmt: skip
def test_percentiles_have_floors(count: int, known: str) -> None:
    said = statistics.summarise([[1.0] * (count // 2), [1.0] * (count - count // 2)])
    assert said.p50 == 1.0
    assert [q for q in ("p90", "p99", "p999") if getattr(said, q) is not None] == known.split()


def test_no_samples_is_no_number() -> None:
    for nothing in ([], [[]], [[], []]):
        said = statistics.summarise(nothing).to_dict()
        assert (said.pop("n"), said.pop("outliers")) == (0, 0)
        assert set(said.values()) == {None}
        assert statistics.histogram(nothing).counts == ()


@pytest.mark.parametrize("n", [*range(41), 99, 100, 1001])
def test_the_interval_of_the_median_by_brute_force(n: int) -> None:
    low, high = statistics.sign_test_ranks(n)
    total = 2**n

    def coverage(a: int, b: int) -> float:
        # The median lies between the ranks a and b if a + 1 to b samples are below it.
        return sum(math.comb(n, k) for k in range(a + 1, b + 1)) / total

    if low is None or high is None:
        assert (low, high) == (None, None)
        assert n < 6
        # Not even all samples reach 95 %.
        assert n == 0 or coverage(0, n - 1) < 0.95
        return
    assert 0 <= low < high == n - 1 - low
    assert coverage(low, high) >= 0.95
    if low + 1 < n - 2 - low:
        assert coverage(low + 1, high - 1) < 0.95


@pytest.mark.parametrize("count", [3, 5, 8])
def test_intervals_cover_where_processes_differ(count: int) -> None:
    generator = np.random.default_rng(count)
    truth = 1 + 0.1 * math.log(2)
    inside = pooled = 0
    for seed in range(150):
        means = 1 + 0.05 * generator.standard_normal(count)
        runs = [m * (1 + 0.1 * generator.exponential(size=120)) for m in means]
        low, high = statistics.median_interval(runs, seed) or (0, 0)
        inside += low <= truth <= high
        heap = np.sort(np.concatenate(runs))
        low, high = heap[list(statistics.sign_test_ranks(len(heap)))]
        pooled += low <= truth <= high
    assert inside / 150 > 0.9
    # Samples of all processes in one heap do not tell how processes differ.
    assert pooled / 150 < 0.75


def test_one_process_covers_its_own_skewed_median() -> None:
    generator = np.random.default_rng(5)
    samples = generator.exponential(size=(1000, 25))
    found = [statistics.median_interval([row]) or (0, 0) for row in samples]
    assert np.mean([low <= math.log(2) <= high for low, high in found]) > 0.94


def wandering(n: int, memory: float, seed: int) -> np.ndarray:
    """Draw samples about 3 of which each remembers its predecessor: a process of order 1."""
    noise = np.random.default_rng(seed).standard_normal(n)
    for i in range(1, n):
        noise[i] = memory * noise[i - 1] + math.sqrt(1 - memory**2) * noise[i]
    return 3 + 0.1 * noise


@pytest.mark.parametrize(("memory", "most"), [(0.0, 1.0), (0.5, 0.87), (0.9, 0.55)])
def test_one_process_whose_samples_resemble_their_neighbours(memory: float, most: float) -> None:
    inside = as_if_independent = 0
    for seed in range(200):
        samples = wandering(1000, memory, seed)
        low, high = statistics.median_interval([samples]) or (0, 9)
        inside += low <= 3 <= high
        ranks = np.sort(samples)[list(statistics.sign_test_ranks(1000))]
        as_if_independent += ranks[0] <= 3 <= ranks[1]
    assert 0.89 < inside / 200 < 0.99
    assert as_if_independent / 200 <= most


def test_how_many_samples_are_worth_one() -> None:
    # Brute force: the indicator's autocorrelation is 2 / pi * asin(memory ** lag).
    for memory in (0.5, 0.9):
        lags = memory ** np.arange(1, 400)
        truth = 1 + 2 * float((2 / math.pi * np.arcsin(lags)).sum())
        found = [statistics.correlation_time(wandering(4000, memory, s)) for s in range(20)]
        assert np.mean(found) == pytest.approx(truth, rel=0.15)
    assert statistics.correlation_time(np.ones(500)) == 1
    # Too few to tell; and images in turn are no correlation that lasts.
    assert statistics.correlation_time(np.repeat([1.0, 2.0], 31)) == 1
    assert statistics.correlation_time(np.repeat([1.0, 2.0], 32)) > 10
    assert statistics.correlation_time(np.tile([1.0, 2.0, 3.0, 9.0], 200)) < 2


def test_so_few_independent_samples_have_no_interval() -> None:
    assert statistics.median_interval([np.repeat([1.0, 2.0], 100)]) is None


def test_long_runs_are_not_thinned_in_step_with_the_images() -> None:
    # Four images in turn, 8000 samples: every fourth is always the same image.
    turns = np.tile([1.0, 2.0, 3.0, 10.0], 2000)
    generator = np.random.default_rng(0)
    for column in (0, 3):
        shifted = np.roll(turns, column)
        medians = statistics._resampled_medians(shifted, generator)
        assert 2 <= medians.mean() <= 3


def test_an_interval_repeats_and_needs_samples() -> None:
    runs = [[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]]
    assert statistics.median_interval(runs, 1) == statistics.median_interval(runs, 1)
    assert statistics.median_interval([[1.0] * 5]) is None
    assert statistics.median_interval([[1.0] * 6, []]) == (1.0, 1.0)


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (9, 2.262), (10, 2.228), (30, 2.042)])
def test_student_t(freedom: int, t: float) -> None:
    assert statistics.student_t(freedom) == pytest.approx(t, abs=0.005)


def test_the_interval_of_a_mean() -> None:
    assert statistics.mean_interval([1.0]) is None
    # By hand: mean 2, standard deviation 1, t 4.303, n 3.
    assert statistics.mean_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.4844, 4.4844), abs=1e-3)


@given(st.lists(st.floats(0.01, 1e4), min_size=4, max_size=60))
def test_outliers_by_the_definition(data: list[float]) -> None:
    first, third = np.percentile(data, [25, 75])
    reach = 3 * (third - first)
    expected = sum(x < first - reach or x > third + reach for x in data)
    assert statistics.outliers(np.array(data)) == expected


def test_intervals_of_times_and_rates_stay_positive() -> None:
    low, high = statistics.median_interval([[1.0] * 50, [9.0] * 50, [2.0] * 50]) or (0, 0)
    assert 0 < low < 2 < high
    low, high = statistics.rate_interval([1.0, 9.0]) or (0, 0)
    assert 0 < low < 3 < high
    # By hand: logs 0 and ln 9, mean ln 3, half 12.706 ln 9 / 2.
    assert low == pytest.approx(3 / math.exp(12.706 * math.log(9) / 2), rel=1e-3)
    assert statistics.rate_interval([5.0]) is None
    assert statistics.rate_interval([5.0, 0.0]) is None


def test_outliers_are_counted_and_stay() -> None:
    said = statistics.summarise([[1.0, 1.1, 1.2, 1.3] * 5 + [50.0]])
    assert (said.outliers, said.max, said.n) == (1, 50.0, 21)
    assert statistics.outliers(np.array([1.0, 1.0, 99.0])) == 0


@given(st.lists(st.lists(st.floats(0, 1e5), max_size=50), max_size=3))
@example([[1234.56789, 1234.56789, 1234.6]])
@example([[0.0]])
def test_a_histogram_holds_every_sample(runs: list[list[float]]) -> None:
    found = statistics.histogram(runs)
    assert sum(found.counts) == sum(map(len, runs))
    assert len(found.counts) <= 40
    assert list(found.edges_ms) == sorted(set(found.edges_ms))
    edges = zip(found.edges_ms, found.edges_ms[1:], strict=False)
    for count, (low, high) in zip(found.counts, edges, strict=True):
        assert count == sum(low <= sample < high for run in runs for sample in run)


def test_drift() -> None:
    assert statistics.drift([1.0] * 29) is None
    assert statistics.drift([1.0] * 30) == 0
    assert statistics.drift([1.0] * 20 + [2.0] * 10) == pytest.approx(1.0)
    assert statistics.drift([2.0] * 15 + [1.0] * 15) == pytest.approx(-0.5)
    # A single outlier is no drift.
    assert statistics.drift([1.0] * 29 + [900.0]) == 0


@pytest.mark.parametrize(
    ("ci95", "verdict"),
    [((1.01, 1.2), "faster"), ((0.8, 0.99), "slower"), ((0.99, 1.2), "no difference"),
     ((1.0, 1.2), "no difference")],
)  # fmt: skip
def test_an_interval_that_holds_1_is_no_difference(ci95: tuple[float, float], verdict: str) -> None:
    assert Ratio(1.1, ci95).verdict == verdict
