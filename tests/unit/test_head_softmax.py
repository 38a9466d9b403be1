import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.errors import HeadError
from edgecv.heads import softmax
from edgecv.heads.softmax import Options
from edgecv.results.classes import Classes


def decode(values, shape=(1, -1), **options):
    return softmax.decode({"o": np.array(values).reshape(shape)}, Options(**options))


@pytest.mark.parametrize("shape", [(1, -1), (1, -1, 1, 1), (1, 1, 1, -1)])
def test_golden_logits(shape):
    found = decode(np.log([1.0, 4.0, 2.0, 3.0]) + 5, shape)
    assert found.class_id.tolist() == [1, 3, 2, 0]
    np.testing.assert_allclose(found.score, [0.4, 0.3, 0.2, 0.1], rtol=1e-6)
    assert (found.class_id.dtype, found.score.dtype) == (np.int32, np.float32)


def test_golden_probabilities_stay_as_they_are():
    found = decode([0.1, 0.2, 0.65, 0.05], top_k=2)
    assert found.class_id.tolist() == [2, 1]
    np.testing.assert_allclose(found.score, [0.65, 0.2])


def test_the_option_overrules_what_the_values_look_like():
    expected = np.exp([0.9, 0.1]) / np.exp([0.9, 0.1]).sum()
    np.testing.assert_allclose(decode([0.9, 0.1], logits=True).score, expected, rtol=1e-6)
    np.testing.assert_allclose(decode([3.0, 1.0], logits=False).score, [3, 1])


def test_small_logits_in_0_to_1_are_not_taken_for_probabilities():
    expected = np.exp([0.9, 0.3]) / np.exp([0.9, 0.3]).sum()
    np.testing.assert_allclose(decode([0.9, 0.3]).score, expected, rtol=1e-6)


@given(st.integers(2, 1200), st.floats(0.1, 30), st.integers(0, 2**32 - 1))
def test_a_softmax_rounded_to_8_bits_is_still_seen(classes, spread, seed):
    logits = np.random.default_rng(seed).normal(0, spread, classes)
    weights = np.exp(logits - logits.max())
    rounded = np.clip(np.rint(weights / weights.sum() * 256), 0, 255).astype(np.float32) / 256
    best = decode(rounded, top_k=1)
    assert best.score[0] == rounded.max()


@given(st.integers(2, 1200), st.floats(2, 10), st.integers(0, 2**32 - 1))
def test_logits_are_seen(classes, spread, seed):
    logits = np.random.default_rng(seed).normal(0, spread, classes)
    total = decode(logits, top_k=classes).score.sum(dtype=float)
    assert total == pytest.approx(1, abs=0.01)


def test_equal_scores_come_in_the_order_of_ids():
    assert decode([0.25, 0.25, 0.25, 0.25], top_k=3).class_id.tolist() == [0, 1, 2]
    assert decode([0.1, 0.2, 0.4, 0.1, 0.2], top_k=4).class_id.tolist() == [2, 1, 4, 0]


@pytest.mark.parametrize(("top_k", "count"), [(0, 0), (1, 1), (4, 4), (9, 4), (-1, 0)])
def test_top_k(top_k, count):
    assert len(decode([0.1, 0.2, 0.3, 0.4], top_k=top_k)) == count


@given(
    st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.75, 1.0]), max_size=12),
    st.integers(-1, 14),
)
def test_ranking_is_that_of_a_sort(scores, count):
    found = Classes.top(np.array(scores, np.float32), count)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert found.class_id.tolist() == [i for i in order if scores[i] > -np.inf][: max(0, count)]
    assert found.score.tolist() == [scores[i] for i in found.class_id]


def test_the_background_is_left_out():
    found = decode([0.7, 0.1, 0.2], background=0)
    assert found.class_id.tolist() == [2, 1]
    np.testing.assert_allclose(found.score, [0.2, 0.1])
    with pytest.raises(HeadError, match="expected 0 to 2; got 3"):
        decode([0.7, 0.1, 0.2], background=3)


def test_integer_scores():
    # Not dequantized by anyone: softmax makes probabilities of them.
    assert decode(np.array([3, 250, 9], np.uint8)).class_id[0] == 1


def test_large_logits_do_not_overflow():
    np.testing.assert_allclose(decode([1e30, 0.0, -1e30]).score, [1, 0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_error(value):
    with pytest.raises(HeadError, match="expected 3 numbers; got 1 that are not"):
        decode([0.1, value, 0.2])


@pytest.mark.parametrize(
    "shape", [(), (5,), (2, 5), (1, 5, 2), (1, 5, 2, 1), (1, 1), (1, 0), (5, 1)]
)
def test_wrong_shapes(shape):
    with pytest.raises(HeadError, match=r"got o \["):
        softmax.decode({"o": np.zeros(shape, np.float32)}, Options())


def test_wrong_number_of_classes():
    with pytest.raises(HeadError, match=r"expected \[1, 1000\]; got o \[1, 4\]"):
        decode([0.1, 0.2, 0.3, 0.4], num_classes=1000)
