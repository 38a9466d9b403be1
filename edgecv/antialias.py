"""Resizes that average what they shrink, to the bit those of Pillow, and the same on every CPU.

Most classifiers are trained and evaluated with Pillow's or torchvision's resizes. OpenCV's linear
and cubic look at four or sixteen source pixels however much they shrink, and its area is a box.

Source: the documented filters of Pillow's ``Image.resize`` (``BILINEAR``, ``BICUBIC``): a filter as
wide in the source as the image is shrunk; columns first, then rows, each rounded to 8 bits; weights
as whole numbers of 2^-22. Bicubic is Keys' kernel with a = -0.5. (Pillow 13 takes rows first where
that is less work, which changes bilinear results by one level.)
Sums of whole numbers below 2^53 are exact in float64, in whatever order a library adds them up.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from edgecv.record import Record
from edgecv.types import Array, Image

FILTERS = ("linear", "cubic")

_ONE = 2**22
_BLOCK = 8  # destination pixels that one product makes
# Source pixels that are held as float64 at a time. Fewer and larger products: each lets go of the
# interpreter and has to get it back, which costs a tenth of the time where threads compete for it.
_HELD = 2**19


class _Block(Record):
    """Some neighbouring destination pixels.

    Attributes:
        first: the first source pixel that they look at.
        weights: (source pixels, destination pixels) float64, whole numbers of 2^-22.
    """

    first: int
    weights: Array


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
    upright = None if rows == height else _blocks(height, rows, top, bottom, filter)
    level = None if columns == width else _blocks(width, columns, left, right, filter)
    first, last = (top, bottom) if upright is None else _span(upright)
    image = image[first:last]
    if level is None:
        image = image[:, left:right]
    if level is None and upright is None:
        return image
    # The channels below each other: (3, h, w).
    planes = np.stack(cv2.split(np.ascontiguousarray(image)))
    if level is not None:
        planes = _across(planes.reshape(-1, planes.shape[2]), level).reshape(3, last - first, -1)
    if upright is not None:
        # Turned around, rows are columns.
        turned = np.ascontiguousarray(planes.transpose(0, 2, 1))
        done = _across(turned.reshape(-1, last - first), upright, first)
        planes = done.reshape(3, planes.shape[2], -1).transpose(0, 2, 1)
    merged: Image = cv2.merge([np.ascontiguousarray(plane) for plane in planes])
    return merged


def _span(blocks: tuple[_Block, ...]) -> tuple[int, int]:
    """Return the first source pixel that blocks look at, and the one after the last."""
    return blocks[0].first, max(block.first + len(block.weights) for block in blocks)


def _across(lines: Array, blocks: tuple[_Block, ...], shift: int = 0) -> Array:
    """Filter (N, source) uint8 along its lines to (N, destination) uint8.

    Args:
        lines: N lines.
        blocks: of the destination.
        shift: source pixels that were cut away before `lines`.
    """
    size = sum(block.weights.shape[1] for block in blocks)
    out = np.empty((len(lines), size), np.uint8)
    rows = max(1, _HELD // lines.shape[1])
    sums = np.empty((min(len(lines), rows), size))
    for start in range(0, len(lines), rows):
        part = lines[start : start + rows].astype(np.float64)
        sums = sums[: len(part)]
        at = 0
        for block in blocks:
            first, count = block.first - shift, block.weights.shape[1]
            pixels = part[:, first : first + len(block.weights)]
            np.matmul(pixels, block.weights, out=sums[:, at : at + count])
            at += count
        # Half is rounded up, and bicubic leaves 0-255.
        sums += _ONE // 2
        sums *= 1 / _ONE
        np.clip(sums, 0, 255, out=sums)
        out[start : start + rows] = sums
    return out


@lru_cache(maxsize=64)
def _blocks(source: int, size: int, first: int, last: int, filter: str) -> tuple[_Block, ...]:
    """Lay out the weights of destination pixels `first` to `last` of `size`."""
    scale = source / size
    stretch = max(scale, 1.0)
    support = (1.0 if filter == "linear" else 2.0) * stretch
    blocks = []
    for start in range(first, last, _BLOCK):
        centres = (np.arange(start, min(start + _BLOCK, last)) + 0.5) * scale
        low = np.maximum((centres - support + 0.5).astype(int), 0)
        high = np.minimum((centres + support + 0.5).astype(int), source)
        pixels = np.arange(low[0], high.max())[:, None]
        weights = _kernel((pixels - centres + 0.5) / stretch, filter)
        weights[(pixels < low) | (pixels >= high)] = 0
        weights *= _ONE / weights.sum(axis=0)
        # Half away from zero.
        weights = np.trunc(weights + np.copysign(0.5, weights))
        blocks.append(_Block(int(low[0]), weights))
    return tuple(blocks)


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
