"""Find an image's vector among a model's outputs, for all heads that work on embeddings.

Hugging Face's vision models put out ``last_hidden_state`` [1, T, D], a vector for each token with
the class token first, and ``pooler_output`` [1, D]; those that were trained beside a text tower put
out ``image_embeds`` [1, D], in the space that both towers share. Source: the documentation of
``BaseModelOutputWithPooling`` and ``CLIPVisionModelOutput`` in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from edgecv.errors import HeadError
from edgecv.head import wrong_shape
from edgecv.types import Array, Float32, TensorSpec

Pooling = Literal["cls", "mean"]

PREFERRED = ("image_embeds", "pooler_output", "last_hidden_state")
"""Names that say what a tensor is; the first that a model has is read."""

SHAPES = "[1, D], [1, D, 1, 1], [1, 1, 1, D] or tokens [1, T, D]"


def pick(outputs: Mapping[str, Array], output: str | None, head: str) -> tuple[str, Array]:
    """Choose the tensor that holds the vector.

    Args:
        outputs: a model's, by name.
        output: name of the tensor; None takes the first of `PREFERRED`, or the only one.
        head: name for the error.

    Raises:
        HeadError: there is no such tensor, or several and no name says which.
    """
    if output is not None:
        wanted = [output]
    else:
        wanted = [name for name in PREFERRED if name in outputs] or list(outputs)[:2]
        if len(wanted) > 1 and wanted[0] not in PREFERRED:
            wanted = []
    if not wanted or wanted[0] not in outputs:
        raise HeadError(
            "cannot tell which output holds the vector",
            where=f"head {head}: output",
            expected=repr(output) if output is not None else f"one of {', '.join(PREFERRED)}",
            got=", ".join(outputs) or "no outputs",
            remedy="name it with the option output",
        )
    return wanted[0], outputs[wanted[0]]


def vector_of(
    outputs: Mapping[str, Array],
    *,
    output: str | None,
    pooling: str,
    skip_tokens: int,
    head: str,
) -> Float32:
    """Read one image's vector, (D,) float32, not yet of length 1.

    Args:
        outputs: a model's, with a batch axis of 1.
        output: see `pick`.
        pooling: of tokens: ``cls`` takes the first, ``mean`` averages them.
        skip_tokens: tokens at the beginning that ``mean`` leaves out: the class token, registers.
        head: name for the errors.

    Raises:
        HeadError: another shape, an unknown pooling, or a value that is not finite.
    """
    name, array = pick(outputs, output, head)
    shown = {name: array}
    if pooling not in ("cls", "mean"):
        raise HeadError("", where=f"head {head}: pooling", expected="cls or mean", got=pooling)
    if array.ndim not in (2, 3, 4) or array.shape[0] != 1 or not array.size:
        raise wrong_shape(head, SHAPES, shown)
    if array.ndim == 4 and max(array.shape) != array.size:
        raise wrong_shape(head, SHAPES, shown)
    values = np.asarray(array[0], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if values.ndim != 2:
            vector = values.ravel()
        elif pooling == "cls":
            vector = values[0]
        elif len(values) <= skip_tokens:
            raise wrong_shape(head, f"more than {skip_tokens} tokens [1, T, D]", shown)
        else:
            vector = values[skip_tokens:].mean(axis=0)
    if not np.isfinite(vector).all():
        raise HeadError(
            "the vector is not finite",
            where=f"head {head}",
            expected=f"{vector.size} numbers",
            got=f"{np.count_nonzero(~np.isfinite(vector))} that are not",
        )
    return vector


def unit(vector: Float32) -> Float32:
    """Scale (..., D) vectors to length 1; one of zeros stays as it is."""
    # float64: squares of large float32 numbers leave its range.
    wide = vector.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1), np.float32)


def vector_sizes(specs: Sequence[TensorSpec]) -> dict[str, int | None]:
    """List the outputs that hold one vector by their shapes, each with its size (None is free)."""
    found: dict[str, int | None] = {}
    for spec in specs:
        inner = spec.shape[1:]
        if len(inner) == 1 or (len(inner) == 3 and inner[1] == 1 and 1 in (inner[0], inner[2])):
            sizes = [n for n in inner if n != 1]
            if len(sizes) == 1:
                found[spec.name] = sizes[0]
    return found
