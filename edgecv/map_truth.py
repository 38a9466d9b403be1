"""What is true about every pixel of an image; read from its file when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from edgecv.dataset import Problem, Sample
from edgecv.errors import DatasetError, ImageError
from edgecv.map_files import SUFFIXES, read_array, read_map
from edgecv.types import Array, Float32, Int32

IGNORE = 255
"""Value of pixels that are neither right nor wrong, in the masks of COCO, VOC and Cityscapes."""


_IGNORE_16_BITS = 65535  # where 255 is a class


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


@dataclass(frozen=True, slots=True)
class DepthTruth:
    """The true depth of pixels.

    Attributes:
        source: a file of depths, or the bytes of a PNG of them.
        scale: metres for a level of a PNG; .npy files are in metres.
    """

    source: Path | bytes
    scale: float = 1.0

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return itself: a map is in pixels."""
        del size_hw
        return self

    def with_classes(self, table: Int32) -> Self:
        """Return itself: there are no classes."""
        del table
        return self

    def read(self, size_hw: tuple[int, int]) -> Float32:
        """Read the map.

        Args:
            size_hw: (height, width) of the image.

        Returns:
            (H, W) float32 metres; what is not above 0 and finite is not known.

        Raises:
            ImageError: it cannot be read, or has another size.
        """
        where = str(self.source) if isinstance(self.source, Path) else "depth map"
        if isinstance(self.source, Path) and self.source.suffix == ".npy":
            values = read_array(self.source)
        else:
            values = np.asarray(read_map(self.source, where=where) * self.scale, np.float32)
        if values.shape != tuple(size_hw):
            raise ImageError(
                "the depth map is of another size than its image",
                where=where,
                expected=f"{size_hw[1]} x {size_hw[0]}",
                got=" x ".join(map(str, values.shape[::-1])),
            )
        return values


@dataclass(frozen=True, slots=True)
class AnomalyTruth:
    """Whether an image is out of the ordinary, and where.

    Attributes:
        anomalous: whether it is.
        mask: a file that is above 0 where; None where that is not known, or there is nothing.
    """

    anomalous: bool
    mask: Path | None = None

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return itself: a map is in pixels."""
        del size_hw
        return self

    def with_classes(self, table: Int32) -> Self:
        """Return itself: there are no classes."""
        del table
        return self

    def read(self, size_hw: tuple[int, int]) -> Array | None:
        """Read the mask.

        Args:
            size_hw: (height, width) of the image.

        Returns:
            (H, W) bool; None of an anomaly without a mask.

        Raises:
            ImageError: it cannot be read, or has another size.
        """
        if self.mask is None:
            return None if self.anomalous else np.zeros(size_hw, bool)
        values = read_map(self.mask)
        if values.shape != tuple(size_hw):
            raise ImageError(
                "the mask is of another size than its image",
                where=str(self.mask),
                expected=f"{size_hw[1]} x {size_hw[0]}",
                got=f"{values.shape[1]} x {values.shape[0]}",
            )
        return np.asarray(values > 0)


def map_samples(
    images: Iterable[Path],
    folder_of: Callable[[Path], Path],
    task: str,
    *,
    num_classes: int,
    depth_scale: object = None,
    where: str = "",
) -> tuple[list[Sample], list[Problem]]:
    """Pair images with maps of the same stem.

    Args:
        images: files, which need not exist.
        folder_of: an image's path -> the folder of its map.
        task: ``semantic`` or ``depth``.
        num_classes: classes that the data has.
        depth_scale: metres for a level of a PNG, as text; None where it is not said.
        where: what an error calls the data.

    Returns:
        The pairs, and what was left out: images that do not exist, or have no map.

    Raises:
        DatasetError: a depth map is a PNG, and its scale is not known.
    """
    suffixes = (".npy", *SUFFIXES) if task == "depth" else SUFFIXES
    samples: list[Sample] = []
    problems: list[Problem] = []
    for image in images:
        folder = folder_of(image)
        files = [folder / f"{image.stem}{suffix}" for suffix in suffixes]
        file = next((file for file in files if file.is_file()), None)
        if not image.is_file():
            problems.append(Problem(str(image), "no such image", image=True))
        elif file is None:
            word = "class" if task == "semantic" else task
            problems.append(Problem(str(image), f"no {word} map in {folder}", image=True))
        elif task == "semantic":
            ignore = IGNORE if num_classes <= IGNORE else _IGNORE_16_BITS
            samples.append(Sample(image, SemanticTruth(file, num_classes, ignore)))
        elif file.suffix == ".npy":
            samples.append(Sample(image, DepthTruth(file)))
        else:
            samples.append(Sample(image, DepthTruth(file, _scale(depth_scale, where))))
    return samples, problems


def _scale(said: object, where: str) -> float:
    try:
        scale = float(str(said))
    except ValueError:
        scale = 0.0
    if not 0 < scale < np.inf:
        raise DatasetError(
            "",
            where=f"{where}: depth_scale",
            expected="metres for a level of the PNG depth maps, such as 0.001",
            got=repr(said),
        )
    return scale
