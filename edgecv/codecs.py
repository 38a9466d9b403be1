"""Encoded images to pixels and back, guarded against hostile and broken bytes.

What comes out is defined here and not left to the decoder's version: (H, W, 3) uint8 BGR, upright.
Grey is repeated in the three channels; alpha is dropped, not blended (as training pipelines do);
of 16-bit samples the high byte is kept; CMYK is converted as libjpeg users expect; a palette is
looked up. ``docs/images.md`` lists what is accepted and what is checked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from edgecv import image_header
from edgecv.errors import ImageError, UsageError
from edgecv.exif import upright
from edgecv.image_header import ImageInfo, read_header
from edgecv.record import Record
from edgecv.types import Array, Image

__all__ = [
    "DEFAULT",
    "ImageInfo",
    "Limits",
    "as_image",
    "decode",
    "encode",
    "read",
    "read_bytes",
    "read_header",
    "write",
]

# The orientation is applied here because OpenCV's versions differ: 4.x ignores it in WebP.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

_QUALITY: dict[str, int | None] = {
    ".jpg": cv2.IMWRITE_JPEG_QUALITY,
    ".jpeg": cv2.IMWRITE_JPEG_QUALITY,
    ".png": None,
    ".webp": cv2.IMWRITE_WEBP_QUALITY,
    ".bmp": None,
}


class Limits(Record):
    """What an encoded image may cost; both are checked before any pixel is decoded.

    Attributes:
        max_pixels: width times height. Decoding takes up to 9 bytes a pixel for a short time; the
            image that remains takes 3.
        max_bytes: size of the encoded file.
    """

    max_pixels: int = 64_000_000
    max_bytes: int = 64 * 2**20


DEFAULT = Limits()


def decode(
    data: bytes | memoryview | Array, *, limits: Limits = DEFAULT, where: str = "image"
) -> Image:
    """Decode the bytes of a JPEG, PNG, WebP or BMP file.

    Args:
        data: the whole file; an array must be (N,) uint8.
        limits: largest image that is accepted.
        where: what error messages call the image.

    Returns:
        (H, W, 3) uint8 BGR, C-contiguous, Exif orientation applied; the caller owns it.

    Raises:
        ImageError: empty, truncated, damaged, animated, too large, or of another format.
    """
    flat = _flat(data, where)
    if flat.size > limits.max_bytes:
        raise _too_large(flat.size, limits, where)
    info = image_header.inspect(data if isinstance(data, bytes) else flat.data, where=where)
    if info.width * info.height > limits.max_pixels:
        raise ImageError(
            "too large",
            where=where,
            expected=f"at most {limits.max_pixels} pixels",
            got=f"{info.width} x {info.height}",
            remedy="scale it down, or raise max_pixels of the limits",
        )
    try:
        image = cv2.imdecode(flat, _FLAGS)
    except cv2.error as error:
        raise _undecodable(info, where, f"; OpenCV: {error.err}") from error
    if image is None or image.shape != (info.height, info.width, 3) or image.dtype != np.uint8:
        raise _undecodable(info, where)
    return upright(image, info.orientation)


def read(path: str | os.PathLike[str], *, limits: Limits = DEFAULT) -> Image:
    """Read and decode a JPEG, PNG, WebP or BMP file.

    Args:
        path: a regular file. Its size is checked before it is read; its suffix means nothing.
        limits: largest image that is accepted.

    Returns:
        (H, W, 3) uint8 BGR, C-contiguous, Exif orientation applied; the caller owns it.

    Raises:
        ImageError: as `decode`; or the path is missing, unreadable, a folder, a pipe or a device.
    """
    return decode(read_bytes(path, limits=limits), limits=limits, where=os.fsdecode(path))


def read_bytes(path: str | os.PathLike[str], *, limits: Limits = DEFAULT) -> bytes:
    """Read a file of images as it is; its size is checked before it is read.

    Raises:
        ImageError: too large, or the path is missing, unreadable, a folder, a pipe or a device.
    """
    where = os.fsdecode(path)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        handle = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                got = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
                raise ImageError("cannot be read", where=where, expected="a file", got=got)
            if status.st_size > limits.max_bytes:
                raise _too_large(status.st_size, limits, where)
            # Not a file object: opening one makes six further system calls, each of which lets go
            # of the interpreter.
            data = os.read(handle, status.st_size)
            while len(data) < status.st_size and (more := os.read(handle, status.st_size)):
                data += more
        finally:
            os.close(handle)
    except OSError as error:
        raise ImageError("cannot be read", where=where, got=error.strerror) from error
    except ValueError as error:  # a NUL in the path
        raise ImageError("cannot be read", where=repr(where), got=str(error)) from error
    return data


def as_image(array: Any, *, where: str = "image") -> Image:
    """Check an array handed in by a program and bring it to BGR.

    Args:
        array: uint8, at least 1 x 1 pixels: (H, W, 3) BGR; (H, W) or (H, W, 1) grey, which is
            repeated in the three channels; or (H, W, 4) BGRA, whose alpha is dropped. Raw pixels
            (`edgecv.raw_frames.RawPixels`) are converted.
        where: what error messages call the array.

    Returns:
        (H, W, 3) uint8 BGR. The same object where it already is that and the pixels of each row
        lie side by side in memory (a crop of an image passes, a mirrored view does not); a new
        array otherwise.

    Raises:
        ImageError: no array, another dtype or shape, or no pixels.
    """
    if not isinstance(array, np.ndarray):
        if hasattr(array, "to_bgr"):
            return cast(Image, array.to_bgr())
        got = type(array).__name__
    elif array.dtype != np.uint8:
        got = f"dtype {array.dtype}, shape {array.shape}"
    elif array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        got = f"shape {array.shape}"
    elif array.size == 0:
        got = f"no pixels, shape {array.shape}"
    elif array.ndim == 3 and array.shape[2] == 3:
        packed = array.strides[1:] == (3, 1) and array.strides[0] >= 3 * array.shape[1]
        return array if packed else np.ascontiguousarray(array)
    elif array.ndim == 3 and array.shape[2] == 4:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_BGRA2BGR))
    else:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2BGR))
    raise ImageError(
        "not an image",
        where=where,
        expected="a uint8 array (H, W, 3) BGR, (H, W) grey or (H, W, 4) BGRA",
        got=got,
    )


def encode(image: Array, format: str = ".jpg", quality: int = 90) -> bytes:
    """Encode an image.

    Args:
        image: (H, W, 3) uint8 BGR, or what `as_image` accepts.
        format: ``.jpg``, ``.jpeg``, ``.png``, ``.webp`` or ``.bmp``, in any case.
        quality: 1 to 100, of JPEG and WebP; the others lose nothing.

    Raises:
        UsageError: another format or quality.
        ImageError: not an image, or larger than the format can hold.
    """
    suffix = format.lower()
    if suffix not in _QUALITY:
        raise UsageError("", where="format", expected=f"one of {', '.join(_QUALITY)}", got=format)
    if not 1 <= quality <= 100:
        raise UsageError("", where="quality", expected="1 to 100", got=str(quality))
    image = as_image(image)
    height, width = image.shape[:2]
    most = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}.get(suffix, 2**20)
    if max(height, width) > most:
        raise ImageError(
            f"too large for {suffix}",
            where="image",
            expected=f"sides of at most {most} pixels",
            got=f"{width} x {height}",
        )
    flag = _QUALITY[suffix]
    try:
        good, encoded = cv2.imencode(suffix, image, [] if flag is None else [flag, quality])
    except cv2.error as error:
        raise ImageError(f"cannot be encoded as {suffix}: {error.err}", where="image") from error
    if not good:
        raise ImageError(f"cannot be encoded as {suffix}", where="image", got=f"{width} x {height}")
    return bytes(encoded.data)


def write(path: str | os.PathLike[str], image: Array, *, quality: int = 90) -> None:
    """Encode an image in the format of the path's suffix and write it in one step.

    The path holds the old file or the whole new one at any time. Its folder must exist.

    Args:
        path: ends in a suffix that `encode` knows.
        image: (H, W, 3) uint8 BGR, or what `as_image` accepts.
        quality: as in `encode`.

    Raises:
        UsageError: unknown suffix, or bad quality.
        ImageError: as `encode`, or the file cannot be written.
    """
    target = Path(path)
    data = encode(image, target.suffix, quality)
    # Same folder: a rename is one step only within a file system.
    draft = target.with_name(f".edgecv-{os.urandom(8).hex()}.tmp")
    try:
        try:
            with draft.open("xb") as file:
                file.write(data)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        got = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError("cannot be written", where=str(path), got=got) from error


def _flat(data: bytes | memoryview | Array, where: str) -> Image:
    """View the encoded bytes as a contiguous (N,) uint8 array; only odd strides cost a copy."""
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ImageError(
                "not encoded bytes",
                where=where,
                expected="an array (N,) uint8",
                got=f"dtype {data.dtype}, shape {data.shape}",
            )
        return np.ascontiguousarray(data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return np.frombuffer(data if memoryview(data).contiguous else bytes(data), np.uint8)
    raise ImageError(
        "not encoded bytes",
        where=where,
        expected="bytes, a memoryview or an array (N,) uint8",
        got=type(data).__name__,
    )


def _too_large(size: int, limits: Limits, where: str) -> ImageError:
    return ImageError(
        "too large",
        where=where,
        expected=f"at most {limits.max_bytes} bytes",
        got=str(size),
        remedy="scale it down, or raise max_bytes of the limits",
    )


def _undecodable(info: ImageInfo, where: str, reason: str = "") -> ImageError:
    return ImageError(
        f"damaged, or an unsupported kind of {info.format}{reason}",
        where=where,
        got=f"{info.width} x {info.height}, {info.channels} channels of {info.bit_depth} bits",
    )
