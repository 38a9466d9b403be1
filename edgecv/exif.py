"""The orientation that an Exif block stores, and the way to apply it.

Source: Exif 2.32 section 4.6: a TIFF directory, whose tag 0x0112 says which sides of the upright
picture the first stored row and column are.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from edgecv.types import Image


def exif_orientation(data: bytes | memoryview, start: int, end: int) -> int:
    """Read the orientation, 1 to 8, from the Exif block in ``data[start:end]``.

    A leading ``Exif\\0\\0`` is skipped. A block that is malformed, or has no valid orientation,
    gives 1: damage in what only describes a picture is no reason to refuse it.
    """
    exif = memoryview(data)[start:end]
    if bytes(exif[:6]) == b"Exif\0\0":
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(exif[:2]))
    if order is None:
        return 1
    try:
        magic, directory = struct.unpack_from(order + "HI", exif, 2)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        if magic != 42:
            return 1
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == 0x0112:
                # A SHORT by the standard; some writers store a LONG.
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, entry + 8)
                return int(value) if kind in (3, 4) and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def upright(image: Image, orientation: int) -> Image:
    """Turn a stored image upright: (H, W, 3) uint8, a new C-contiguous array except for 1.

    Args:
        image: (H, W, 3) uint8 as stored.
        orientation: 1 to 8; 5 to 8 swap height and width.
    """
    if orientation == 1:
        return image
    if orientation in (5, 7):  # mirrored along a diagonal
        image = cv2.transpose(image)
        turned = image if orientation == 5 else cv2.rotate(image, cv2.ROTATE_180)
    elif orientation in (2, 4):
        turned = cv2.flip(image, 1 if orientation == 2 else 0)
    else:
        turns = {
            3: cv2.ROTATE_180,
            6: cv2.ROTATE_90_CLOCKWISE,
            8: cv2.ROTATE_90_COUNTERCLOCKWISE,
        }
        turned = cv2.rotate(image, turns[orientation])
    return np.asarray(turned, np.uint8)
