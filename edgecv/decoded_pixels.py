"""Pictures in the memory of PyAV's decoder, converted when somebody looks."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from edgecv.errors import ImageError
from edgecv.types import Array, Image

_local = threading.local()


class DecodedPixels:
    """A picture in the decoder's own memory; see `edgecv.raw_frames.RawPixels`.

    Args:
        frame: an ``av.VideoFrame``.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        # Degrees by which the container asks to turn the picture counter-clockwise.
        self._turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
        height, width = frame.height, frame.width
        self._shape = (width, height, 3) if self._turns % 2 else (height, width, 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of the converted image."""
        return self._shape

    def to_bgr(self) -> Image:
        """Convert to (H, W, 3) uint8 BGR, upright, by the colour matrix that the stream names.

        Raises:
            ImageError: a pixel format that cannot be converted.
        """
        from av.video.reformatter import VideoReformatter

        # A reformatter keeps its tables; it must not be used by two threads at once.
        if not hasattr(_local, "reformatter"):
            _local.reformatter = VideoReformatter()
        try:
            picture = _local.reformatter.reformat(self._frame, format="bgr24")
            image: Array = picture.to_ndarray()
        except (OSError, ValueError) as error:  # PyAV's own errors are of these two kinds
            raise ImageError(
                "the decoded picture cannot be converted",
                got=f"{self._frame.format.name}, {self._frame.width} x {self._frame.height}",
            ) from error
        return np.ascontiguousarray(np.rot90(image, self._turns)) if self._turns else image

    def resized(self, size_hw: tuple[int, int], interpolation: int) -> Image | None:
        """Return None: the decoder's own resize is not the one that models are fed with."""
        del size_hw, interpolation
        return None

    def same(self, other: Any) -> bool:
        """Tell whether another picture's planes are the same to the last bit."""
        if not isinstance(other, DecodedPixels) or other._shape != self._shape:
            return False
        a, b = self._frame, other._frame
        if a.format.name != b.format.name:
            return False
        return all(map(_same_plane, a.planes, b.planes))


def _same_plane(a: Any, b: Any) -> bool:
    rows = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in (a, b)]
    # What lies behind the end of a row is not part of the picture.
    used = min(a.line_size, b.line_size, max(1, a.width))
    left, right = (array[: a.height, :used] for array in rows)
    return bool(np.array_equal(left[::16], right[::16]) and np.array_equal(left, right))
