"""What is true about every pixel of an image; read from its file when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from edgecv.dataset import Problem, Sample
from edgecv.errors import ImageError
from edgecv.map_files import SUFFIXES, read_map
from edgecv.types import Array, Int32

IGNORE = 255
"""Value of pixels that are neither right nor wrong, in the masks of COCO, VOC and Cityscapes."""


@dataclass(frozen=True, slots=True)
class SemanticTruth:
    """The true class of each pixel.

    Attributes:
        source: a file of class ids, or the bytes of one, see `edgecv.map_files.read_map`.
        num_classes: classes that the data has; None where every id is one.
        ignore: value of pixels that do not count.
        table: (num_classes,) int32, the model's id of each class; None where the ids are the same.
    """

    source: Path | bytes
    num_classes: int | None = None
    ignore: int = IGNORE
    table: Int32 | None = None

    @property
    def class_id(self) -> Int32 | None:
        """(classes,) int32: the model's ids of the classes that the data has, or None for all."""
        if self.table is not None or self.num_classes is None:
            return self.table
        return np.arange(self.num_classes, dtype=np.int32)

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return itself: a map is in pixels."""
        del size_hw
        return self

    def with_classes(self, table: Int32) -> Self:
        """Return the truth with each class id replaced by ``table[class_id]``."""
        return replace(self, table=table if self.table is None else table[self.table])

    def read(self, size_hw: tuple[int, int]) -> Array:
        """Read the map.

        Args:
            size_hw: (height, width) of the image.

        Returns:
            (H, W) int32 class ids of the model, -1 for pixels that do not count.

        Raises:
            ImageError: it cannot be read, has another size, or holds other classes.
        """
        where = str(self.source) if isinstance(self.source, Path) else "class map"
        values = read_map(self.source, where=where)
        if values.shape != tuple(size_hw):
            raise ImageError(
                "the class map is of another size than its image",
                where=where,
                expected=f"{size_hw[1]} x {size_hw[0]}",
                got=f"{values.shape[1]} x {values.shape[0]}",
            )
        present = np.flatnonzero(np.bincount(values.ravel()))
        most = self.num_classes
        unknown = [] if most is None else [n for n in present if n >= most and n != self.ignore]
        if unknown:
            raise ImageError(
                "the class map holds ids that are no class",
                where=where,
                expected=f"0 to {most - 1 if most else 0}, or {self.ignore} for no class",
                got=", ".join(map(str, unknown[:5])),
            )
        ids = np.full(int(present[-1]) + 1, -1, np.int32)
        kept = present[present != self.ignore]
        ids[kept] = kept if self.table is None else self.table[kept]
        return np.asarray(ids[values])


def class_map_samples(
    images: Iterable[Path], folder_of: Callable[[Path], Path], num_classes: int
) -> tuple[list[Sample], list[Problem]]:
    """Pair images with class maps of the same stem.

    Args:
        images: files, which need not exist.
        folder_of: an image's path -> the folder of its map.
        num_classes: classes that the data has.

    Returns:
        The pairs, and what was left out: images that do not exist, or have no map.
    """
    samples: list[Sample] = []
    problems: list[Problem] = []
    for image in images:
        folder = folder_of(image)
        files = [folder / f"{image.stem}{suffix}" for suffix in SUFFIXES]
        file = next((file for file in files if file.is_file()), None)
        if not image.is_file():
            problems.append(Problem(str(image), "no such image", image=True))
        elif file is None:
            problems.append(Problem(str(image), f"no class map in {folder}", image=True))
        else:
            samples.append(Sample(image, SemanticTruth(file, num_classes)))
    return samples, problems
