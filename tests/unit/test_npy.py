"""Arrays in files: what numpy writes is read, and what is hostile is refused unopened."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgecv import npy
from edgecv.errors import BundleError


def saved(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def with_header(text: str, body: bytes = b"") -> bytes:
    return npy.MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1") + body


def parse(data: bytes) -> Any:
    return npy.parse(data, "f.npy", BundleError)


SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
HALVES = st.floats(-1000, 1000, width=16)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_what_numpy_writes_is_read(dtype: str, version: tuple[int, int]) -> None:
    array = np.arange(6, dtype=dtype).reshape(2, 3) / 4
    found = parse(saved(array, version))
    assert found.dtype == np.float32
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


@given(arrays.arrays(np.float16, SHAPES, elements=HALVES))
def test_there_and_back(array: Any) -> None:
    data = npy.encode(array)
    np.testing.assert_array_equal(parse(data), array)
    np.testing.assert_array_equal(np.load(io.BytesIO(data), allow_pickle=False), array)
    assert data == saved(array.astype("<f4"), (1, 0))


def test_views_in_any_order_are_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.float64).reshape(2, 3).T
    np.testing.assert_array_equal(parse(npy.encode(array)), array)


GOOD = saved(np.ones((2, 3), np.float32))
SAID = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an .npy file"),
        (b"PK\x03\x04" + bytes(40), "not an .npy file"),
        (npy.MAGIC, "not an .npy file"),
        (npy.MAGIC + b"\x04\x00" + bytes(9), "not an .npy file"),
        (npy.MAGIC + b"\x02\x00\x00\x00", "cut short: expected a header"),
        (saved(np.array([{}], object)), "expected floats in C order, .* got |O"),
        (saved(np.ones((2, 3), np.int32)), "got <i4"),
        (saved(np.ones(2, ">f4")), "got >f4"),
        (saved(np.ones((2, 3), np.float32, order="F")), "got <f4, Fortran order"),
        (saved(np.zeros(2, [("a", "<f4")])), "of another form"),
        (saved(np.array([1, np.nan], np.float32)), "expected 2 numbers; got 1 that are not"),
        (saved(np.array([1e300])), "not finite in float32"),
        (saved(np.ones((1, 1, 1, 1, 2), np.float32)), "at most 4 axes"),
        (GOOD[:-1], r"expected 24 bytes .* shape \[2, 3\]; got 23"),
        (GOOD + b"\0", "expected 24 bytes .*; got 25"),
        (with_header(SAID % "2147483647, 4"), "too large: expected at most 67108864 values"),
        (with_header(SAID % "99999999999,"), "4 axes of at most 10 digits; got 99999999999,"),
        (with_header(SAID % "-1,"), "of another form"),
        (with_header(SAID % "4" + " " * 5000), "a header that is too long: .*; got 50"),
        (npy.MAGIC + b"\x02\x00\xff\xff\xff\xff", "a header that is too long"),
        (with_header(SAID % "1" + "+__import__('os')"), "of another form"),
        (with_header("{'descr': '<f4', 'shape': (1,), }\n"), "of another form"),
        (with_header("\xff\xfe"), "a header that is not text"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        parse(data)
    assert str(caught.value).startswith("f.npy: ")


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_numbers_only(at: int, value: int) -> None:
    data = GOOD[:at] + bytes([value]) + GOOD[at + 1 :]
    try:
        found = parse(data)
    except BundleError:
        return
    assert found.size * found.itemsize <= len(data)
    assert np.isfinite(found).all()
