"""What is true about an image: one class for each kind of truth.

A new kind (masks, keypoints, tracks) is a class with the two methods of `Truth`, in a file of its
own; neither data set formats nor metrics that do not use it change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np

from edgecv.types import Array, Float32, Int32


class Truth(Protocol):
    """What is true about one image."""

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return the truth in source pixels of an image of this (height, width)."""

    def with_classes(self, table: Int32) -> Self:
        """Return the truth with each class id replaced by ``table[class_id]``."""


@dataclass(frozen=True, slots=True)
class BoxTruth:
    """M true boxes; M may be 0.

    Attributes:
        xyxy: (M, 4) float32 left, top, right, bottom; in source pixels, or in parts of the image's
            width and height where `normalised`.
        class_id: (M,) int32.
        crowd: (M,) bool; such a box marks a region in which detections are neither right nor
            wrong (COCO's ``iscrowd``, VOC's ``difficult``).
        area: (M,) float32 source pixels, where the data says it (COCO: of the mask); NaN or None
            where the box's own area counts.
        normalised: whether `xyxy` is in parts of the image.
    """

    xyxy: Float32
    class_id: Int32
    crowd: Array
    area: Float32 | None = None
    normalised: bool = False

    def __post_init__(self) -> None:
        n = len(self.class_id)
        shapes = {"xyxy": (n, 4), "class_id": (n,), "crowd": (n,)}
        if self.area is not None:
            shapes["area"] = (n,)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"BoxTruth.{name}: expected shape {shape}; got {getattr(self, name).shape}"
                )

    def __len__(self) -> int:
        return len(self.class_id)

    @classmethod
    def from_rows(
        cls,
        xyxy: Sequence[Sequence[float]],
        class_id: Sequence[int],
        *,
        crowd: Sequence[bool] | None = None,
        area: Sequence[float] | None = None,
        normalised: bool = False,
    ) -> Self:
        """Make a truth from one row, and one entry of each list, a box."""
        return cls(
            np.array(xyxy, np.float32).reshape(-1, 4),
            np.array(class_id, np.int32),
            np.zeros(len(class_id), bool) if crowd is None else np.array(crowd, bool),
            None if area is None else np.array(area, np.float32),
            normalised,
        )

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return the boxes in source pixels; not clipped."""
        if not self.normalised:
            return self
        height, width = size_hw
        scale = np.array([width, height, width, height], np.float32)
        return replace(self, xyxy=self.xyxy * scale, normalised=False)

    def with_classes(self, table: Int32) -> Self:
        """Return the boxes with each class id replaced by ``table[class_id]``."""
        return replace(self, class_id=table[self.class_id])


def _no_keypoints() -> Float32:
    return np.zeros((0, 0, 3), np.float32)


@dataclass(frozen=True, slots=True)
class PoseTruth(BoxTruth):
    """M true objects with keypoints; M may be 0.

    Attributes:
        keypoints: (M, K, 3) float32 x, y and COCO's visibility: 0 not labelled, 1 labelled but
            hidden, 2 visible; x and y in source pixels, or in parts of the image where
            `normalised`.
    """

    keypoints: Float32 = field(default_factory=_no_keypoints)

    def __post_init__(self) -> None:
        BoxTruth.__post_init__(self)
        shape = self.keypoints.shape
        if len(shape) != 3 or shape[0] != len(self.class_id) or shape[2] != 3:
            raise ValueError(
                f"PoseTruth.keypoints: expected shape ({len(self.class_id)}, K, 3); got {shape}"
            )

    @classmethod
    def from_boxes(cls, boxes: BoxTruth, keypoints: Array) -> Self:
        """Add keypoints (M, K, 3) to boxes."""
        points = np.asarray(keypoints, np.float32)
        return cls(boxes.xyxy, boxes.class_id, boxes.crowd, boxes.area, boxes.normalised, points)

    @property
    def labelled(self) -> Array:
        """(M,) bool, whether any keypoint of an object is labelled."""
        return np.asarray((self.keypoints[..., 2] > 0).any(axis=1))

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return boxes and keypoints in source pixels; not clipped."""
        if not self.normalised:
            return self
        height, width = size_hw
        scaled = self.keypoints * np.array([width, height, 1], np.float32)
        return replace(BoxTruth.in_pixels(self, size_hw), keypoints=scaled)


@dataclass(frozen=True, slots=True)
class ClassTruth:
    """The one true class of an image."""

    class_id: int

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return itself: a class has no place in the image."""
        del size_hw
        return self

    def with_classes(self, table: Int32) -> Self:
        """Return the truth with its class id replaced by ``table[class_id]``."""
        return replace(self, class_id=int(table[self.class_id]))
