"""One score for each class: ``[1, C]``, ``[1, C, 1, 1]`` or ``[1, 1, 1, C]``.

The scores are probabilities, or logits that a softmax turns into probabilities. Class ids are
positions in the tensor: a model whose first class is the background has labels that start with it.

Recognised by shape:

===========================  ========  ==========================================================
output                       fit       why
===========================  ========  ==========================================================
1000 or 1001 values          CERTAIN   ImageNet's classes, without or with a background
another number, at least 2   POSSIBLE  an embedding looks alike
===========================  ========  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels, only_output, output_shapes, wrong_shape
from edgecv.record import Record
from edgecv.results.classes import Classes
from edgecv.types import Array, Float32, TensorSpec

TASK = "classify"
# ImageNet's usual evaluation, with the resize of Pillow and torchvision: plain bilinear sampling
# gives other pixels, and other top-1 figures, than the ones that models are evaluated with.
PIXELS = Pixels(
    "crop",
    "rgb",
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
    crop_ratio=0.875,
    interpolation="linear-antialias",
)


class Options(Record, kw_only=True):
    """How to read the tensor.

    Attributes:
        input_hw: (height, width) of the model's input; not used.
        num_classes: values that the tensor must hold, background included; 0 takes any number.
        logits: True for logits, False for probabilities. None sees it from the values: they are
            probabilities if each is in 0-1 and their sum differs from 1 by no more than 0.01, or
            than C / 512, the worst that rounding to 8 bits (in steps of 1/256) can do.
        top_k: classes in the result.
        background: class id that is left out of the result, or None.
    """

    input_hw: tuple[int, int] = (0, 0)
    num_classes: int = 0
    logits: bool | None = None
    top_k: int = 5
    background: int | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) not in (1, 3):
        return Fit.NO
    sizes = [n for n in shapes[0] if n != 1]
    if len(sizes) != 1 or (len(shapes[0]) == 3 and shapes[0][1] != 1):
        return Fit.NO
    if sizes[0] is None:
        return Fit.POSSIBLE
    return Fit.CERTAIN if sizes[0] in (1000, 1001) else Fit.POSSIBLE


def decode(outputs: Mapping[str, Array], options: Options) -> Classes:
    """Rank the classes; equal scores come in the order of their ids.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or a value that is not finite.
    """
    array = only_output(outputs, "softmax")
    wanted = options.num_classes or array.size
    if array.ndim not in (2, 4) or max(array.shape) != array.size or array.size not in (wanted,):
        raise wrong_shape("softmax", f"[1, {options.num_classes or 'C'}]", outputs)
    if array.shape[0] != 1 or array.size < 2:
        raise wrong_shape("softmax", "[1, C] with at least 2 classes", outputs)
    values = np.asarray(array, np.float32).ravel()
    low, high = float(np.min(values)), float(np.max(values))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise HeadError(
            "a score is not finite",
            where="head softmax",
            expected=f"{values.size} numbers",
            got=f"{np.count_nonzero(~np.isfinite(values))} that are not",
        )
    logits = options.logits
    if logits is None:
        tolerance = max(0.01, values.size / 512)
        spread = abs(float(values.sum(dtype=np.float64)) - 1) > tolerance
        logits = low < 0 or high > 1 or spread
    scores = _softmax(values, high) if logits else values
    if options.background is not None:
        scores = _without(scores, options.background)
    return Classes.top(scores, options.top_k)


def _softmax(values: Float32, high: float) -> Float32:
    with np.errstate(over="ignore"):
        weights = np.exp(values - np.float32(high))
    return np.asarray(weights / weights.sum(), np.float32)


def _without(scores: Float32, background: int) -> Float32:
    """Mark the background so that it is never ranked."""
    if not 0 <= background < scores.size:
        raise HeadError(
            "no such class",
            where="head softmax: background",
            expected=f"0 to {scores.size - 1}",
            got=str(background),
        )
    scores = scores.copy()
    scores[background] = -np.inf
    return scores
