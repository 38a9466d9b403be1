"""What every calibrator must do, and what each of them is for."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgecv import plugins
from edgecv.converters.calibrator import load_calibrator
from edgecv.converters.calibrators import entropy, minmax, mse, percentile
from edgecv.converters.statistics import Histogram
from edgecv.types import Array

NAMES = plugins.names("converters.calibrators")
each = pytest.mark.parametrize("name", NAMES)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
ARRAYS = npst.arrays(np.float32, st.integers(1, 300), elements=FINITE)

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(0, 1, 16_000)
SHAPES = {
    "normal": NORMAL,
    "laplace": RNG.laplace(0, 2, 16_000),
    "relu": np.maximum(NORMAL, 0),
    "silu": 3 * NORMAL / (1 + np.exp(-3 * NORMAL)),
    "relu6": np.clip(4 * NORMAL, 0, 6),
    "uniform": RNG.uniform(0, 1, 16_000),
    "negative": -np.abs(NORMAL),
    "far": 1000 + NORMAL,
    "constant": np.full(100, 3.0),
    "pixels": RNG.integers(0, 256, 16_000).astype(float),
}


def histogram(values: Array) -> Histogram:
    made = Histogram("t")
    made.update(np.asarray(values, np.float32))
    return made


def error(values: Array, low: float, high: float) -> float:
    """Round values to 256 levels as a kernel does; return the mean squared error."""
    step = (high - low) / 255
    zero = np.rint(-low / step)
    levels = np.clip(np.rint(values / step) + zero, 0, 255)
    return float(np.square((levels - zero) * step - values).mean())


def check(values: Array, name: str) -> tuple[float, float]:
    made = histogram(values)
    low, high = load_calibrator(name).choose(made)
    assert np.isfinite([low, high]).all()
    assert low <= 0 <= high
    assert low < high
    if (low, high) != (0, 1):
        assert min(made.low, 0) <= low
        assert high <= max(made.high, 0)
    return low, high


@each
@given(values=ARRAYS)
def test_any_tensor_gets_a_range_within_its_extremes_and_with_zero(name, values):
    check(values, name)


@each
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_activations(name, shape):
    low, high = check(SHAPES[shape], name)
    if SHAPES[shape].min() >= 0:
        assert low == 0
    if SHAPES[shape].max() <= 0:
        assert high == 0
    # Whatever is clipped, nearly all of the tensor is not clipped by more than two steps.
    near = 2 * (high - low) / 255
    assert np.mean((SHAPES[shape] >= low - near) & (SHAPES[shape] <= high + near)) > 0.97


@each
def test_a_tensor_of_zeros_gets_a_range_of_one(name):
    assert load_calibrator(name).choose(histogram(np.zeros(9))) == (0, 1)


@each
def test_a_constant_tensor_is_represented(name):
    for value in (2.5, -0.125):
        low, high = check(np.full(50, value), name)
        assert error(np.full(50, value), low, high) < 1e-6 * value**2


@each
def test_it_is_quick(name):
    made = histogram(SHAPES["silu"])
    choose = load_calibrator(name).choose
    best = min(_seconds(choose, made) for _ in range(5))
    assert best < 0.01


def test_minmax_is_exact():
    assert minmax.choose(histogram(np.array([-1.5, 0.25, 7]))) == (-1.5, 7)


def test_percentile_leaves_out_its_share_at_both_ends():
    low, high = percentile.choose(histogram(np.linspace(-1, 1, 16_001)))
    assert low == pytest.approx(-percentile.SHARE, abs=2e-4)
    assert high == pytest.approx(percentile.SHARE, abs=2e-4)


@pytest.mark.parametrize(("images", "cut"), [(1, False), (9, True)])
def test_percentile_cuts_what_is_rarer_than_its_share(images, cut):
    made = Histogram()
    for _ in range(images):
        made.update(NORMAL[:10_000])
    made.update(np.array([500.0, -500.0]))
    low, high = percentile.choose(made)
    assert (-6 < low < high < 6) == cut
    assert (low < -490 and high > 490) != cut


@pytest.mark.parametrize("outlier", [100, 1000, 30_000])
def test_outliers_are_cut_by_what_is_made_to_cut_them(outlier):
    one = Histogram()
    for _ in range(20):
        one.update(NORMAL)
    one.update(np.array([outlier, -outlier], np.float32))
    assert minmax.choose(one) == (-outlier, outlier)
    low, high = percentile.choose(one)
    assert high < max(6, outlier / 500)
    if outlier < 10_000:  # else all values but the outliers fall into two bins
        assert entropy.choose(one)[1] < 0.6 * outlier
    # An outlier of 30,000 costs more squared error when cut than all others do when coarse.
    low, high = mse.choose(one)
    values = np.concatenate([*[NORMAL] * 20, [outlier, -outlier]])
    assert error(values, low, high) <= 1.02 * error(values, -outlier, outlier)


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_is_no_worse_than_minmax(shape):
    values = np.asarray(SHAPES[shape], np.float32).astype(np.float64)
    found = error(values, *mse.choose(histogram(values)))
    whole = error(values, *minmax.choose(histogram(values)))
    assert found <= 1.02 * whole + 1e-12


@given(values=ARRAYS)
def test_mse_expects_no_more_error_than_with_the_whole_range(values):
    made = histogram(values)

    def expected(choice):
        return mse.expected_error(made, *(np.array([end]) for end in choice))[0]

    assert expected(mse.choose(made)) <= expected(minmax.choose(made)) * (1 + 1e-9)


def test_mse_gains_on_a_long_tail():
    rng = np.random.default_rng(1)
    images = [rng.laplace(0, 1, 16_000) for _ in range(30)]
    made = Histogram()
    for image in images:
        made.update(image)
    values = np.concatenate(images)
    assert error(values, *mse.choose(made)) < 0.9 * error(values, *minmax.choose(made))


def test_expected_error_is_what_rounding_makes():
    for shape in ("normal", "laplace", "silu", "uniform"):
        values = SHAPES[shape]
        for low, high in ((values.min(), values.max()), (values.min() / 2, values.max() / 2)):
            low = min(low, 0)
            expected = mse.expected_error(
                histogram(values), np.array([float(low)]), np.array([float(high)])
            )
            assert expected[0] == pytest.approx(error(values, low, high), rel=0.15)


def test_entropy_prefers_cutting_a_thin_tail_to_coarse_levels():
    values = np.concatenate([NORMAL, RNG.uniform(4, 40, 15)])
    low, high = entropy.choose(histogram(values))
    assert 3 < high < 20
    assert low == pytest.approx(values.min(), rel=0.4)


def test_entropy_keeps_what_it_cannot_judge():
    assert entropy.choose(histogram(np.arange(0, 256))) == (0, 255)


@pytest.mark.parametrize("choose", [entropy.choose, mse.choose])
def test_exact_zeros_cost_nothing(choose):
    few, many = histogram(np.maximum(NORMAL, 0)), histogram(np.maximum(NORMAL, 0))
    for _ in range(5):
        many.update(np.zeros(16_000))
    assert choose(many) == choose(few)


def _seconds(choose, made) -> float:
    start = time.perf_counter()
    choose(made)
    return time.perf_counter() - start
