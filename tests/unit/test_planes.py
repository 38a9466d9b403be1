"""Planes of pixels: layouts, strides, colours, and what is no picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.errors import ImageError
from edgecv.manifest import Input
from edgecv.planes import FORMATS, Planes, as_planes
from edgecv.preprocess import Preprocessor
from edgecv.types import TensorSpec

HEIGHT, WIDTH = 6, 8
SHAPES = {
    "bgr": [(6, 8, 3)],
    "rgb": [(6, 8, 3)],
    "bgra": [(6, 8, 4)],
    "rgba": [(6, 8, 4)],
    "grey": [(6, 8)],
    "nv12": [(6, 8), (3, 4, 2)],
    "nv21": [(6, 8), (3, 4, 2)],
    "i420": [(6, 8), (3, 4), (3, 4)],
    "yuyv": [(6, 8, 2)],
    "uyvy": [(6, 8, 2)],
}
# OpenCV's own conversion of one packed array of each format.
PACKED = {
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "nv21": cv2.COLOR_YUV2BGR_NV21,
    "i420": cv2.COLOR_YUV2BGR_I420,
}


def planes(format: str, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, shape, np.uint8) for shape in SHAPES[format]]


def bt601(y: int, u: int, v: int) -> tuple[float, float, float]:
    """BGR of one limited-range BT.601 colour, from the published definition of the signals."""
    luma, blue, red = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r = luma + 2 * (1 - 0.299) * red
    b = luma + 2 * (1 - 0.114) * blue
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return tuple(min(max(value * 255, 0.0), 255.0) for value in (b, g, r))


def test_every_format_has_a_case() -> None:
    assert set(SHAPES) == set(FORMATS)


@pytest.mark.parametrize(
    ("yuv", "bgr"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((126, 128, 128), (128, 128, 128)),
        ((81, 90, 240), (0, 0, 255)),  # red, as BT.601's colour bars have it
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (255, 0, 0)),
        ((0, 128, 128), (0, 0, 0)),  # below black
        ((255, 128, 128), (255, 255, 255)),
    ],
)
@pytest.mark.parametrize("format", ["nv12", "nv21", "i420", "yuyv", "uyvy"])
def test_known_colours(format: str, yuv: tuple[int, int, int], bgr: tuple[int, ...]) -> None:
    y, u, v = yuv
    assert np.allclose(bt601(*yuv), bgr, atol=1.6)
    luma = np.full((4, 4), y, np.uint8)
    blue, red = np.full((2, 2), u, np.uint8), np.full((2, 2), v, np.uint8)
    data = {
        "nv12": [luma, np.dstack([blue, red])],
        "nv21": [luma, np.dstack([red, blue])],
        "i420": [luma, blue, red],
        "yuyv": [np.dstack([luma, np.tile([u, v], (4, 2)).astype(np.uint8)])],
        "uyvy": [np.dstack([np.tile([u, v], (4, 2)).astype(np.uint8), luma])],
    }[format]
    picture = as_planes(data, format)
    assert np.abs(picture.to_bgr().astype(int) - bgr).max() <= 2
    small = picture.resized((2, 2), cv2.INTER_LINEAR)
    if format in PACKED:
        assert np.abs(small.astype(int) - bgr).max() <= 2
    else:
        assert small is None


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_any_colour_is_that_of_the_definition(yuv: tuple[int, int, int]) -> None:
    y, u, v = yuv
    uv = np.full((2, 2, 2), (u, v), np.uint8)
    picture = as_planes([np.full((4, 4), y, np.uint8), uv], "nv12")
    expected = bt601(max(y, 16), u, v)  # blacker than black counts as black
    assert np.abs(picture.to_bgr() - np.array(expected)).max() <= 2.5  # OpenCV's integers
    assert np.abs(picture.resized((2, 2), cv2.INTER_LINEAR) - np.array(expected)).max() <= 1.0


@pytest.mark.parametrize("format", list(PACKED))
def test_planes_in_one_array_are_what_opencv_makes_of_it(format: str) -> None:
    packed = np.random.default_rng(1).integers(0, 256, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    expected = cv2.cvtColor(packed, PACKED[format])
    for data, size in ((packed, None), (packed.reshape(-1), (6, 8)), (packed.tobytes(), (6, 8))):
        found = as_planes(data, format, size)
        assert found.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_array_equal(found.to_bgr(), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_rows_may_lie_apart(format: str) -> None:
    tight = planes(format)
    apart = []
    for plane in tight:
        wide = np.full((plane.shape[0], plane.shape[1] + 3, *plane.shape[2:]), 99, np.uint8)
        wide[:, : plane.shape[1]] = plane
        apart.append(wide[:, : plane.shape[1]])
    loose = as_planes(apart, format)
    np.testing.assert_array_equal(loose.to_bgr(), as_planes(tight, format).to_bgr())
    for plane, wide in zip(loose.planes, apart, strict=True):
        assert np.shares_memory(plane, wide)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_copied_before_it_is_converted(format: str) -> None:
    arrays = planes(format)
    for plane, array in zip(as_planes(arrays, format).planes, arrays, strict=True):
        assert np.shares_memory(plane, array)


def test_padded_rows_in_one_array() -> None:
    wide = np.random.default_rng(2).integers(0, 256, (9, 12), np.uint8)
    view = wide[:, :8]
    found = as_planes(view, "nv12")
    assert all(np.shares_memory(plane, wide) for plane in found.planes)
    expected = cv2.cvtColor(np.ascontiguousarray(view), cv2.COLOR_YUV2BGR_NV12)
    np.testing.assert_array_equal(found.to_bgr(), expected)


def test_every_other_value_of_an_array() -> None:
    wide = np.random.default_rng(2).integers(0, 256, (9, 16), np.uint8)
    view = wide[:, ::2]
    expected = cv2.cvtColor(np.ascontiguousarray(view), cv2.COLOR_YUV2BGR_NV12)
    np.testing.assert_array_equal(as_planes(view, "nv12").to_bgr(), expected)


def test_rgb_grey_and_alpha() -> None:
    (rgb,) = planes("rgb")
    np.testing.assert_array_equal(as_planes(rgb, "rgb").to_bgr(), rgb[..., ::-1])
    (bgra,) = planes("bgra")
    np.testing.assert_array_equal(as_planes(bgra, "bgra").to_bgr(), bgra[..., :3])
    np.testing.assert_array_equal(as_planes(bgra, "rgba").to_bgr(), bgra[..., 2::-1])
    (grey,) = planes("grey")
    for data in (grey, grey[..., None]):
        np.testing.assert_array_equal(as_planes(data, "grey").to_bgr(), np.dstack([grey] * 3))
    (bgr,) = planes("bgr")
    assert as_planes(bgr, "bgr").to_bgr() is bgr


@pytest.mark.parametrize("format", ["yuyv", "uyvy"])
def test_packed_pairs_as_rows_or_flat(format: str) -> None:
    (pairs,) = planes(format)
    expected = as_planes(pairs, format).to_bgr()
    for data, size in ((pairs.reshape(6, 16), None), (pairs.tobytes(), (6, 8))):
        np.testing.assert_array_equal(as_planes(data, format, size).to_bgr(), expected)


def test_a_mirrored_view_is_copied() -> None:
    (bgr,) = planes("bgr")
    found = as_planes(bgr[:, ::-1], "bgr")
    np.testing.assert_array_equal(found.to_bgr(), bgr[:, ::-1])
    assert found.planes[0].flags.c_contiguous
    np.testing.assert_array_equal(as_planes(bgr[::-1], "bgr").to_bgr(), bgr[::-1])


@pytest.mark.parametrize(
    ("format", "data", "size", "message"),
    [
        ("nv13", np.zeros((6, 8), np.uint8), None, "unknown format"),
        ("bgr", np.zeros((6, 8, 3), np.float32), None, "dtype float32"),
        ("bgr", "text", None, "got str"),
        ("bgr", np.zeros((6, 8), np.uint8), None, "not planes of bgr"),
        ("bgr", np.zeros((0, 8, 3), np.uint8), None, "not planes of bgr"),
        ("bgr", b"", None, "not planes of bgr"),
        ("bgr", [], None, "not planes of bgr"),
        ("bgr", np.zeros((6, 8, 3), np.uint8), (8, 6), r"expected \(8, 6, 3\)"),
        ("nv12", bytes(5 * 8 * 3 // 2), (5, 8), "even height and width; got 8 x 5"),
        ("i420", np.zeros((9, 7), np.uint8), None, "even height and width; got 7 x 6"),
        ("nv12", [np.zeros((6, 7), np.uint8), np.zeros((3, 3, 2), np.uint8)], None, "even height"),
        ("yuyv", np.zeros((6, 7, 2), np.uint8), None, "even width"),
        ("yuyv", np.zeros((6, 14), np.uint8), None, "even width"),
        ("nv12", bytes(71), (6, 8), "expected 72 bytes"),
        ("nv12", bytes(72), None, "flat data and size_hw"),
        ("nv12", np.zeros((7, 8), np.uint8), None, "not one array of nv12"),
        ("nv12", [np.zeros((6, 8), np.uint8), np.zeros((3, 8), np.uint8)], None, "not planes"),
        ("i420", [np.zeros((6, 8), np.uint8), np.zeros((3, 4), np.uint8)], None, "not planes"),
    ],
)
def test_what_is_no_picture(format, data, size, message) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        as_planes(data, format, size, where="frame of door")
    assert "frame of door" in str(caught.value)


def test_a_resize_before_the_conversion_is_as_close_to_the_true_picture() -> None:
    """Within a tenth of a level of the picture before its colours were halved, on average."""
    rng = np.random.default_rng(3)
    for seed in range(4):
        blobs = rng.integers(0, 256, (12 + seed, 16, 3), np.uint8)
        true = cv2.resize(blobs, (320, 240), interpolation=cv2.INTER_CUBIC)
        packed = cv2.cvtColor(true, cv2.COLOR_BGR2YUV_I420)
        picture = as_planes(packed, "i420")
        for size in ((120, 160), (90, 120), (224, 224), (61, 97)):
            wanted = cv2.resize(true, size[::-1]).astype(int)
            late = cv2.resize(picture.to_bgr(), size[::-1])
            early = picture.resized(size, cv2.INTER_LINEAR)
            assert np.abs(early - wanted).mean() < np.abs(late - wanted).mean() + 0.05


def test_a_resize_that_enlarges_is_left_to_others() -> None:
    picture = as_planes(planes("nv12"), "nv12")
    for size in ((6, 4), (3, 8), (12, 16), (6, 8)):
        assert picture.resized(size, cv2.INTER_LINEAR) is None


@pytest.mark.parametrize("format", FORMATS)
def test_same_and_copy(format: str) -> None:
    picture = as_planes(planes(format), format)
    copied = picture.copy()
    assert picture.same(copied)
    assert copied.nbytes == picture.nbytes
    copied.planes[-1].reshape(-1)[-1] ^= 1
    assert not picture.same(copied)
    assert not picture.same(Planes("other", picture.planes))
    assert not picture.same(None)


@pytest.mark.parametrize("interpolation", ["linear-antialias", "cubic-antialias"])
def test_a_resize_that_works_on_colours_gets_them(interpolation: str) -> None:
    spec = Input(size_hw=(6, 6), resize="stretch", interpolation=interpolation)
    tensor = TensorSpec("x", (1, 3, 6, 6), "float32")
    picture = as_planes(planes("nv12"), "nv12")
    found, _ = Preprocessor(spec, tensor, "NCHW").prepare(picture)
    expected, _ = Preprocessor(spec, tensor, "NCHW").prepare(picture.to_bgr())
    np.testing.assert_array_equal(found, expected)
