"""The user's calibration images: which they are, and how they become a model's inputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecv import codecs, plugins
from edgecv.dataset import open_dataset
from edgecv.datasets import yolo
from edgecv.errors import ConversionError, DatasetError, ImageError
from edgecv.image_files import walk_images
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import Array, TensorSpec

MIN_IMAGES = 8
"""Fewer say nothing about the range of an activation."""
ADVISED_IMAGES = 100

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Readable images that a model is calibrated with; nothing is known of what they show.

    Attributes:
        images: in a fixed order.
        hashes: sha256 of each file's bytes.
        name: for people, such as ``coco128 train``.
        skipped: what was left out, and why.
    """

    images: tuple[Path, ...]
    hashes: tuple[str, ...]
    name: str
    skipped: tuple[str, ...] = ()

    @classmethod
    def of(cls, images: Sequence[Path], name: str) -> CalibrationSet:
        """Make a set of images that are known to be readable, however few.

        Raises:
            ImageError: one cannot be read after all.
        """
        return cls(tuple(images), tuple(_hash(path) for path in images), name)

    @property
    def digest(self) -> str:
        """Sha256 over the sorted hashes: of the set, wherever and in whatever order it lies."""
        return hashlib.sha256("\n".join(sorted(self.hashes)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int) -> CalibrationSet:
        """Return `count` of the images, spread evenly; all of them if there are no more."""
        if count >= len(self):
            return self
        picked = _spread(len(self), count, 0.0)
        return CalibrationSet(
            tuple(self.images[i] for i in picked),
            tuple(self.hashes[i] for i in picked),
            f"{self.name}, {count} of {len(self)}",
            self.skipped,
        )

    def feeds(
        self, spec: Input, tensor: TensorSpec, layout: str, in_graph: Sequence[str] = ()
    ) -> ImageFeeds:
        """Return the inputs that these images make for one model.

        Args:
            spec: how pixels are prepared.
            tensor: the model's image input, as its engine reports it.
            layout: of that input, ``NCHW`` or ``NHWC``.
            in_graph: steps that the graph does itself.

        Raises:
            UsageError: the tensor does not fit the spec.
        """
        return ImageFeeds(self, spec, tensor, layout, tuple(in_graph))


class ImageFeeds:
    """Images as inputs of one model, prepared one at a time; see `edgecv.converters.feeds.Feeds`.

    Args:
        images: what to prepare.
        spec: how.
        tensor: for which input.
        layout: of that input.
        in_graph: steps that the graph does itself.
    """

    def __init__(
        self,
        images: CalibrationSet,
        spec: Input,
        tensor: TensorSpec,
        layout: str,
        in_graph: tuple[str, ...] = (),
    ) -> None:
        self._images = images
        self._name = tensor.name
        self._preprocessor = Preprocessor(spec, tensor, layout, in_graph)
        # Some quantizers average as they go, so the order counts as well.
        said = repr((images.hashes, spec, tensor, layout, sorted(in_graph)))
        self._digest = hashlib.sha256(said.encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Sha256 over the images, their order, and how they are prepared."""
        return self._digest

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        """Yield input name -> [1, C, H, W] or [1, H, W, C] of the input's dtype, the caller's own.

        Raises:
            ImageError: an image was removed or damaged meanwhile.
        """
        for path in self._images.images:
            tensor, _ = self._preprocessor.prepare(codecs.read(path))
            yield {self._name: tensor.copy()}


def calibration_set(
    path: Path | str, *, split: str = "train", limit: int | None = None, seed: int = 0
) -> CalibrationSet:
    """Find the images of a split of a data set, or of a folder; labels are not needed.

    Images that cannot be read are named in `CalibrationSet.skipped`, and others take their place.

    Args:
        path: a data.yaml, any other data set that `edgecv.dataset.open_dataset` reads, or a folder
            of images.
        split: which part of the data set; a plain folder has none.
        limit: take only so many, spread evenly.
        seed: where the spread begins.

    Raises:
        DatasetError: no such path, no such split, or no data set.
        ConversionError: fewer than 8 images can be read.
    """
    path = Path(path)
    name, listed, skipped = _listed(path, split)
    if limit is not None and limit < len(listed):
        begin = float(np.random.default_rng(seed).random())
        picked = _spread(len(listed), limit, begin)
        rest = sorted(set(range(len(listed))) - set(picked))
    else:
        picked, rest = list(range(len(listed))), []
    wanted = len(picked)
    hashes: dict[int, str] = {}
    for i in [*picked, *rest]:
        if len(hashes) == wanted:
            break
        try:
            hashes[i] = _hash(listed[i])
        except ImageError as error:
            skipped.append(error.message)
    order = sorted(hashes)
    if len(order) < MIN_IMAGES:
        problems = f"; {len(skipped)} left out, such as {'; '.join(skipped[:_SHOWN])}"
        raise ConversionError(
            "too few images to calibrate with",
            where=name,
            expected=f"at least {MIN_IMAGES}, better {ADVISED_IMAGES} or more",
            got=f"{len(order)} that can be read{problems if skipped else ''}",
            remedy="give images like those that the model will see; they need no labels",
        )
    return CalibrationSet(
        tuple(listed[i] for i in order), tuple(hashes[i] for i in order), name, tuple(skipped)
    )


def _hash(path: Path) -> str:
    """Return the sha256 of an image file that can be decoded."""
    codecs.read(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _spread(available: int, count: int, begin: float) -> list[int]:
    """Pick `count` of `available` places at even distances, from `begin` (0-1) of the first."""
    return [int((i + begin) * available / count) for i in range(count)]


def _listed(path: Path, split: str) -> tuple[str, list[Path], list[str]]:
    """Return a name, the images in a fixed order, and what the data set itself left out."""
    if not path.exists():
        raise DatasetError("no such file or folder", where=str(path))
    if yolo.recognise(path):
        # Its reader refuses data without labels.
        found = yolo.list_images(path, split)
        file = path if path.is_file() else path / "data.yaml"
        label = file.stem if file.stem != "data" else file.resolve().parent.name
        return f"{label} {split}", found, []
    known = [
        name
        for name in plugins.names("datasets")
        if name != "yolo" and plugins.load("datasets", name).recognise(path)
    ]
    if path.is_dir() and not known:
        return path.name or os.fspath(path), list(walk_images(path)), []
    dataset = open_dataset(path, split)
    lost = [str(problem) for problem in dataset.problems if problem.image]
    return f"{dataset.name} {dataset.split}", [s.image for s in dataset.samples], lost
