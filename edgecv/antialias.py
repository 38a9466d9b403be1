"""Resizes that average what they shrink, to the bit those of Pillow, and the same on every CPU.

Most classifiers are trained and evaluated with Pillow's or torchvision's resizes. OpenCV's linear
and cubic look at four or sixteen source pixels however much they shrink, and its area is a box.

Source: the documented filters of Pillow's ``Image.resize`` (``BILINEAR``, ``BICUBIC``): a filter as
wide in the source as the image is shrunk; columns first, then rows, each rounded to 8 bits; weights
as whole numbers of 2^-22. Bicubic is Keys' kernel with a = -0.5. (Pillow 13 takes rows first where
that is less work, which changes results by one level.)
Sums of multiples of 2^-22 below 2^31 are exact in float64, in whatever order a library adds them.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache

import cv2
import numpy as np

from edgecv.record import Record
from edgecv.types import Array, Image

FILTERS = ("linear", "cubic")

_ONE = 2**22
_BLOCK = 8  # destination lines that one product makes
# Source pixels that are held as float64 at a time. All blocks are one call of numpy's: each call
# lets go of the interpreter and has to get it back, which costs where threads compete for it.
_HELD = 2**19
# Each thread's own sources and sums. Threads other than the first one give memory of this size back
# to the system at once, and fresh pages for every image cost them a fifth of the resize.
_kept = threading.local()


class _Filter(Record):
    """How destination lines are made of source lines, some neighbouring ones at a time.

    Attributes:
        source: (B, K) intp, the source lines that each of B blocks looks at; where a block needs
            fewer than K, the last one again, with weights of 0.
        weights: (B, _BLOCK, K) float64, multiples of 2^-22; those past the last line are 0.
        lines: of the destination.
        overshoots: sums may leave 0-255.
    """

    source: Array
    weights: Array
    lines: int
    overshoots: bool


def resize(
    image: Image, resized_hw: tuple[int, int], window: tuple[int, int, int, int], filter: str
) -> Image:
    """Resize an image, and return a window of the result; nothing else of it is computed.

    Args:
        image: (H, W, 3) uint8.
        resized_hw: (height, width) of the whole result.
        window: left, top, right, bottom in the result, inside of it.
        filter: ``linear`` or ``cubic``.

    Returns:
        (bottom - top, right - left, 3) uint8; `image` itself, or a view of it, where no size
        changes.
    """
    (height, width), (rows, columns) = image.shape[:2], resized_hw
    left, top, right, bottom = window
    upright = None if rows == height else _filter(height, rows, top, bottom, filter)
    level = None if columns == width else _filter(width, columns, left, right, filter)
    # Nothing is computed of rows that nobody looks at.
    first, last = (top, bottom) if upright is None else _span(upright)
    image = image[first:last]
    if level is None:
        image = image[:, left:right]
    else:
        image = cv2.transpose(_apply(level, cv2.transpose(image)))
    return image if upright is None else _apply(upright, image, first)


def _span(filter: _Filter) -> tuple[int, int]:
    """Return the first source line that a filter looks at, and the one after the last."""
    return int(filter.source.min()), int(filter.source.max()) + 1


def _apply(filter: _Filter, image: Image, shift: int = 0) -> Image:
    """Filter (H, W, 3) uint8 from row to row; `shift` rows were cut away before its first one."""
    lines = np.ascontiguousarray(image).reshape(len(image), -1)
    source = filter.source - shift
    blocks, width = source.shape
    out = np.empty((filter.lines, lines.shape[1]), np.uint8)
    step = max(1, _HELD // source.size)
    for start in range(0, lines.shape[1], step):
        some = lines[:, start : start + step]
        part = _scratch("source", blocks, width, some.shape[1])
        part[:] = some[source]
        sums = _scratch("sums", blocks, _BLOCK, some.shape[1])
        np.matmul(filter.weights, part, out=sums)
        made = sums.reshape(-1, some.shape[1])[: filter.lines]
        if filter.overshoots:
            np.clip(made, 0, 255, out=made)
        # Half is rounded up: the cast cuts.
        np.add(made, 0.5, out=out[:, start : start + step], casting="unsafe")
    return out.reshape(filter.lines, *image.shape[1:])


def _scratch(name: str, *shape: int) -> Array:
    """Return float64 of this shape and any content, good until the next call for `name`."""
    size = math.prod(shape)
    if size > 2 * _HELD:
        return np.empty(shape)
    held: Array | None = getattr(_kept, name, None)
    if held is None or held.size < size:
        held = np.empty(size)
        setattr(_kept, name, held)
    return held[:size].reshape(shape)


@lru_cache(maxsize=64)
def _filter(source: int, size: int, first: int, last: int, filter: str) -> _Filter:
    """Lay out the weights of destination lines `first` to `last` of `size`."""
    scale = source / size
    stretch = max(scale, 1.0)
    support = (1.0 if filter == "linear" else 2.0) * stretch
    found = []
    for start in range(first, last, _BLOCK):
        centres = (np.arange(start, min(start + _BLOCK, last)) + 0.5) * scale
        low = np.maximum((centres - support + 0.5).astype(int), 0)
        high = np.minimum((centres + support + 0.5).astype(int), source)
        pixels = np.arange(low[0], high.max())
        weights = _kernel((pixels - centres[:, None] + 0.5) / stretch, filter)
        weights[(pixels < low[:, None]) | (pixels >= high[:, None])] = 0
        weights *= _ONE / weights.sum(axis=1, keepdims=True)
        # Half away from zero.
        found.append((pixels, np.trunc(weights + np.copysign(0.5, weights))))
    width = max(len(pixels) for pixels, _ in found)
    lines = np.empty((len(found), width), np.intp)
    all_weights = np.zeros((len(found), _BLOCK, width))
    for block, (pixels, weights) in enumerate(found):
        lines[block] = np.pad(pixels, (0, width - len(pixels)), mode="edge")
        all_weights[block, : len(weights), : len(pixels)] = weights
    return _Filter(lines, all_weights / _ONE, last - first, filter != "linear")


def _kernel(x: Array, filter: str) -> Array:
    """Return the filter's value at distances in destination pixels."""
    x = np.abs(x)
    if filter == "linear":
        return np.asarray(np.maximum(1 - x, 0))
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    result: Array = np.where(x < 1, near, np.where(x < 2, far, 0))
    return result
