"""Frames whose pixels stay as the camera or the decoder made them until somebody looks.

Most frames of a live stream are never looked at: a newer one has come before the model is free. A
`RawFrame` holds the planes as they came; its `image` is converted when it is first asked for, and a
model that wants a smaller picture converts no more than that.

The colours of planes that programs hand in are in `edgecv.planes`.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np

from edgecv.types import Array, Frame, Image


class RawPixels(Protocol):
    """Pixels in some form that can become (H, W, 3) uint8 BGR. Safe to share between threads."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of the converted image."""

    def to_bgr(self) -> Image:
        """Convert to (H, W, 3) uint8 BGR, a new array.

        Raises:
            ImageError: the pixels cannot be converted.
        """

    def resized(self, size_hw: tuple[int, int], interpolation: int) -> Image | None:
        """Convert and resize at once, if that is cheaper and as close to the true picture.

        Args:
            size_hw: (height, width) wanted, in pixels.
            interpolation: OpenCV's number of it.

        Returns:
            (height, width, 3) uint8 BGR, or None: convert first, then resize.
        """

    def same(self, other: Any) -> bool:
        """Tell whether other pixels are the same to the last bit."""


class RawFrame(Frame):
    """A frame whose image is converted when it is first asked for, and then kept.

    Attributes:
        raw: the pixels as they came.
    """

    raw: RawPixels = cast(RawPixels, None)

    @classmethod
    def of(cls, raw: RawPixels, **fields: Any) -> RawFrame:
        """Make a frame of raw pixels; the other fields are those of `Frame`."""
        return cls(cast(Any, None), raw=raw, **fields)

    def __post_init__(self) -> None:
        # Without the entry, a look at `image` ends in __getattr__, once.
        if self.__dict__["image"] is None:
            del self.__dict__["image"]

    def __getattr__(self, name: str) -> Any:
        if name != "image":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # Two threads may both convert; the results are equal, and one of them stays.
        image = self.__dict__["image"] = self.__dict__["raw"].to_bgr()
        return image

    @property
    def converted(self) -> bool:
        """Whether somebody has looked at the image."""
        return "image" in self.__dict__

    def to_fields(self) -> dict[str, Any]:
        """Return field name -> value, in order; converts."""
        return {name: getattr(self, name) for name in self.record_fields}

    def replace(self, **changes: Any) -> RawFrame:
        """Return a copy with some fields changed; does not convert."""
        kept = {name: self.__dict__.get(name) for name in self.record_fields}
        return type(self)(**{**kept, **changes})

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.record_fields)


def pixels_of(frame: Frame) -> Image | RawPixels:
    """Return a frame's pixels in the form they are in now: the image, or what it is made of."""
    if isinstance(frame, RawFrame) and not frame.converted:
        return frame.raw
    return frame.image


def same_pixels(a: Frame, b: Frame) -> bool:
    """Tell whether two frames show the same picture to the last bit, without converting them."""
    if isinstance(a, RawFrame) and isinstance(b, RawFrame):
        return a.raw.same(b.raw)
    return equal_arrays(a.image, b.image)


def equal_arrays(a: Array, b: Array) -> bool:
    """Tell whether two arrays are the same, quickly where they differ."""
    if a.shape != b.shape:
        return False
    # Two pictures of a live camera differ nearly everywhere: a few rows tell most of the time.
    step = max(1, a.shape[0] // 8)
    return bool(np.array_equal(a[::step], b[::step]) and np.array_equal(a, b))
