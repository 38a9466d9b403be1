"""Finding layers again by their weights."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgecv.converters.layers import Fingerprint, Layer, find

RANDOM = np.random.default_rng(0)


def layer(name: str, weights: np.ndarray) -> Layer:
    return Layer(name, "Conv", Fingerprint.of(weights))


@given(st.permutations(range(4)), st.integers(0, 99))
def test_an_order_of_axes_does_not_matter(axes: list[int], seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(4, 3, 2, 5)).astype(np.float32)
    assert Fingerprint.of(weights).distance(Fingerprint.of(weights.transpose(axes))) < 1e-6


def test_layers_are_found_in_any_order() -> None:
    weights = [RANDOM.normal(size=(8, 4, 3, 3)) for _ in range(5)]
    theirs = [layer(f"t{i}", w) for i, w in enumerate(weights)]
    mine = [layer(f"m{i}", weights[i].transpose(0, 2, 3, 1)) for i in (3, 1, 4, 0, 2)]
    assert find(mine, theirs) == {f"t{i}": f"m{i}" for i in range(5)}


def test_other_weights_are_not_taken_for_it() -> None:
    a, b = RANDOM.normal(size=(2, 8, 4, 3, 3))
    assert find([layer("m", a)], [layer("t", b)]) == {}
    assert find([layer("m", a)], [layer("t", a[:4])]) == {}
    assert find([], [layer("t", a)]) == {}


def test_equal_weights_are_paired_in_order() -> None:
    weights = RANDOM.normal(size=(4, 4))
    mine = [layer("m0", weights), layer("m1", weights)]
    theirs = [layer("t0", weights), layer("t1", weights)]
    assert find(mine, theirs) == {"t0": "m0", "t1": "m1"}


def test_no_weights_at_all() -> None:
    empty = Fingerprint.of(np.zeros(0))
    assert empty.distance(empty) == 0
    assert empty.distance(Fingerprint.of(np.ones(1))) == float("inf")
