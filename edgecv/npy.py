"""Read and write arrays of floats as ``.npy`` files, trusting no byte of what is read.

`numpy.load` would evaluate the header and, unless told otherwise, unpickle objects; here one form
is taken and everything else refused: little-endian floats in C order, all of them finite, and
exactly as many bytes as the shape needs. Source of the format: NEP 1 of numpy, versions 1.0 to 3.0.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable

import numpy as np

from edgecv.errors import EdgecvError
from edgecv.types import Array, Float32

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 4096
MAX_AXES = 4
MAX_VALUES = 2**26
_DTYPES = {"<f2": np.float16, "<f4": np.float32, "<f8": np.float64}
_HEADER = re.compile(
    r"\{ *'descr' *: *'(?P<descr>[^']{1,32})' *, *'fortran_order' *: *(?P<fortran>True|False) *, *"
    r"'shape' *: *\((?P<shape>[0-9, ]{0,80})\) *,? *\} *\n?"
)
_EXPECTED = "floats in C order, as numpy.save writes them"


def parse(data: bytes | memoryview, where: str, error: Callable[..., EdgecvError]) -> Float32:
    """Read an array, whatever its width, as float32 of its own memory.

    Args:
        data: the file's bytes.
        where: how errors name the file.
        error: class of the error to raise.

    Raises:
        error: another format or type, a size that does not fit, or a value that is not finite.
    """
    start, text = _header(data, where, error)
    found = _HEADER.fullmatch(text)
    if found is None:
        raise error("an .npy header of another form", where=where, expected=_EXPECTED)
    if found["descr"] not in _DTYPES or found["fortran"] == "True":
        order = ", Fortran order" if found["fortran"] == "True" else ""
        raise error(
            "another kind of array", where=where, expected=_EXPECTED, got=found["descr"] + order,
            remedy="write it with numpy.save(file, numpy.ascontiguousarray(array, 'float32'))",
        )  # fmt: skip
    axes = [part.strip() for part in found["shape"].split(",")]
    if axes and not axes[-1]:
        axes.pop()
    if len(axes) > MAX_AXES or not all(axis.isdecimal() and len(axis) <= 10 for axis in axes):
        raise error(
            "",
            where=where,
            expected=f"at most {MAX_AXES} axes of at most 10 digits",
            got=found["shape"],
        )
    shape = tuple(map(int, axes))
    dtype = np.dtype(_DTYPES[found["descr"]]).newbyteorder("<")
    count = math.prod(shape)
    if count > MAX_VALUES:
        raise error("too large", where=where, expected=f"at most {MAX_VALUES} values",
                    got=str(count))  # fmt: skip
    if len(data) - start != count * dtype.itemsize:
        raise error(
            "cut short, or with something behind it",
            where=where,
            expected=f"{count * dtype.itemsize} bytes behind the header, for shape {list(shape)}",
            got=str(len(data) - start),
        )
    array = np.frombuffer(data, dtype, count, start).reshape(shape)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise error(
            "values that are not finite in float32",
            where=where,
            expected=f"{count} numbers",
            got=f"{np.count_nonzero(~np.isfinite(values))} that are not",
        )
    return values


def _header(
    data: bytes | memoryview, where: str, error: Callable[..., EdgecvError]
) -> tuple[int, str]:
    """Return where the values begin, and the text in front of them."""
    if len(data) < 10 or bytes(data[:6]) != MAGIC or data[6] not in (1, 2, 3):
        raise error("not an .npy file", where=where, expected="numpy's format, version 1 to 3")
    # Version 1.0 has a length of two bytes; the later ones have four.
    start = 10 if data[6] == 1 else 12
    if len(data) < start:
        raise error("cut short", where=where, expected="a header")
    (length,) = struct.unpack_from("<H" if start == 10 else "<I", data, 8)
    if length > MAX_HEADER_BYTES or start + length > len(data):
        raise error(
            "a header that is too long",
            where=where,
            expected=f"at most {MAX_HEADER_BYTES} bytes, inside the file",
            got=str(length),
        )
    try:
        return start + length, str(data[start : start + length], "ascii")
    except UnicodeDecodeError:
        raise error("a header that is not text", where=where, expected=_EXPECTED) from None


def encode(array: Array) -> bytes:
    """Write an array as float32 in C order, version 1.0; equal arrays give equal bytes."""
    values = np.asarray(array, "<f4", order="C")
    said = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {values.shape}, }}"
    # Spaces and a newline bring what follows to a multiple of 64, so that it can be mapped.
    pad = -(len(MAGIC) + 4 + len(said) + 1) % 64
    header = f"{said}{' ' * pad}\n".encode()
    return MAGIC + b"\x01\x00" + struct.pack("<H", len(header)) + header + values.tobytes()
