"""One vector: ``[1, D]``, ``[1, D, 1, 1]``, ``[1, 1, 1, D]``, or tokens ``[1, T, D]``.

A model with several outputs has to name one of them ``image_embeds``, ``pooler_output`` or
``last_hidden_state`` (see `edgecv.pooling`), or the option ``output`` says which.

Recognised by shape and by name:

==================================================  ========  ===================================
outputs                                             fit       why
==================================================  ========  ===================================
``image_embeds`` or ``pooler_output``, one vector   CERTAIN   the names say it
``last_hidden_state``, tokens                       POSSIBLE  pooling is a choice
one vector of 16 or more values, under any name     POSSIBLE  scores of classes look alike
1000 or 1001 values                                 NO        ImageNet's classes
==================================================  ========  ===================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecv import pooling
from edgecv.head import Fit, Pixels, output_shapes
from edgecv.record import Record
from edgecv.results.embedding import Embedding
from edgecv.types import Array, TensorSpec

TASK = "embed"
PIXELS = Pixels(
    "crop",
    "rgb",
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
    crop_ratio=0.875,
    interpolation="area",
)

_FEWEST = 16
_IMAGENET = (1000, 1001)
_TOKENS = "last_hidden_state"


class Options(Record, kw_only=True):
    """How to read the outputs.

    Attributes:
        input_hw: (height, width) of the model's input; not used.
        output: name of the tensor that holds the vector; None finds it.
        pooling: of tokens [1, T, D]: ``cls`` takes the first, ``mean`` averages them.
        skip_tokens: tokens at the beginning that ``mean`` leaves out, such as the class token.
        normalize: scale the vector to length 1, so that a dot product is the cosine.
    """

    input_hw: tuple[int, int] = (0, 0)
    output: str | None = None
    pooling: str = "cls"
    skip_tokens: int = 0
    normalize: bool = True


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    if not outputs or output_shapes(inputs, outputs) is None:
        return Fit.NO
    vectors = pooling.vector_sizes(outputs)
    names = [spec.name for spec in outputs]
    if any(size in _IMAGENET for size in vectors.values()):
        return Fit.NO
    if any(name in vectors for name in pooling.PREFERRED):
        return Fit.CERTAIN
    if len(outputs) > 1:
        return Fit.NO
    if names[0] == _TOKENS and len(outputs[0].shape) == 3:
        return Fit.POSSIBLE
    size = vectors.get(names[0], 0)
    return Fit.POSSIBLE if size is None or size >= _FEWEST else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Embedding:
    """Read the vector.

    Args:
        outputs: as in this module's docstring.
        options: how to read them.

    Raises:
        HeadError: no output that can be meant, another shape, or a value that is not finite.
    """
    vector = pooling.vector_of(
        outputs,
        output=options.output,
        pooling=options.pooling,
        skip_tokens=options.skip_tokens,
        head="embed",
    )
    return Embedding(pooling.unit(vector) if options.normalize else vector.copy())
