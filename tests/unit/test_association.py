"""Assignment: the best of all, against an exhaustive search."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.association import NOBODY, Pairing, assign


def total(cost: np.ndarray, rows, columns, limit: float) -> float:
    left = cost.shape[0] + cost.shape[1] - 2 * len(rows)
    return float(cost[rows, columns].sum()) + left * limit / 2


def best(cost: np.ndarray, limit: float) -> float:
    """Try every way to pair."""
    r, c = cost.shape
    found = np.inf
    for columns in permutations([*range(c), *[-1] * r], r):
        pairs = [(i, j) for i, j in enumerate(columns) if j >= 0]
        if all(cost[i, j] <= limit for i, j in pairs):
            rows, cols = [i for i, _ in pairs], [j for _, j in pairs]
            found = min(found, total(cost, rows, cols, limit))
    return found


value = st.one_of(st.floats(0, 1.5), st.just(float("inf")))


@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    limit=st.floats(0.1, 1.2),
)
def test_it_is_the_best(data, shape: tuple[int, int], limit: float) -> None:
    cells = data.draw(st.lists(value, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    cost = np.array(cells).reshape(shape)
    rows, columns = assign(cost, limit)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    assert (cost[rows, columns] <= limit).all()
    assert total(cost, rows, columns, limit) == pytest.approx(best(cost, limit), abs=1e-9)


def test_a_greedy_choice_would_be_worse() -> None:
    rows, columns = assign(np.array([[0.1, 0.2], [0.2, 0.9]]), 1.0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_one_good_pair_is_better_than_two_bad_ones() -> None:
    cost = np.array([[0.0, 0.9], [0.9, 5]])
    rows, columns = assign(cost, 1.0)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])
    rows, columns = assign(cost, 2.0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_nothing_to_pair() -> None:
    for shape in ((0, 0), (0, 3), (3, 0), (2, 2)):
        rows, columns = assign(np.full(shape, np.inf), 1.0)
        assert not len(rows)
        assert not len(columns)
    assert not len(assign(np.full((2, 2), np.nan), 1.0)[0])


def test_later_rounds_take_what_is_left() -> None:
    pairing = Pairing(2, 2)
    pairing.round(np.array([1]), np.array([0]), np.array([[0.3]]), 1.0)
    assert pairing.track_of.tolist() == [1, NOBODY]
    assert pairing.tracks(np.array([0, 1])).tolist() == [0]
    assert pairing.detections(np.array([0, 1])).tolist() == [1]
    pairing.round(np.array([0]), np.array([1]), np.array([[2.0]]), 1.0)
    assert pairing.taken.tolist() == [False, True]
