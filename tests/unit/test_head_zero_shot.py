"""Zero-shot classes: the published formulas, and vectors that cannot be meant."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.errors import HeadError
from edgecv.heads import zero_shot
from edgecv.heads.zero_shot import Options

CLASSES = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)


def decode(vector: Any, **options: Any) -> Any:
    given = Options(**{"class_embeddings": CLASSES, **options})
    return zero_shot.decode({"o": np.array([vector], np.float32)}, given)


def test_softmax_of_the_scaled_cosine() -> None:
    found = decode([10, 0], logit_scale=2.0)
    weights = [math.exp(2 * c) for c in (1.0, 0.6, 0.0)]
    assert found.class_id.tolist() == [0, 2, 1]
    np.testing.assert_allclose(found.score, np.array(weights) / sum(weights), rtol=1e-6)


def test_sigmoid_with_scale_and_bias() -> None:
    found = decode([0, -3], sigmoid=True, logit_scale=4.0, logit_bias=1.0)
    expected = {0: 0.0, 1: -1.0, 2: -0.8}
    assert found.class_id.tolist() == [0, 2, 1]
    for class_id, score in found:
        logit = 4 * expected[class_id] + 1
        assert score == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-6)


def test_the_image_vector_is_read_as_the_head_embed_reads_it() -> None:
    tokens = {"last_hidden_state": np.array([[[9, 9], [0, 2], [0, 4]]], np.float32)}
    options = Options(class_embeddings=CLASSES, pooling="mean", skip_tokens=1)
    assert zero_shot.decode(tokens, options).class_id[0] == 1


def test_an_image_vector_of_zeros_says_nothing() -> None:
    np.testing.assert_allclose(decode([0, 0]).score, [1 / 3] * 3, rtol=1e-6)


@pytest.mark.parametrize(("top_k", "count"), [(0, 0), (2, 2), (9, 3)])
def test_top_k(top_k: int, count: int) -> None:
    assert len(decode([1, 2], top_k=top_k)) == count


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=2), st.floats(0, 1e6), st.booleans())
def test_scores_are_probabilities(vector: list[float], scale: float, sigmoid: bool) -> None:
    score = decode(vector, logit_scale=scale, sigmoid=sigmoid).score
    assert np.isfinite(score).all()
    assert (np.diff(score) <= 0).all()
    assert sigmoid or score.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (CLASSES[0], r"expected shape \(C, D\); got \(2,\)"),
        (np.zeros((0, 2), np.float32), r"expected shape \(C, D\); got \(0, 2\)"),
        (CLASSES * 3, "rows of length 1; got 3"),
        (np.zeros((2, 2), np.float32), "rows of length 1; got 0"),
    ],
)
def test_wrong_class_vectors(rows: Any, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        Options(class_embeddings=rows)


def test_vectors_that_do_not_fit_each_other() -> None:
    with pytest.raises(HeadError, match=r"a vector of 2 numbers, .*; got o \[1, 3\]"):
        decode([1, 2, 3])
    with pytest.raises(HeadError, match="another number of classes: expected 3; got 4"):
        decode([1, 2], num_classes=4)
    with pytest.raises(HeadError, match="the vectors of the classes are missing"):
        decode([1, 2], class_embeddings=None)
    with pytest.raises(HeadError, match="got 1 that are not"):
        decode([1, math.nan])
