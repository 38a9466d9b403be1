"""Pixels as programs have them: BGR, RGB, grey, and the YUV planes of cameras and decoders.

The colour conversion is that of OpenCV's ``COLOR_YUV2BGR_NV12`` and its kin: ITU-R BT.601, limited
range: Y from 16 to 235, U and V from 16 to 240 around 128.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecv.errors import ImageError
from edgecv.raw_frames import equal_arrays
from edgecv.record import Record
from edgecv.types import Array, Image

FORMATS = ("bgr", "rgb", "bgra", "rgba", "grey", "nv12", "nv21", "i420", "yuyv", "uyvy")
"""Layouts of pixels that a program may hand in."""

_CHANNELS = {"bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4, "yuyv": 2, "uyvy": 2}
_EVEN = {"nv12": (2, 2), "nv21": (2, 2), "i420": (2, 2), "yuyv": (1, 2), "uyvy": (1, 2)}

# ITU-R BT.601, limited range: with kr = 0.299, kb = 0.114 and the ranges above,
# R = 255/219 (Y - 16) + 255/112 (1 - kr) (V - 128), B likewise with kb and U, and G from both.
_Y, _RV, _BU = 255 / 219, 255 / 112 * (1 - 0.299), 255 / 112 * (1 - 0.114)
_GU, _GV = -_BU * 0.114 / 0.587, -_RV * 0.299 / 0.587
_TO_BGR = np.array(
    [
        [_Y, _BU, 0, -16 * _Y - 128 * _BU],
        [_Y, _GU, _GV, -16 * _Y - 128 * (_GU + _GV)],
        [_Y, 0, _RV, -16 * _Y - 128 * _RV],
    ],
    np.float32,
)


class Planes(Record):
    """The planes of one picture in one of `FORMATS`.

    Attributes:
        format: of `FORMATS`.
        planes: uint8; each row's values lie side by side, rows may be further apart (strides).

            - ``bgr``, ``rgb``: (H, W, 3); ``bgra``, ``rgba``: (H, W, 4); ``grey``: (H, W).
            - ``nv12``: Y (H, W) and UV (H/2, W/2, 2); ``nv21`` has VU.
            - ``i420``: Y (H, W), U (H/2, W/2), V (H/2, W/2).
            - ``yuyv``, ``uyvy``: (H, W, 2).
    """

    format: str
    planes: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of the converted image."""
        height, width = self.planes[0].shape[:2]
        return (height, width, 3)

    @property
    def nbytes(self) -> int:
        """Bytes of all planes."""
        return sum(plane.nbytes for plane in self.planes)

    def to_bgr(self) -> Image:
        """Convert to (H, W, 3) uint8 BGR; ``bgr`` is returned as it is."""
        import cv2  # late: a program may push frames without ever converting one

        first = self.planes[0]
        if self.format == "bgr":
            return first
        if self.format in ("nv12", "nv21"):
            code = cv2.COLOR_YUV2BGR_NV12 if self.format == "nv12" else cv2.COLOR_YUV2BGR_NV21
            return np.asarray(cv2.cvtColorTwoPlane(first, self.planes[1], code))
        if self.format == "i420":
            # Interleaving half-size planes is cheaper than packing all three into one buffer.
            chroma = cv2.merge(self.planes[1:])
            return np.asarray(cv2.cvtColorTwoPlane(first, chroma, cv2.COLOR_YUV2BGR_NV12))
        codes = {
            "rgb": cv2.COLOR_RGB2BGR,
            "bgra": cv2.COLOR_BGRA2BGR,
            "rgba": cv2.COLOR_RGBA2BGR,
            "grey": cv2.COLOR_GRAY2BGR,
            "yuyv": cv2.COLOR_YUV2BGR_YUY2,
            "uyvy": cv2.COLOR_YUV2BGR_UYVY,
        }
        return np.asarray(cv2.cvtColor(first, codes[self.format]))

    def resized(self, size_hw: tuple[int, int], interpolation: int) -> Image | None:
        """Resize the planes first and convert what is left; see `RawPixels.resized`.

        Done for 4:2:0 planes that shrink on both axes. Each plane is brought to the wanted size
        by itself and then converted. The colour planes are interpolated, where `to_bgr` repeats
        each colour value in four pixels; the result is as close to the true picture, within a
        tenth of a level on average.
        """
        height, width = self.planes[0].shape[:2]
        rows, columns = size_hw
        if self.format not in ("nv12", "nv21", "i420") or rows >= height or columns >= width:
            return None
        import cv2

        small = [cv2.resize(p, (columns, rows), interpolation=interpolation) for p in self.planes]
        # OpenCV takes what is blacker than black for black; so does this.
        small[0] = cv2.max(small[0], 16)
        if self.format == "nv21":
            vu = small[1]
            small = [small[0], vu[..., 1], vu[..., 0]]
        return np.asarray(cv2.transform(cv2.merge(small), _TO_BGR))

    def same(self, other: Any) -> bool:
        """Tell whether other planes are the same to the last bit."""
        return (
            isinstance(other, Planes)
            and self.format == other.format
            and all(map(equal_arrays, self.planes, other.planes))
        )

    def copy(self) -> Planes:
        """Return planes that share no memory with these."""
        return Planes(self.format, tuple(np.array(plane, order="C") for plane in self.planes))


def as_planes(
    data: Any, format: str, size_hw: tuple[int, int] | None = None, *, where: str = "frame"
) -> Planes:
    """Check what a program hands in and view it as planes, without a copy.

    Args:
        data: one uint8 array, or a sequence of the planes that `Planes` lists. The 4:2:0 formats
            may also come as one array in which the planes follow each other: (H * 3/2, W), or flat
            with `size_hw`; ``yuyv`` and ``uyvy`` as (H, W * 2), or flat with `size_hw`. bytes and
            other buffers count as flat arrays.
        format: of `FORMATS`.
        size_hw: (height, width) in pixels, needed for flat data, checked elsewhere.
        where: what error messages call the frame.

    Raises:
        ImageError: unknown format, another dtype or shape, an odd size that the format cannot
            have, or no pixels.
    """
    if format not in FORMATS:
        raise ImageError(
            "unknown format", where=where, expected=f"one of {', '.join(FORMATS)}", got=repr(format)
        )
    several = isinstance(data, tuple | list)
    arrays = [_bytes_array(item, where) for item in (data if several else [data])]
    if size_hw is not None:
        _check_even(format, size_hw, where)
    if format in ("nv12", "nv21", "i420") and len(arrays) == 1:
        arrays = _split(arrays[0], format, size_hw, where)
    elif len(arrays) == 1:
        arrays = [_shaped(arrays[0], format, size_hw, where)]
    shapes = [array.shape for array in arrays]
    size = (shapes[0][0], shapes[0][1]) if shapes and len(shapes[0]) >= 2 else (0, 0)
    wanted = _shapes(format, size)
    if shapes != wanted or min(size) < 1 or size_hw not in (None, size):
        raise ImageError(
            f"not planes of {format}",
            where=where,
            expected=" and ".join(map(str, _shapes(format, size_hw or size))),
            got=" and ".join(map(str, shapes)),
        )
    _check_even(format, size, where)
    return Planes(format, tuple(map(_rows_packed, arrays)))


def _bytes_array(item: Any, where: str) -> Array:
    if isinstance(item, bytes | bytearray | memoryview):
        item = np.frombuffer(item, np.uint8)
    if not isinstance(item, np.ndarray) or item.dtype != np.uint8:
        got = f"dtype {item.dtype}" if isinstance(item, np.ndarray) else type(item).__name__
        raise ImageError("not pixels", where=where, expected="arrays of uint8", got=got)
    return item


def _shapes(format: str, size_hw: tuple[int, int]) -> list[tuple[int, ...]]:
    """List the shapes of a format's planes."""
    height, width = size_hw
    if format == "grey":
        return [(height, width)]
    if format in _CHANNELS:
        return [(height, width, _CHANNELS[format])]
    half = (height // 2, width // 2)
    return [(height, width), half, half] if format == "i420" else [(height, width), (*half, 2)]


def _check_even(format: str, size_hw: tuple[int, int], where: str) -> None:
    by_height, by_width = _EVEN.get(format, (1, 1))
    if size_hw[0] % by_height or size_hw[1] % by_width:
        raise ImageError(
            f"{format} has one colour value for {by_height * by_width} pixels",
            where=where,
            expected="an even height and width" if by_height == 2 else "an even width",
            got=f"{size_hw[1]} x {size_hw[0]}",
            remedy="cut off the last row or column before the picture is encoded",
        )


def _split(array: Array, format: str, size_hw: tuple[int, int] | None, where: str) -> list[Array]:
    """Cut one array of 4:2:0 planes that follow each other, (H * 3/2, W) or flat, into views."""
    if array.ndim == 2 and size_hw is None and array.shape[0] % 3 == 0:
        size_hw = (array.shape[0] // 3 * 2, array.shape[1])
        _check_even(format, size_hw, where)
    if size_hw is None or array.size != size_hw[0] * size_hw[1] * 3 // 2:
        wanted = (
            "(H * 3/2, W), or flat data and size_hw"
            if size_hw is None
            else (f"{size_hw[0] * size_hw[1] * 3 // 2} bytes")
        )
        raise ImageError(
            f"not one array of {format}", where=where, expected=wanted, got=f"shape {array.shape}"
        )
    height, width = size_hw
    if format != "i420" and array.ndim == 2 and array.shape == (height * 3 // 2, width):
        # Rows may be further apart than they are long: the views keep that.
        return [array[:height], _pairs(array[height:])]
    flat = np.ascontiguousarray(array).reshape(-1)
    luma, rest = flat[: height * width].reshape(height, width), flat[height * width :]
    if format == "i420":
        u, v = rest.reshape(2, height // 2, width // 2)
        return [luma, u, v]
    return [luma, rest.reshape(height // 2, width // 2, 2)]


def _pairs(rows: Array) -> Array:
    """View (H, 2 W) as (H, W, 2) without a copy, whatever the distance of the rows."""
    if rows.strides[1] != 1:
        rows = np.ascontiguousarray(rows)
    return np.lib.stride_tricks.as_strided(
        rows, (rows.shape[0], rows.shape[1] // 2, 2), (rows.strides[0], 2, 1), writeable=False
    )


def _shaped(array: Array, format: str, size_hw: tuple[int, int] | None, where: str) -> Array:
    """Bring a flat array, or rows of pairs, to the shape of its format."""
    channels = _CHANNELS.get(format, 1)
    if array.ndim == 1 and size_hw is not None and array.size == size_hw[0] * size_hw[1] * channels:
        return array.reshape(*size_hw, channels) if format != "grey" else array.reshape(size_hw)
    if array.ndim == 2 and channels == 2 and array.shape[1] % 2 == 0:
        _check_even(format, (array.shape[0], array.shape[1] // 2), where)
        return _pairs(array)
    if array.ndim == 3 and format == "grey" and array.shape[2] == 1:
        return array[..., 0]
    return array


def _rows_packed(array: Array) -> Array:
    """Return a plane whose rows OpenCV can walk: as it is, unless values of a row lie apart."""
    inner = 1
    for size, stride in zip(array.shape[:0:-1], array.strides[:0:-1], strict=True):
        if size > 1 and stride != inner:
            return np.ascontiguousarray(array)
        inner *= size
    return array if array.strides[0] >= inner else np.ascontiguousarray(array)
