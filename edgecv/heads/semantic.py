"""A score of each class for every place: ``[1, C, h, w]`` or ``[1, h, w, C]``; or the best class.

Scores may be logits or probabilities, at any stride: they are interpolated to the source image, and
there the best class of each pixel is taken, as the evaluations of DeepLab (Chen et al., *Rethinking
Atrous Convolution*, 2017) and SegFormer's ``post_process_semantic_segmentation`` do. Class ids are
positions on the class axis.

``[1, 1, h, w]``, ``[1, h, w, 1]`` and ``[1, h, w]`` of fractions or logits score a single
foreground: class 1, everything else being class 0. Whole numbers of those shapes are class ids, the
model having taken the best class itself (DeepLab for TFLite, Ultralytics); each source pixel then
takes the nearest.

Recognised by shape, at a stride of 1, 2, 4, 8 or 16 pixels:

================================  ========  =====================================================
output                            fit       why
================================  ========  =====================================================
integers, ``[1, h, w]``           CERTAIN   nothing else puts out whole numbers for each place
C >= 4 scores at stride 1         CERTAIN   images have fewer channels, other maps are smaller
C >= 2 scores, other strides      POSSIBLE  heatmaps and features look alike
one value for each place          POSSIBLE  depth and anomalies look alike
================================  ========  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels, image_size, only_output, output_shapes, wrong_shape
from edgecv.map_outputs import as_plane, finite, holds_classes, plane, stride
from edgecv.record import Record
from edgecv.results.semantic import SemanticMap, SemanticScores
from edgecv.types import Array, Float32, TensorSpec

TASK = "semantic"
PIXELS = Pixels("stretch", "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

LAYOUTS = ("auto", "NCHW", "NHWC")

_MOST_CLASSES = 32767
_ROUNDING = 0.05  # probabilities of quantized tensors may be outside 0-1 by so much


class Options(Record, kw_only=True):
    """How to read the tensor.

    Attributes:
        input_hw: (height, width) of the model input in pixels; the model sets it, no manifest.
        num_classes: classes that the tensor must hold, background included; 0 takes any number.
            A single foreground makes 2.
        layout: ``NCHW``, ``NHWC``, or ``auto``: the one whose height and width fit the input's.
        confidence: of a single foreground: a pixel belongs to it from this probability on.
        logits: of a single foreground: True for logits, False for probabilities. None sees it from
            the values: they are probabilities if all are in 0-1.
    """

    input_hw: tuple[int, int] = (0, 0)
    num_classes: int = 0
    layout: str = "auto"
    confidence: float = 0.5
    logits: bool | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1:
        return Fit.NO
    shape, size = shapes[0], image_size(inputs)
    flat = plane(shape)
    if flat is not None and stride(size, flat):
        return Fit.CERTAIN if holds_classes(outputs[0]) else Fit.POSSIBLE
    if len(shape) != 3:
        return Fit.NO
    for channels, hw in ((shape[0], shape[1:]), (shape[2], shape[:2])):
        step = stride(size, hw)
        if step and channels is not None and channels >= 2:
            known = size is not None and None not in hw
            return Fit.CERTAIN if known and step == 1 and channels >= 4 else Fit.POSSIBLE
    return Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> SemanticMap | SemanticScores:
    """Sort out which axis is which; the decision is taken at source size.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, a value that is not finite, or class
            ids that cannot be.
    """
    array = only_output(outputs, "semantic")
    flat = as_plane(array)
    if flat is not None:
        if flat.dtype.kind in "iub":
            return _classes(flat, options)
        values = finite(flat, "semantic")
        if array.ndim == 3 and _are_classes(values):
            return _classes(values, options)
        return _foreground(values, options, outputs)
    if array.ndim != 4 or array.shape[0] != 1 or not array.size:
        raise wrong_shape("semantic", "[1, C, h, w], [1, h, w, C] or [1, h, w]", outputs)
    scores = _planes(array[0], options, outputs)
    wanted = options.num_classes or len(scores)
    if len(scores) != wanted:
        raise wrong_shape("semantic", f"{wanted} classes", outputs)
    return SemanticScores(finite(scores, "semantic"))


def _are_classes(values: Float32) -> bool:
    return bool((values >= 0).all() and (values == np.rint(values)).all())


def _classes(values: Array, options: Options) -> SemanticMap:
    low, high = int(values.min()), int(values.max())
    most = options.num_classes or _MOST_CLASSES
    if low < 0 or high >= most:
        raise HeadError(
            "class ids that cannot be",
            where="head semantic",
            expected=f"0 to {most - 1}",
            got=f"{low} to {high}",
        )
    return SemanticMap(values.astype(np.int16))


def _foreground(
    values: Float32, options: Options, outputs: Mapping[str, Array]
) -> SemanticMap | SemanticScores:
    if options.num_classes not in (0, 2):
        expected = f"{options.num_classes} classes; one foreground and its background are 2"
        raise wrong_shape("semantic", expected, outputs)
    logits = options.logits
    if logits is None:
        logits = bool(values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING)
    threshold = options.confidence
    if logits:
        with np.errstate(divide="ignore"):
            threshold = float(np.log(np.float64(threshold)) - np.log1p(-np.float64(threshold)))
    return SemanticScores(values[None], threshold)


def _planes(array: Array, options: Options, outputs: Mapping[str, Array]) -> Array:
    """Return one image's scores as (C, h, w)."""
    if options.layout not in LAYOUTS:
        raise HeadError(
            "", where="head semantic: layout", expected=" or ".join(LAYOUTS), got=options.layout
        )
    shapes = {"NCHW": array.shape[1:], "NHWC": array.shape[:2]}
    channels = {"NCHW": array.shape[0], "NHWC": array.shape[2]}
    fits = [name for name, hw in shapes.items() if stride(options.input_hw, hw)]
    if len(fits) > 1 and options.num_classes:
        fits = [name for name in fits if channels[name] == options.num_classes] or fits
    layout = options.layout if options.layout != "auto" else fits[0] if len(fits) == 1 else None
    if layout is None:
        height, width = options.input_hw
        error = wrong_shape("semantic", f"one layout whose sizes fit {height}x{width}", outputs)
        error.remedy = "say which axis holds the classes: layout=NCHW or layout=NHWC"
        raise error
    return array if layout == "NCHW" else array.transpose(2, 0, 1)
