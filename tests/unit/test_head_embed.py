"""Embeddings: which tensor is read, how tokens are pooled, and how two vectors are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgecv.errors import HeadError, UsageError
from edgecv.head import Fit
from edgecv.heads import embed
from edgecv.heads.embed import Options
from edgecv.result import Result, Timings
from edgecv.results.classes import Classes
from edgecv.results.embedding import Embedding
from edgecv.types import TensorSpec


def decode(outputs: Any, **options: Any) -> Any:
    given = outputs if isinstance(outputs, dict) else {"o": outputs}
    given = {name: np.asarray(value, np.float32) for name, value in given.items()}
    return embed.decode(given, Options(**options)).vector


@pytest.mark.parametrize("shape", [(1, -1), (1, -1, 1, 1), (1, 1, 1, -1)])
def test_golden_vector_has_length_1(shape: tuple[int, ...]) -> None:
    vector = decode(np.array([3.0, 0, -4]).reshape(shape))
    np.testing.assert_allclose(vector, [0.6, 0, -0.8], rtol=1e-7)
    assert vector.dtype == np.float32


def test_length_is_kept_if_told() -> None:
    assert decode([[3.0, 0, -4]], normalize=False).tolist() == [3, 0, -4]


TOKENS = [[[1.0, 0.0], [9.0, 2.0], [5.0, 4.0], [4.0, 0.0]]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 0]),
        ({"pooling": "cls", "skip_tokens": 2}, [1, 0]),
        ({"pooling": "mean"}, [19 / 4, 6 / 4]),
        ({"pooling": "mean", "skip_tokens": 1}, [6, 2]),
        ({"pooling": "mean", "skip_tokens": 3}, [4, 0]),
    ],
)
def test_pooling_of_tokens(options: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(decode(TOKENS, normalize=False, **options), expected)


def test_pooling_that_leaves_nothing_or_is_unknown() -> None:
    with pytest.raises(HeadError, match=r"more than 4 tokens \[1, T, D\]; got o \[1, 4, 2\]"):
        decode(TOKENS, pooling="mean", skip_tokens=4)
    with pytest.raises(HeadError, match="pooling: expected cls or mean; got max"):
        decode(TOKENS, pooling="max")


def test_names_say_which_output_is_read() -> None:
    outputs = {"last_hidden_state": TOKENS, "pooler_output": [[0, 2]], "image_embeds": [[0, -3]]}
    assert decode(outputs).tolist() == [0, -1]
    del outputs["image_embeds"]
    assert decode(outputs).tolist() == [0, 1]
    assert decode(outputs, output="last_hidden_state").tolist() == [1, 0]
    with pytest.raises(HeadError, match="expected 'nope'; got last_hidden_state, pooler_output"):
        decode(outputs, output="nope")
    with pytest.raises(HeadError, match=r"expected one of image_embeds, .*; got a, b"):
        decode({"a": [[1, 2]], "b": [[1, 2]]})


def test_zeros_stay_zeros_and_huge_numbers_do_not_overflow() -> None:
    assert decode([[0, 0, 0]]).tolist() == [0, 0, 0]
    np.testing.assert_allclose(decode([[3e38, 0, 3e38]]), [0.5**0.5, 0, 0.5**0.5], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(HeadError, match="expected 3 numbers; got 1 that are not"):
        decode([[1, value, 2]])


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (1, 0), (1, 2, 3, 4), (1, 4, 2, 1), (1, 0, 4)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(HeadError, match=r"got o \["):
        decode(np.zeros(shape))


NAMED = [
    ({"image_embeds": (1, 512)}, Fit.CERTAIN),
    ({"last_hidden_state": (1, 197, 384), "pooler_output": (1, 384)}, Fit.CERTAIN),
    ({"last_hidden_state": (1, 2048, 7, 7), "pooler_output": (1, 2048, 1, 1)}, Fit.CERTAIN),
    ({"image_embeds": (None, 512)}, Fit.CERTAIN),
    ({"last_hidden_state": (1, 197, 384)}, Fit.POSSIBLE),
    ({"tokens": (1, 197, 384)}, Fit.NO),
    ({"v": (1, 512)}, Fit.POSSIBLE),
    ({"v": (1, None)}, Fit.POSSIBLE),
    ({"v": (1, 15)}, Fit.NO),
    ({"v": (1, 1000)}, Fit.NO),
    ({"image_embeds": (1, 1000)}, Fit.NO),
    ({"a": (1, 512), "b": (1, 512)}, Fit.NO),
    ({}, Fit.NO),
]


@pytest.mark.parametrize(("outputs", "fit"), NAMED)
def test_recognise(outputs: dict[str, tuple[int, ...]], fit: Fit) -> None:
    specs = [TensorSpec(name, shape, "float32") for name, shape in outputs.items()]
    assert embed.recognise([TensorSpec("x", (1, 3, 224, 224), "float32")], specs) is fit


def test_cosine_and_difference() -> None:
    a, b = (Embedding(np.array(v, np.float32)) for v in ([1, 0], [3, 4]))
    zero, longer = Embedding(np.zeros(2, np.float32)), Embedding(np.ones(3, np.float32))
    assert a.cosine(b) == pytest.approx(0.6)
    assert a.difference(b).score == pytest.approx(0.4)
    assert a.cosine(Embedding(-a.vector)) == -1
    assert (zero.cosine(a), zero.cosine(zero)) == (0, 1)
    assert a.difference(longer).score == 2
    with pytest.raises(ValueError, match="expected 2 numbers; got 3"):
        a.cosine(longer)
    with pytest.raises(ValueError, match=r"expected shape \(D,\); got \(1, 2\)"):
        Embedding(np.zeros((1, 2), np.float32))


FLOATS = arrays.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
)


@given(FLOATS)
def test_json_keeps_the_direction(values: Any) -> None:
    given = Embedding(values)
    back = Embedding.from_json(given.to_json(()))
    assert back.difference(given).score < 1e-10
    assert back.to_json(()) == given.to_json(())


@given(FLOATS)
def test_decoded_vectors_have_length_1(values: Any) -> None:
    length = float(np.linalg.norm(decode(values[None]).astype(np.float64)))
    assert length == pytest.approx(1, abs=1e-5) or not values.any()


def test_the_result_names_it() -> None:
    times = Timings(0, 0, 0, 0, 0)
    value = Embedding(np.ones(1, np.float32))
    assert Result(value, "", (1, 1), (), times).embedding is value
    with pytest.raises(UsageError, match="this model does not embed"):
        _ = Result(Classes(), "", (1, 1), (), times).embedding
