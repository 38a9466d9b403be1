"""Instance masks as crops: N objects cost about the pixels that they cover, not N full images.

Also the run-length code that COCO's tools read and write. Sources: the format's public description
in the COCO API (mask: column-major runs that start with zeros; counts as characters of six bits,
each count but the first three stored as the difference to the one two before it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.record import Record
from edgecv.types import Array, Float32, Int32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry


class Masks(Record):
    """N binary masks over one image; N may be 0, and a mask may be empty.

    Attributes:
        size_hw: (height, width) of the image that they lie on, in pixels.
        offset_xy: (N, 2) int32, where each crop's upper left pixel lies in the image.
        crops: N arrays (h, w) bool, each inside the image; h and w may be 0.
    """

    size_hw: tuple[int, int]
    offset_xy: Int32
    crops: tuple[Array, ...]

    def __post_init__(self) -> None:
        if self.offset_xy.shape != (len(self.crops), 2):
            raise ValueError(
                f"Masks.offset_xy: expected shape ({len(self.crops)}, 2); "
                f"got {self.offset_xy.shape}"
            )
        height, width = self.size_hw
        for (x, y), crop in zip(self.offset_xy, self.crops, strict=True):
            if crop.ndim != 2 or crop.dtype != bool:
                raise ValueError(
                    f"Masks.crops: expected (h, w) bool; got {crop.shape} {crop.dtype}"
                )
            if x < 0 or y < 0 or x + crop.shape[1] > width or y + crop.shape[0] > height:
                raise ValueError(
                    f"Masks.crops: expected crops inside {width}x{height}; "
                    f"got {crop.shape[1]}x{crop.shape[0]} at ({x}, {y})"
                )

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Masks:
        """Make no masks at all."""
        return cls(size_hw, np.zeros((0, 2), np.int32), ())

    @classmethod
    def from_full(cls, masks: Array) -> Masks:
        """Cut (N, H, W) bool masks down to what they cover."""
        count, height, width = masks.shape
        offsets = np.zeros((count, 2), np.int32)
        crops = []
        for i, mask in enumerate(masks):
            offsets[i], crop = _tight(np.asarray(mask, bool))
            crops.append(crop)
        return cls((height, width), offsets, tuple(crops))

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[tuple[tuple[int, int], Array]]:
        """Yield ((x, y), (h, w) bool) of each mask."""
        for (x, y), crop in zip(self.offset_xy, self.crops, strict=True):
            yield (int(x), int(y)), crop

    def __getitem__(self, index: Array | slice | Sequence[int]) -> Masks:
        """Select masks by boolean mask, slice or indices."""
        picked = np.arange(len(self))[index]
        return Masks(self.size_hw, self.offset_xy[picked], tuple(self.crops[i] for i in picked))

    def full(self, i: int) -> Array:
        """Paint one mask as (H, W) bool over the whole image."""
        out = np.zeros(self.size_hw, bool)
        (x, y), crop = self.offset_xy[i], self.crops[i]
        out[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return out

    def area(self) -> Float32:
        """Count the pixels of each mask, (N,) float32."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], np.float32)

    def xyxy(self) -> Float32:
        """Return the (N, 4) tight boxes; those of empty masks are (0, 0, 0, 0)."""
        boxes = np.zeros((len(self), 4), np.float32)
        for i, ((x, y), crop) in enumerate(self):
            (dx, dy), tight = _tight(crop)
            if tight.size:
                x1, y1 = x + dx, y + dy
                boxes[i] = (x1, y1, x1 + tight.shape[1], y1 + tight.shape[0])
        return boxes

    def intersection(self, other: Masks) -> Array:
        """Count the pixels shared with each of M masks on the same image, (N, M) int64."""
        result = np.zeros((len(self), len(other)), np.int64)
        for i, ((ax, ay), a) in enumerate(self):
            for j, ((bx, by), b) in enumerate(other):
                x1, y1 = max(ax, bx), max(ay, by)
                x2 = min(ax + a.shape[1], bx + b.shape[1])
                y2 = min(ay + a.shape[0], by + b.shape[0])
                if x1 < x2 and y1 < y2:
                    result[i, j] = np.count_nonzero(
                        a[y1 - ay : y2 - ay, x1 - ax : x2 - ax]
                        & b[y1 - by : y2 - by, x1 - bx : x2 - bx]
                    )
        return result

    def iou(self, other: Masks) -> Float32:
        """Compute intersection over union with each of M masks on the same image, (N, M).

        Two empty masks have IoU 0.
        """
        inner = self.intersection(other).astype(np.float64)
        union = self.area()[:, None] + other.area().astype(np.float64) - inner
        return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0).astype(np.float32)

    def polygons(self, i: int) -> list[Float32]:
        """Trace the outlines of one mask's parts.

        Returns:
            Arrays (P, 2) float32 x, y, P >= 3, in pixels of the image, through the pixels' centres;
            holes are not told. Parts of fewer than three points have no outline.
        """
        import cv2  # late: nothing else here needs it

        (x, y), crop = self.offset_xy[i], self.crops[i]
        if not crop.size:
            return []
        found, _ = cv2.findContours(
            crop.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        shift = np.array([x + 0.5, y + 0.5], np.float32)
        return [c.reshape(-1, 2).astype(np.float32) + shift for c in found if len(c) >= 3]

    def to_source(self, geometry: Geometry) -> Masks:
        """Bring masks over the model input to source pixels, the nearest value for each."""
        return Masks.from_full(
            np.stack(
                [
                    geometry.mask_to_source(self.full(i).view(np.uint8), nearest=True) > 0
                    for i in range(len(self))
                ]
            )
            if len(self)
            else np.zeros((0, *geometry.source_hw), bool)
        )

    def to_json(self, i: int) -> dict[str, Any]:
        """Make COCO's compressed form of one mask: ``{"size": [h, w], "counts": text}``."""
        return {"size": list(self.size_hw), "counts": compress(run_lengths(self.full(i)))}

    @classmethod
    def from_json(cls, items: Sequence[dict[str, Any]], size_hw: tuple[int, int]) -> Masks:
        """Read what `to_json` made of masks over one image.

        Raises:
            ValueError: a run-length code that is none, or of another size.
        """
        offsets = np.zeros((len(items), 2), np.int32)
        crops = []
        for i, item in enumerate(items):
            if tuple(item["size"]) != tuple(size_hw):
                raise ValueError(f"mask: expected size {list(size_hw)}; got {item['size']}")
            offsets[i], crop = _tight(paint(decompress(item["counts"]), size_hw))
            crops.append(crop)
        return cls((size_hw[0], size_hw[1]), offsets, tuple(crops))


def _tight(mask: Array) -> tuple[tuple[int, int], Array]:
    """Cut a mask to what it covers: ((x, y), crop); an empty one to nothing at (0, 0)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (0, 0), np.zeros((0, 0), bool)
    y1, y2, x1, x2 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return (int(x1), int(y1)), np.ascontiguousarray(mask[y1:y2, x1:x2])


def run_lengths(mask: Array) -> list[int]:
    """Count the runs of an (H, W) bool mask column by column, the first one of zeros."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], edges, [mask.size]])
    counts: list[int] = np.diff(ends).tolist()
    # A mask whose last pixel is set ends on an edge: no run of zeros follows.
    return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts


def paint(counts: Sequence[int], size_hw: tuple[int, int]) -> Array:
    """Paint (H, W) bool from runs; the opposite of `run_lengths`.

    Raises:
        ValueError: the runs do not add up to the image.
    """
    height, width = size_hw
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"mask: expected runs of {height * width} pixels in all; got {sum(counts)}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def compress(counts: Sequence[int]) -> str:
    """Write runs as COCO's text."""
    out = []
    for i, count in enumerate(counts):
        value = int(count) - (int(counts[i - 2]) if i > 2 else 0)
        while True:
            bits = value & 0x1F
            value >>= 5
            # The fifth bit is the sign of what follows nothing.
            more = value != -1 if bits & 0x10 else value != 0
            out.append(chr(48 + (bits | 0x20 if more else bits)))
            if not more:
                break
    return "".join(out)


def decompress(text: str) -> list[int]:
    """Read runs from COCO's text.

    Raises:
        ValueError: a character that does not belong, or a number that does not end.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"mask: expected a run-length code; got {text[:40]!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"mask: the run-length code ends inside of a number: {text[-40:]!r}")
    return counts
