"""A class for every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.masks import compress, decompress, paint
from edgecv.record import Record, field
from edgecv.results import Difference, label_of
from edgecv.types import Array, Float32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

TASKS = ("semantic",)

UNSEEN = -1
"""Class id of pixels that the model did not see, because a centre crop cut them away."""

_COUNTED_ROWS = 256
_STRIP_ROWS = 64  # of the source; a strip of a 4K image stays in the cache


_LARGE = 0.01


class SemanticMap(Record):
    """A class id for each pixel; the map may be of size 0 x 0.

    Attributes:
        class_id: (H, W) int16, an index into the model's labels, or `UNSEEN`. On the source image
            in a `Result`.
    """

    class_id: Array = field(default_factory=lambda: np.zeros((0, 0), np.int16))

    def __post_init__(self) -> None:
        if self.class_id.ndim != 2 or self.class_id.dtype != np.int16:
            raise ValueError(
                "SemanticMap.class_id: expected (H, W) int16; "
                f"got {self.class_id.shape} {self.class_id.dtype}"
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the map in pixels."""
        return self.class_id.shape[0], self.class_id.shape[1]

    def areas(self) -> dict[int, int]:
        """Count the pixels of each class that occurs, by class id; unseen pixels are none."""
        counts = np.zeros(1, np.int64)
        for start in range(0, len(self.class_id), _COUNTED_ROWS):
            rows = self.class_id[start : start + _COUNTED_ROWS].ravel()
            found = np.bincount(rows[rows >= 0])
            counts = np.pad(counts, (0, max(0, len(found) - len(counts))))
            counts[: len(found)] += found
        return {int(c): int(counts[c]) for c in np.flatnonzero(counts)}

    def mask(self, class_id: int) -> Array:
        """Return where a class is, (H, W) bool."""
        return np.asarray(self.class_id == class_id)

    def __len__(self) -> int:
        """Count the classes that occur."""
        return len(self.areas())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (class_id, pixels) of each class that occurs, by class id."""
        yield from self.areas().items()

    def to_source(self, geometry: Geometry) -> SemanticMap:
        """Bring a map over the model input, at any resolution, to source size.

        Each source pixel takes the nearest class: between two classes there is nothing.
        """
        if not self.class_id.size:
            return self
        # mask_to_source leaves 0 where the model did not see.
        mapped = geometry.mask_to_source(self.class_id - np.int16(UNSEEN), nearest=True)
        return SemanticMap(mapped + np.int16(UNSEEN))

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"semantic": [{class_id, label, pixels, mask}, ...], "size_hw": [H, W]}``.

        ``mask`` is COCO's compressed run-length code, whose text holds the whole class map without
        loss; ``pixels`` is the area.
        """
        items = []
        for class_id, counts in self._runs().items():
            items.append(
                {
                    "class_id": class_id,
                    "label": label_of(labels, class_id),
                    "pixels": sum(counts[1::2]),
                    "mask": {"size": list(self.size_hw), "counts": compress(counts)},
                }
            )
        return {"semantic": items, "size_hw": list(self.size_hw)}

    def _runs(self) -> dict[int, list[int]]:
        """Count the runs of each class column by column, the first one of other classes."""
        flat = self.class_id.T.ravel()
        if not flat.size:
            return {}
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        ends = np.concatenate([starts[1:], [flat.size]])
        classes = flat[starts]
        runs = {}
        for class_id in np.unique(classes[classes >= 0]).tolist():
            mine = classes == class_id
            edges = np.stack([starts[mine], ends[mine]], axis=1).ravel()
            tail = [] if edges[-1] == flat.size else [flat.size]
            runs[class_id] = np.diff(np.concatenate([[0], edges, tail])).astype(int).tolist()
        return runs

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SemanticMap:
        """Read what `to_json` wrote.

        Raises:
            ValueError: a run-length code that is none, or of another size.
        """
        height, width = (int(n) for n in data["size_hw"])
        class_id = np.full((height, width), UNSEEN, np.int16)
        for item in data["semantic"]:
            if list(item["mask"]["size"]) != [height, width]:
                raise ValueError(
                    f"mask: expected size {[height, width]}; got {item['mask']['size']}"
                )
            mask = paint(decompress(item["mask"]["counts"]), (height, width))
            class_id[mask] = item["class_id"]
        return cls(class_id)

    def difference(self, expected: SemanticMap) -> Difference:
        """Compare with a recorded map of the same image: ``area`` is the share of other pixels.

        A class that fills a hundredth of either map and has an IoU below 0.5 is without a
        counterpart: a small object may be lost and change little of the image.
        """
        if self.size_hw != expected.size_hw:
            return Difference(area=1.0)
        if not self.class_id.size:
            return Difference()
        mine, theirs = (np.ravel(one.class_id).astype(np.intp) + 1 for one in (self, expected))
        same = mine == theirs
        count = int(max(mine.max(), theirs.max())) + 1
        ours, others, both = (
            np.bincount(ids, minlength=count) for ids in (mine, theirs, mine[same])
        )
        large = np.maximum(ours, others) >= _LARGE * mine.size
        lost = large & (both < 0.5 * (ours + others - both))
        lost[UNSEEN + 1] = False
        return Difference(
            area=float(np.mean(~same)), unmatched=(1.0,) * int(np.count_nonzero(lost))
        )


class SemanticScores(Record):
    """Scores of each class over the model input: what a head returns, undecided.

    Attributes:
        scores: (C, h, w) float32, finite, at any resolution over the whole input; the highest wins.
            Of a single foreground class (1, h, w).
        threshold: of a single foreground class: from this score on a pixel is class 1, else 0.
    """

    scores: Float32
    threshold: float = 0.0

    def to_source(self, geometry: Geometry) -> SemanticMap:
        """Interpolate the scores to source size and take the best class of each pixel.

        Some rows of the source are decided at a time, one class after the other, so memory does
        not grow with the classes; those that cannot win there are left out.
        """
        height, width = geometry.source_hw
        if len(self.scores) == 1:
            found = geometry.mask_to_source(self.scores[0]) >= np.float32(self.threshold)
            best_class = found.astype(np.int16)
        else:
            best_class = np.zeros((height, width), np.int16)
            may_win = _contenders(self.scores)
            for start in range(0, height, _STRIP_ROWS):
                rows = slice(start, min(start + _STRIP_ROWS, height))
                self._decide(geometry, rows, may_win, best_class[rows])
        visible = geometry.visible()
        if visible != (slice(0, height), slice(0, width)):
            seen = np.full((height, width), UNSEEN, np.int16)
            seen[visible] = best_class[visible]
            best_class = seen
        return SemanticMap(best_class)

    def _decide(self, geometry: Geometry, rows: slice, may_win: Array, out: Array) -> None:
        """Write the best class of each pixel of some rows of the source into `out`."""
        first, last, _ = geometry.mask_rows(self.scores.shape[1], rows)
        # A contender's mark covers the places around it: one more row is none too few.
        near = may_win[:, first[0] : last[-1] + 2].any(axis=1)
        best: Float32 | None = None
        for class_id in np.flatnonzero(near):
            score = geometry.rows_to_source(self.scores[class_id], rows)
            if best is None:
                best = score
                out[:] = class_id
                continue
            # Whole arrays: faster than picking what is better.
            np.copyto(out, np.int16(class_id), where=score > best)
            np.maximum(best, score, out=best)


def _contenders(scores: Float32) -> Array:
    """Tell on which rows of a map a class may win at some place between the map's points.

    A bilinear value lies between the lowest and the highest of its four neighbours. Where some
    class's lowest is above another's highest, the other cannot win.

    Args:
        scores: (C, h, w) float32.

    Returns:
        (C, h) bool; a row stands for the places between it and the row above.
    """
    import cv2  # late: results are imported by programs that do nothing with maps

    square = np.ones((2, 2), np.uint8)
    border = cv2.BORDER_REPLICATE
    floor = cv2.erode(scores[0], square, borderType=border)
    for score in scores[1:]:
        np.maximum(floor, cv2.erode(score, square, borderType=border), out=floor)
    highest = (cv2.dilate(score, square, borderType=border) for score in scores)
    return np.stack([(high >= floor).any(axis=1) for high in highest])


RESULT = SemanticMap
