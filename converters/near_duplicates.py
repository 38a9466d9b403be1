"""Find images that two sets share: the same file, the same pixels, or a near copy.

A model that was tuned on images which it is then measured on proves nothing. Copies hide: rescaled,
recompressed, cut by a few pixels, mirrored. A grey thumbnail of 8x8 whose mean is taken away and
whose length is made 1 serves as the hash: the dot product of two is their correlation, so that one
matrix product compares everything with everything. What correlates is laid over the other at 64x64
(ECC: Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient
Maximization", 2008), and is a copy if next to nothing differs then. Frames of a standing camera
correlate as well, but what moved in them differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edgecv import codecs
from edgecv.errors import ConversionError, ImageError
from edgecv.types import Array, Float32, Image

Kind = Literal["same file", "same pixels", "near copy", "mirrored copy"]

_COARSE, _FINE = 8, 64
# Of 32,768 pairs of unrelated photographs 33 reach this, of copies cut by 3 % all.
_COARSE_CORRELATION = 0.8
# Unrelated photographs reach 0.91 when laid over each other, copies 0.96 and more.
_FINE_CORRELATION = 0.95
# Grey levels by which all but 1 % of a copy's thumbnail differ less, before and after aligning.
_CHANGE, _ALIGNED_CHANGE = 16.0, 24.0
_MIN_OVERLAP = 0.7  # of the thumbnails, once laid over each other
_FLAT = 3.0  # standard deviation in grey levels below which there is nothing to compare
_ALIGNMENTS = 16  # tried for an image, best first: each takes milliseconds
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Overlap:
    """An image of one set that is also in the other.

    Attributes:
        first: file in the first set.
        second: file in the second set.
        kind: how the second is the first.
    """

    first: Path
    second: Path
    kind: Kind

    def __str__(self) -> str:
        return f"{self.first} and {self.second} ({self.kind})"


@dataclass(frozen=True, slots=True)
class _Print:
    """What is kept of an image.

    Attributes:
        file: sha256 of the bytes; empty where it cannot be read.
        pixels: sha256 of size and pixels; empty where it cannot be decoded.
        coarse: (8, 8) float32 of mean 0 and length 1, or zeros where the image is flat.
        fine: (64, 64) uint8 grey, slightly blurred.
    """

    file: str
    pixels: str
    coarse: Float32
    fine: Array


def overlaps(a: Sequence[Path], b: Sequence[Path]) -> list[Overlap]:
    """Find the images that two sets share; every pair once, by the strongest kind.

    Files that are no images are compared by their bytes alone. Images that show next to nothing
    are the same only if their pixels are.

    Args:
        a: image files.
        b: image files.

    Returns:
        In the order of `a`, then of `b`.
    """
    if not a or not b:
        return []
    ours, theirs = [_print(path) for path in a], [_print(path) for path in b]
    coarse = np.stack([item.coarse for item in theirs])
    fine = np.stack([item.fine for item in theirs])
    views: tuple[tuple[Kind, Array, Array], ...] = (
        ("near copy", coarse, fine),
        ("mirrored copy", coarse[:, :, ::-1], fine[:, :, ::-1]),
    )
    found = []
    for path, one in zip(a, ours, strict=True):
        kinds: dict[int, Kind] = {}
        for i, other in enumerate(theirs):
            if one.file and one.file == other.file:
                kinds[i] = "same file"
            elif one.pixels and one.pixels == other.pixels:
                kinds[i] = "same pixels"
        for kind, small, large in views:
            for i in _copies(one, small, large, skip=kinds.keys()):
                kinds[i] = kind
        found += [Overlap(path, b[i], kinds[i]) for i in sorted(kinds)]
    return found


def check_disjoint(calibration: Sequence[Path], validation: Sequence[Path]) -> None:
    """Refuse to tune a model on images that it is measured on.

    Raises:
        ConversionError: the sets share images; the error names up to five pairs.
    """
    shared = overlaps(calibration, validation)
    if not shared:
        return
    shown = "; ".join(map(str, shared[:_SHOWN]))
    more = len(shared) - _SHOWN
    raise ConversionError(
        "the calibration images and the validation images overlap",
        expected="no image, and no near copy of one, in both",
        got=f"{len(shared)} pair(s): {shown}" + (f" and {more} more" if more > 0 else ""),
        remedy="take them out of one of the two, or name another split: what is measured on "
        "images that the model was tuned on is no proof",
    )


def _print(path: Path) -> _Print:
    nothing = np.zeros((_COARSE, _COARSE), np.float32)
    blank = np.zeros((_FINE, _FINE), np.uint8)
    try:
        data = path.read_bytes()
    except OSError:
        return _Print("", "", nothing, blank)
    file = hashlib.sha256(data).hexdigest()
    try:
        image = codecs.decode(data, where=str(path))
    except ImageError:
        return _Print(file, "", nothing, blank)
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    coarse = _thumbnail(image, _COARSE).astype(np.float32)
    fine = cv2.GaussianBlur(_thumbnail(image, _FINE), (0, 0), 1.0)
    if float(fine.std()) < _FLAT:
        return _Print(file, digest.hexdigest(), nothing, fine)
    coarse -= coarse.mean()
    length = float(np.sqrt(np.square(coarse).sum()))
    return _Print(file, digest.hexdigest(), coarse / max(length, 1e-6), fine)


def _thumbnail(image: Image, side: int) -> Array:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    made: Array = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return made


def _copies(one: _Print, coarse: Array, fine: Array, skip: Container[int]) -> list[int]:
    """List which of N thumbnails (N, 8, 8) and (N, 64, 64) are copies of an image."""
    correlation = coarse.reshape(len(coarse), -1) @ one.coarse.ravel()
    order = np.argsort(-correlation, kind="stable")
    likely = [int(i) for i in order if correlation[i] >= _COARSE_CORRELATION]
    likely = [i for i in likely if i not in skip]
    mine = one.fine.astype(np.float32)
    found = [i for i in likely if _alike(mine, fine[i].astype(np.float32), _CHANGE)]
    others = [i for i in likely if i not in found]
    return found + [
        i for i in others[:_ALIGNMENTS] if _aligned(mine, np.ascontiguousarray(fine[i], np.float32))
    ]


def _alike(a: Float32, b: Float32, change: float) -> bool:
    """Tell whether grey values correlate, and no more than 1 % of them differ much."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    if float((x * y).sum()) < _FINE_CORRELATION * norm or not norm:
        return False
    return float(np.quantile(np.abs(a - b), 0.99)) < change


def _aligned(a: Float32, b: Float32) -> bool:
    """Lay (64, 64) thumbnails over each other by an affine map, and compare what they share."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(a, b, start, cv2.MOTION_AFFINE, criteria, None, 5)
    except cv2.error:  # it does not converge: they have nothing in common
        return False
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, warp, (_FINE, _FINE), flags=flags)
    inside = cv2.warpAffine(np.ones_like(b), warp, (_FINE, _FINE), flags=flags) > 0.99
    if inside.mean() < _MIN_OVERLAP:
        return False
    return _alike(a[inside], moved[inside], _ALIGNED_CHANGE)
