"""Files with one number for each pixel: class maps and masks.

They are read as they are stored: grey levels of 8 or 16 bits, or the indices of a palette, whose
colours are for people. Nothing is scaled, and no orientation is applied.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from edgecv import codecs, image_header
from edgecv.errors import ImageError
from edgecv.types import Array, Float32

SUFFIXES = (".png", ".PNG", ".bmp")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3
_COLOUR_CHUNKS = (b"PLTE", b"tRNS", b"sBIT", b"bKGD", b"hIST", b"gAMA", b"iCCP", b"sRGB", b"cHRM")


def read_map(source: Path | bytes, *, where: str = "") -> Array:
    """Read a map.

    Args:
        source: a PNG or BMP file, or the bytes of one.
        where: what errors call it; the path where it is one.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        ImageError: it cannot be read, is too large, or has more than one number for a pixel.
    """
    if isinstance(source, Path):
        source, where = codecs.read_bytes(source), str(source)
    info = codecs.read_header(source, where=where)
    if info.width * info.height > codecs.DEFAULT.max_pixels:
        raise ImageError(
            "too large",
            where=where,
            expected=f"at most {codecs.DEFAULT.max_pixels} pixels",
            got=f"{info.width} x {info.height}",
        )
    depth = info.bit_depth
    indexed = info.format == "PNG" and _is_indexed(source)
    if indexed:
        source = _without_palette(source)
    # The guards of codecs against damaged files; its pixels are of no use here.
    image_header.inspect(source, where=where)
    try:
        values = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError("cannot be decoded", where=where, got=error.err) from error
    if values is None or values.ndim != 2 or values.shape != (info.height, info.width):
        raise ImageError(
            "not a map",
            where=where,
            expected="one number for each pixel: grey levels, or a palette's indices",
            got=f"{info.format} of {info.channels} channels",
        )
    if info.format == "PNG" and depth < 8:
        # OpenCV spreads the levels of 1, 2 and 4 bits over 0-255.
        values = values // (255 // (2**depth - 1))
    return np.asarray(values)


def read_array(path: Path) -> Float32:
    """Read a .npy file with a number for each pixel, (H, W) float32.

    Raises:
        ImageError: it cannot be read, is too large, or holds something else.
    """
    try:
        # Mapped, so that the header is looked at before anything of its size is read.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise ValueError(f"it holds {values.dtype} {list(values.shape)}")
        if values.size > codecs.DEFAULT.max_pixels:
            raise ValueError(f"it holds {values.size} values")
        return np.array(values, np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(
            "not a map", where=str(path), expected="(H, W) numbers", got=str(error)[:120]
        ) from error


def encode_map(values: Array) -> bytes:
    """Write (H, W) whole numbers of 0 to 65535 as a PNG that `read_map` reads."""
    done, data = cv2.imencode(".png", values.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ImageError("cannot be encoded", where="map", got=str(values.shape))
    return bytes(data)


def _is_indexed(data: bytes) -> bool:
    return data[12:16] == b"IHDR" and data[25:26] == bytes([_PALETTE])


def _without_palette(data: bytes) -> bytes:
    """Turn a PNG's palette indices into grey levels: the pixels are stored alike.

    Source: the PNG specification, third edition: colour type 0 and 3 differ in the header and in
    the chunks that tell colours.
    """
    out, at = [_SIGNATURE], len(_SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            body = body[:9] + b"\0" + body[10:]
            crc = struct.pack(">I", zlib.crc32(kind + body))
            out.append(data[at : at + 8] + body + crc)
        elif kind not in _COLOUR_CHUNKS:
            out.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(out)
