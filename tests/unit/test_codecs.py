"""What `codecs` makes of every kind of image, and what it refuses."""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from edgecv import codecs
from edgecv.errors import ImageError, UsageError
from edgecv.types import Array, Image

WIDTH, HEIGHT = 37, 22
SMOOTH = cv2.resize(
    np.random.default_rng(5).integers(0, 256, (4, 6, 3), dtype=np.uint8), (WIDTH, HEIGHT)
)
NOISE = np.random.default_rng(6).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
REARRANGED: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def pillow(bgr: Array) -> PillowImage.Image:
    """Pillow's image of a (H, W), BGR or BGRA array."""
    if bgr.ndim == 2:
        return PillowImage.fromarray(bgr)
    return PillowImage.fromarray(np.ascontiguousarray(bgr[:, :, [2, 1, 0, 3][: bgr.shape[2]]]))


def bgr_of(image: PillowImage.Image) -> Image:
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


def save(image: PillowImage.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(ihdr: tuple[int, int, int, int, int], rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG from (width, height, bit depth, colour type, interlace) and its filtered rows."""
    width, height, depth, colour, interlace = ihdr
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def bmp(
    size_wh: tuple[int, int],
    bits: int,
    pixels: bytes,
    *,
    packing: int = 0,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    header: int = 40,
) -> bytes:
    """A BMP whose rows are given as stored; a negative height is top-down."""
    width, height = size_wh
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, packing, 0, 0, 0, 0, 0)
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header, b"\0") + palette
    offset = 14 + len(info)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + info + pixels


def same(decoded: Image, expected: Array) -> None:
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, expected)


# --- kinds of pixels ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"progressive": True}])
@pytest.mark.parametrize("format", FORMATS)
def test_colour_agrees_with_opencv_to_the_bit(format: str, options: dict[str, bool]) -> None:
    data = save(pillow(SMOOTH), format, **options)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    for kind in (data, memoryview(data), bytearray(data), np.frombuffer(data, np.uint8)):
        same(codecs.decode(kind), expected)
    if format in ("PNG", "BMP") or ("lossless" in options and format == "WEBP"):
        same(codecs.decode(data), SMOOTH)
    # Lossy encoders are another matter, but the picture must be the same one.
    assert np.abs(codecs.decode(data).astype(int) - SMOOTH).mean() < 8


@pytest.mark.parametrize("format", FORMATS)
def test_one_pixel(format: str) -> None:
    assert codecs.decode(save(pillow(SMOOTH[:1, :1]), format)).shape == (1, 1, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP"])
def test_grey_is_repeated(format: str) -> None:
    image = codecs.decode(save(pillow(SMOOTH[:, :, 1]), format))
    same(image, np.dstack([image[:, :, 0]] * 3))
    assert np.abs(image[:, :, 0].astype(int) - SMOOTH[:, :, 1]).max() <= (8 * (format == "JPEG"))


def test_alpha_is_dropped_and_not_blended() -> None:
    bgr = NOISE[:, :, :3]
    assert (NOISE[:, :, 3] < 64).any()
    same(codecs.decode(save(pillow(NOISE), "PNG")), bgr)
    same(codecs.decode(save(pillow(NOISE), "BMP")), bgr)
    same(codecs.decode(save(pillow(NOISE), "WEBP", lossless=True, exact=True)), bgr)
    grey_alpha = np.ascontiguousarray(NOISE[:, :, 2:])
    data = save(PillowImage.fromarray(grey_alpha, "LA"), "PNG")
    same(codecs.decode(data), np.dstack([grey_alpha[:, :, 0]] * 3))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_of_16_bits_the_high_byte_is_kept(colour: int, channels: int) -> None:
    shape = (HEIGHT, WIDTH, channels)
    samples = np.random.default_rng(colour).integers(0, 65_536, shape, dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    high = (samples >> 8).astype(np.uint8)
    expected = np.dstack([high[:, :, 0]] * 3) if channels < 3 else high[:, :, 2::-1]
    same(codecs.decode(png((WIDTH, HEIGHT, 16, colour, 0), rows)), expected)


def test_transparent_colour_of_a_png_is_kept() -> None:
    rgb = SMOOTH[:, :, ::-1]
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    key = b"".join(b"\0" + bytes([value]) for value in rgb[0, 0])
    same(codecs.decode(png((WIDTH, HEIGHT, 8, 2, 0), rows, (b"tRNS", key))), SMOOTH)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_palettes(bits: int) -> None:
    image = pillow(SMOOTH).quantize(2**bits)
    for options in ({}, {"transparency": 1}):
        data = save(image, "PNG", bits=bits, **options)
        assert data[24:26] == bytes([bits, 3])
        same(codecs.decode(data), bgr_of(image))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits_is_scaled_to_the_whole_range(bits: int) -> None:
    top = 2**bits - 1
    values = np.arange(top + 1)
    packed = "".join(f"{value:0{bits}b}" for value in values).ljust(
        -(-bits * (top + 1) // 8) * 8, "0"
    )
    row = int(packed, 2).to_bytes(len(packed) // 8, "big")
    image = codecs.decode(png((top + 1, 1, bits, 0, 0), b"\0" + row))
    same(image, np.dstack([values[None] * 255 // top] * 3))


def test_interlaced_png() -> None:
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rgb = SMOOTH[:, :, ::-1]
    rows = b"".join(
        b"\0" + row.tobytes()
        for y, x, step_y, step_x in (*passes, (1, 0, 2, 1))
        for row in rgb[y::step_y, x::step_x]
        if row.size
    )
    same(codecs.decode(png((WIDTH, HEIGHT, 8, 2, 1), rows)), SMOOTH)


@pytest.mark.parametrize("transform", [None, 0, 2])
def test_cmyk_jpeg_agrees_with_pillow(transform: int | None) -> None:
    """Adobe's marker absent, saying CMYK (0) or YCCK (2)."""
    data = bytearray(save(pillow(SMOOTH).convert("CMYK"), "JPEG", quality=95))
    at = data.index(b"\xff\xee")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    assert data[at + 4 : at + 9] == b"Adobe"
    if transform is None:
        del data[at:end]
    else:
        data[end - 1] = transform
    image = codecs.decode(bytes(data))
    expected = bgr_of(PillowImage.open(io.BytesIO(data)))
    assert np.abs(image.astype(int) - expected).max() <= 2
    if transform != 2:
        assert np.abs(image.astype(int) - SMOOTH).mean() < 4


def test_jpeg_with_restart_markers_and_every_subsampling() -> None:
    for options in ({"restart_marker_blocks": 1}, {"subsampling": 0}, {"subsampling": 1}):
        image = codecs.decode(save(pillow(SMOOTH), "JPEG", quality=95, **options))
        assert np.abs(image.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_kinds(mode: str) -> None:
    image = pillow(SMOOTH).convert(mode)
    same(codecs.decode(save(image, "BMP")), bgr_of(image))


@pytest.mark.parametrize("header", [12, 40, 52, 56, 108, 124])
def test_bmp_headers_and_row_order(header: int) -> None:
    rows = [row.tobytes().ljust(-(-3 * WIDTH // 4) * 4, b"\0") for row in SMOOTH]
    data = bmp((WIDTH, HEIGHT), 24, b"".join(rows[::-1]), header=header)
    same(codecs.decode(data), SMOOTH)
    if header > 12:
        data = bmp((WIDTH, -HEIGHT), 24, b"".join(rows), header=header)
        same(codecs.decode(data), SMOOTH)
        assert codecs.read_header(data).height == HEIGHT


def test_bmp_of_16_bits_with_masks_in_a_long_header_is_refused() -> None:
    masks = (0xF800, 0x07E0, 0x001F)  # OpenCV looks for them behind the header
    for header in (56, 108, 124):
        data = bmp((40, 30), 16, bytes(2400), packing=3, masks=masks, header=header)
        with pytest.raises(ImageError, match="unsupported kind of BMP"):
            codecs.decode(data)


def test_bmp_of_16_bits_has_zero_low_bits() -> None:
    pixels = struct.pack("<4H", 0x7FFF, 0x001F, 0x03E0, 0x7C00)
    expected = [[[248, 248, 248], [248, 0, 0], [0, 248, 0], [0, 0, 248]]]
    same(codecs.decode(bmp((4, 1), 16, pixels)), np.array(expected))
    masks = (0x7C00, 0x03E0, 0x001F)
    same(codecs.decode(bmp((4, 1), 16, pixels, packing=3, masks=masks)), expected)
    pixels = struct.pack("<4H", 0xFFFF, 0x001F, 0x07E0, 0xF800)
    expected = [[[248, 252, 248], [248, 0, 0], [0, 252, 0], [0, 0, 248]]]
    masks = (0xF800, 0x07E0, 0x001F)
    same(codecs.decode(bmp((4, 1), 16, pixels, packing=3, masks=masks)), expected)


@pytest.mark.parametrize(
    ("bits", "packing", "runs"),
    [
        (8, 1, [4, 1, 0, 0, 0, 3, 1, 2, 3, 0, 1, 0, 0, 0, 2, 3, 2, 2, 0, 1]),
        (4, 2, [4, 0x11, 0, 0, 0, 4, 0x12, 0x30, 0, 0, 2, 0x33, 2, 0x22, 0, 1]),
    ],
)
def test_run_length_coded_bmp(bits: int, packing: int, runs: list[int]) -> None:
    colours = np.array([[9, 8, 7, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0]], np.uint8)
    palette = colours.tobytes().ljust(4 * 2**bits, b"\0")
    data = bmp((4, 3), bits, bytes(runs), packing=packing, palette=palette)
    indices = np.array([[3, 3, 2, 2], [1, 2, 3, 0], [1, 1, 1, 1]])
    same(codecs.decode(data), colours[indices, :3])
    with pytest.raises(ImageError):
        codecs.decode(data[:-8])


# --- orientation -------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(format: str, orientation: int) -> None:
    stored = save(pillow(SMOOTH), format, lossless=True)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    data = save(pillow(SMOOTH), format, lossless=True, exif=exif)
    image = codecs.decode(data)
    same(image, REARRANGED[orientation](codecs.decode(stored)))
    assert codecs.read_header(data).size_hw == image.shape[:2]
    if format != "JPEG":  # whose decoder in Pillow is another one
        same(image, bgr_of(ImageOps.exif_transpose(PillowImage.open(io.BytesIO(data)))))


# --- damage and limits -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"lossless": True}])
@pytest.mark.parametrize("format", FORMATS)
def test_every_truncation_is_an_error(format: str, options: dict[str, bool]) -> None:
    data = save(pillow(SMOOTH), format, **options)
    for size in range(len(data)):
        with pytest.raises(ImageError):
            codecs.decode(data[:size])


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_behind_the_image_do_no_harm(format: str) -> None:
    data = save(pillow(SMOOTH), format)
    expected = codecs.decode(data)
    for junk in (b"\0", b"\0" * 200_000, b"\xff" * 70_001, os.urandom(1000), data):
        same(codecs.decode(data + junk), expected)


def test_damage_inside_is_an_image_error() -> None:
    rows = bytes(HEIGHT * (1 + 3 * WIDTH))
    for data in (
        png((WIDTH, HEIGHT, 8, 2, 0), rows[:500]),  # too few pixels
        png((WIDTH, HEIGHT, 8, 2, 0), b"\x09" * len(rows)),  # no such filter
        png((WIDTH, HEIGHT, 8, 3, 0), rows),  # no palette
        png((2_000_000, 1, 8, 0, 0), bytes(2_000_001)),  # wider than OpenCV goes
        save(pillow(SMOOTH), "WEBP", lossless=True)[:-60] + bytes(60),
    ):
        with pytest.raises(ImageError, match=r"unsupported kind of (PNG|WebP)"):
            codecs.decode(data)


def test_an_error_of_opencv_becomes_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        cv2.resize(np.zeros((1, 1), np.uint8), (0, 0))

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(ImageError, match="unsupported kind of PNG; OpenCV: ") as caught:
        codecs.decode(save(pillow(SMOOTH), "PNG"))
    assert isinstance(caught.value.__cause__, cv2.error)


def test_a_decoder_of_another_mind_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    with pytest.raises(ImageError, match=f"got {WIDTH} x {HEIGHT}"):
        codecs.decode(save(pillow(SMOOTH), "PNG"))


@pytest.mark.parametrize("format", FORMATS)
def test_limits_are_inclusive_and_checked_before_decoding(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = save(pillow(SMOOTH), format)
    area = WIDTH * HEIGHT
    codecs.decode(data, limits=codecs.Limits(max_pixels=area, max_bytes=len(data)))

    def unexpected(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", unexpected)
    message = f"at most {area - 1} pixels; got {WIDTH} x {HEIGHT}"
    with pytest.raises(ImageError, match=message) as caught:
        codecs.decode(data, limits=codecs.Limits(max_pixels=area - 1), where="a.jpg")
    assert caught.value.where == "a.jpg"
    assert caught.value.remedy is not None
    message = f"at most {len(data) - 1} bytes; got {len(data)}"
    with pytest.raises(ImageError, match=message):
        codecs.decode(data, limits=codecs.Limits(max_bytes=len(data) - 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (bytearray(), "empty"),
        (np.zeros(0, np.uint8), "empty"),
        (b"hello, world\n", "got text that begins 'hello, world"),
        ("text", r"not encoded bytes: expected bytes.*got str"),
        (None, "got NoneType"),
        (np.zeros((4, 4), np.uint8), r"expected an array \(N,\) uint8; got dtype uint8, shape"),
        (np.zeros(4, np.int8), "got dtype int8"),
    ],
)
def test_what_is_no_encoded_image(data: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        codecs.decode(data)  # type: ignore[arg-type]  # wrong on purpose


def test_strided_views_are_decoded() -> None:
    data = save(pillow(SMOOTH), "PNG")
    spread = np.zeros(2 * len(data), np.uint8)
    spread[::2] = np.frombuffer(data, np.uint8)
    same(codecs.decode(spread[::2]), SMOOTH)
    same(codecs.decode(memoryview(spread)[::2]), SMOOTH)


# --- files -------------------------------------------------------------------------------------


def test_read_ignores_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(save(pillow(SMOOTH), "PNG"))
    same(codecs.read(path), SMOOTH)
    same(codecs.read(str(path)), SMOOTH)
    link = tmp_path / "link"
    link.symlink_to(path)
    same(codecs.read(link), SMOOTH)


def test_read_of_what_is_no_file(tmp_path: Path) -> None:
    empty, sparse = tmp_path / "empty", tmp_path / "sparse"
    empty.touch()
    with sparse.open("wb") as file:
        file.truncate(2**41)  # more than can be read into memory
    cases = {
        tmp_path: "cannot be read: expected a file; got a folder",
        tmp_path / "missing": "cannot be read: got No such file or directory",
        Path("/dev/zero"): "cannot be read: expected a file; got a pipe, socket or device",
        empty: "empty",
        sparse: "too large: expected at most 67108864 bytes; got 2199023255552",
    }
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is enough
    for path, message in cases.items():
        with pytest.raises(ImageError) as caught:
            codecs.read(path)
        assert str(caught.value).startswith(f"{path}: {message}")
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    with pytest.raises(ImageError, match=r"null (byte|character)"):
        codecs.read("a\0b")


def test_read_of_a_pipe_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    caught: list[ImageError] = []

    def reader() -> None:
        with pytest.raises(ImageError, match="got a pipe, socket or device") as info:
            codecs.read(pipe)
        caught.append(info.value)

    thread = threading.Thread(target=reader, daemon=True)  # would wait for ever if it did wait
    thread.start()
    thread.join(20)
    assert caught


def test_errors_of_a_file_name_its_path(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(save(pillow(SMOOTH), "PNG")[:-1])
    with pytest.raises(ImageError) as caught:
        codecs.read(path)
    assert str(caught.value).startswith(f"{path}: truncated")
    with pytest.raises(ImageError) as caught:
        codecs.read(path, limits=codecs.Limits(max_bytes=10))
    assert str(caught.value).startswith(f"{path}: too large")


def test_a_file_that_comes_in_pieces_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(save(pillow(SMOOTH), "PNG"))
    whole, read = codecs.read(path), os.read
    monkeypatch.setattr(os, "read", lambda handle, size: read(handle, min(size, 100)))
    assert np.array_equal(codecs.read(path), whole)


def test_a_file_that_shrinks_while_it_is_read_is_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(save(pillow(SMOOTH), "PNG"))
    read = os.read

    def shrinking(handle: int, size: int) -> bytes:
        os.truncate(path, 100)
        return read(handle, size)

    monkeypatch.setattr(os, "read", shrinking)
    with pytest.raises(ImageError, match="truncated"):
        codecs.read(path)


# --- arrays ------------------------------------------------------------------------------------


def test_as_image_passes_bgr_untouched() -> None:
    assert codecs.as_image(SMOOTH) is SMOOTH
    crop = SMOOTH[3:9, 2:5]
    assert codecs.as_image(crop) is crop
    pixel = SMOOTH[:1, :1]
    assert codecs.as_image(pixel) is pixel


def test_as_image_repacks_what_opencv_cannot_take() -> None:
    one_row = np.broadcast_to(SMOOTH[:1], SMOOTH.shape)
    for view in (SMOOTH[:, ::-1], SMOOTH[::-1], SMOOTH[:, :, ::-1], SMOOTH[:, ::2], one_row):
        same(codecs.as_image(view), view)


def test_as_image_converts_grey_and_drops_alpha() -> None:
    grey = SMOOTH[:, :, 1]
    for array in (grey, grey[:, :, None], np.ascontiguousarray(grey)):
        same(codecs.as_image(array), np.dstack([grey] * 3))
    same(codecs.as_image(NOISE), NOISE[:, :, :3])
    same(codecs.as_image(NOISE[::-1, ::2]), NOISE[::-1, ::2, :3])


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (None, "got NoneType"),
        ([[0, 1]], "got list"),
        (pillow(SMOOTH), "got Image"),
        (np.zeros((2, 2, 3), np.float32), r"got dtype float32, shape \(2, 2, 3\)"),
        (np.zeros((2, 2, 3), np.uint16), "got dtype uint16"),
        (np.zeros((2, 2), bool), "got dtype bool"),
        (np.zeros((3, 2, 2), np.uint8), r"got shape \(3, 2, 2\)"),
        (np.zeros((2, 2, 2), np.uint8), r"got shape \(2, 2, 2\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"got shape \(1, 2, 2, 3\)"),
        (np.zeros(6, np.uint8), r"got shape \(6,\)"),
        (np.zeros((), np.uint8), r"got shape \(\)"),
        (np.zeros((0, 2, 3), np.uint8), r"got no pixels, shape \(0, 2, 3\)"),
        (np.zeros((2, 0), np.uint8), r"got no pixels, shape \(2, 0\)"),
    ],
)
def test_as_image_refuses(array: object, got: str) -> None:
    with pytest.raises(ImageError, match=got) as caught:
        codecs.as_image(array, where="frame")
    assert str(caught.value).startswith("frame: not an image: expected a uint8 array (H, W, 3)")


# --- encoding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".PNG"])
def test_encode_and_decode(format: str) -> None:
    data = codecs.encode(SMOOTH, format)
    assert isinstance(data, bytes)
    image = codecs.decode(data)
    if format.lower() in (".png", ".bmp"):
        same(image, SMOOTH)
    assert np.abs(image.astype(int) - SMOOTH).mean() < 8


def test_encode_takes_what_as_image_takes() -> None:
    grey = SMOOTH[::-1, :, 1]
    same(codecs.decode(codecs.encode(grey, ".png")), np.dstack([grey] * 3))


def test_quality_matters() -> None:
    for format in (".jpg", ".webp"):
        sizes = [len(codecs.encode(NOISE, format, quality)) for quality in (1, 50, 90, 100)]
        assert sizes == sorted(set(sizes))


def test_encode_refuses() -> None:
    with pytest.raises(UsageError, match=r"format: expected one of \.jpg, .*; got \.gif"):
        codecs.encode(SMOOTH, ".gif")
    for quality in (0, 101):
        with pytest.raises(UsageError, match=f"quality: expected 1 to 100; got {quality}"):
            codecs.encode(SMOOTH, quality=quality)
    with pytest.raises(ImageError, match="not an image"):
        codecs.encode(np.zeros((2, 2, 3)))
    for format, side in ((".jpg", 65_501), (".webp", 16_384)):
        with pytest.raises(ImageError, match=f"sides of at most {side - 1} pixels; got {side} x 1"):
            codecs.encode(np.zeros((1, side, 3), np.uint8), format)
        codecs.encode(np.zeros((1, side - 1, 3), np.uint8), format)


def test_write_replaces_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    codecs.write(path, SMOOTH)
    same(codecs.read(path), SMOOTH)
    codecs.write(str(path), SMOOTH[::-1])
    same(codecs.read(path), SMOOTH[::-1])
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ImageError) as caught:
        codecs.write(path, SMOOTH)
    assert str(caught.value) == f"{path}: cannot be written: got No space left on device"
    same(codecs.read(path), SMOOTH[::-1])
    assert list(tmp_path.iterdir()) == [path]


def test_write_refuses(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name in ("missing/a.png", "folder.png", "a\0b.png"):
        with pytest.raises(ImageError, match=r"cannot be written: got \w"):
            codecs.write(tmp_path / name, SMOOTH)
    for name in ("a.gif", "a"):
        with pytest.raises(UsageError, match="format"):
            codecs.write(tmp_path / name, SMOOTH)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
