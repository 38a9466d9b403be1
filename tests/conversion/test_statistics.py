"""Streaming histograms: exact extremes, honest counts, bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgecv.converters.statistics import BINS, SAMPLES, Histogram, collect
from edgecv.errors import ConversionError
from edgecv.types import Array

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
ARRAYS = st.lists(
    npst.arrays(np.float32, st.integers(1, 40), elements=FINITE), min_size=1, max_size=6
)


def seen(*arrays: Array) -> Histogram:
    histogram = Histogram("t")
    for array in arrays:
        histogram.update(array)
    return histogram


@given(ARRAYS)
def test_every_value_lies_in_its_bin(arrays):
    histogram = seen(*arrays)
    together = np.concatenate(arrays).astype(np.float64)
    assert (histogram.low, histogram.high) == (together.min(), together.max())
    assert histogram.count == histogram.counts.sum() == together.size
    expected, _ = np.histogram(together, histogram.edges)
    # numpy's last bin includes its upper edge, ours does not: it never holds a value.
    assert np.array_equal(histogram.counts, expected)
    assert histogram.edges[0] <= histogram.low
    assert histogram.high < histogram.edges[-1]
    assert len(histogram.edges) == BINS + 1


@given(ARRAYS)
def test_mean_is_that_of_all_values(arrays):
    together = np.concatenate(arrays).astype(np.float64)
    scale = np.abs(together).max()
    assert seen(*arrays).mean == pytest.approx(together.mean(), abs=1e-6 * scale + 1e-30)


def test_order_of_arrays_does_not_matter_to_a_fine_grid():
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, scale, 1000) for scale in (0.01, 1, 30)]
    up, down = seen(*parts), seen(*parts[::-1])
    assert up.width == down.width
    assert np.array_equal(up.counts, down.counts)


def test_extremes_come_from_all_values_though_few_are_counted():
    values = np.zeros(50 * SAMPLES, np.float32)
    values[12_345], values[-7] = -3, 1000
    histogram = seen(values)
    assert (histogram.low, histogram.high) == (-3, 1000)
    assert histogram.count == values.size
    assert histogram.counts.sum() <= SAMPLES


def test_a_sample_meets_every_channel_and_column():
    channels = np.zeros((64, 64, 256), np.float32) + np.arange(256, dtype=np.float32)
    counts = seen(channels).counts
    share = counts[counts > 0] / counts.sum()
    assert len(share) == 256
    assert share.max() / share.min() < 1.5


def test_values_of_other_sizes_keep_what_was_counted():
    histogram = seen(np.array([1e-30, -1e-30], np.float32), np.array([1e30], np.float32))
    assert histogram.counts.sum() == 3
    assert histogram.counts[-1 - int(np.argmax(histogram.counts[::-1] > 0))] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor(bad):
    runs = [{"good": np.ones(3), "relu_7": np.ones(2)}, {"relu_7": np.array([1, bad])}]
    with pytest.raises(ConversionError, match=r"relu_7.*not finite.*image 2"):
        collect(runs)


def test_integers_and_empty_tensors_are_passed_over():
    run = {"i": np.arange(3), "b": np.array([True]), "f": np.ones(2, np.float16)}
    assert set(collect([run, run])) == {"f"}
    empty = seen(np.zeros((0, 3), np.float32), np.array([2.0]))
    assert (empty.low, empty.high, empty.count) == (2, 2, 1)


def test_memory_does_not_grow_with_the_number_of_images():
    def images(count):
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield {name: rng.normal(0, 1, 100_000) for name in ("a", "b")}

    def peak(count):
        tracemalloc.start()
        collect(images(count))
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    assert peak(60) < 1.2 * peak(5)


def test_each_image_is_let_go_before_the_next_one_is_made():
    alive = []

    def images():
        import weakref

        for _ in range(4):
            array = np.ones(1000)
            alive.append(weakref.ref(array))
            yield {"a": array}
            del array
            assert sum(ref() is not None for ref in alive) <= 1

    collect(images())
    assert len(alive) == 4


@pytest.mark.parametrize(
    ("values", "asked", "given"),
    [
        ([-2, 5], (-9, 9), (-2, 5)),
        ([-2, 5], (-1, 3), (-1, 3)),
        ([3, 5], (3, 4), (0, 4)),
        ([-5, -3], (-4, -3), (-4, 0)),
        ([0, 0], (0, 0), (0, 1)),
        ([1e-40], (0, 1e-40), (0, 1)),
    ],
)
def test_usable_ranges(values, asked, given):
    assert seen(np.array(values, np.float32)).usable(*asked) == given
