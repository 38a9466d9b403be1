"""Which input of a model takes the image, and what the inputs beside it are fed with.

Some exports ask for more than pixels, such as the size that boxes are to be scaled to. What such an
input takes is the knowledge of the head that decodes the outputs: a head may have ``CONSTANTS``,
input name -> a function that makes the values from the (height, width) of the model's input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgecv.errors import UsageError
from edgecv.head import Head
from edgecv.types import Array, TensorSpec

Constants = Mapping[str, Callable[[tuple[int, int]], tuple[float, ...]]]


def image_input(inputs: Sequence[TensorSpec]) -> TensorSpec | None:
    """Return the only input, or among several the only one with the axes of an image."""
    if len(inputs) == 1:
        return inputs[0]
    images = [
        spec
        for spec in inputs
        if len(spec.shape) == 4 and (spec.shape[1] in (1, 3) or spec.shape[3] in (1, 3))
    ]
    return images[0] if len(images) == 1 else None


def unknown(head: Head, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """List the inputs beside the image for which a head has no constant."""
    image, known = image_input(inputs), _constants(head)
    return tuple(spec for spec in inputs if spec is not image and spec.name not in known)


def constants(
    head: Head, name: str, inputs: Sequence[TensorSpec], input_hw: tuple[int, int]
) -> dict[str, Array]:
    """Make what the inputs beside the image are fed with, for one image.

    Args:
        head: decodes the model's outputs.
        name: of the head, for errors.
        inputs: of the model.
        input_hw: (height, width) of its image input in pixels.

    Returns:
        Input name -> array of its dtype and shape, a free axis being 1; empty for most models.

    Raises:
        UsageError: the head has no constant for an input, or one of another size.
    """
    image, known = image_input(inputs), _constants(head)
    fed = {}
    for spec in inputs:
        if spec is image:
            continue
        values = known[spec.name](input_hw) if spec.name in known else None
        shape = tuple(1 if n is None else n for n in spec.shape)
        if values is None or math.prod(shape) != len(values):
            raise UsageError(
                f"head {name} does not know what this input takes",
                where=f"input {spec.name}",
                expected=", ".join(known) or "no input beside the image",
                got="; ".join(map(str, unknown(head, inputs) or (spec,))),
                remedy="export the model with an image as its only input",
            )
        fed[spec.name] = np.array(values, spec.dtype).reshape(shape)
    return fed


def _constants(head: Head) -> Constants:
    known: Constants = getattr(head, "CONSTANTS", {})
    return known
