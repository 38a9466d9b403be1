"""Headers of JPEG, PNG, WebP and BMP files, and files that are none of these."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PillowImage

from edgecv.errors import ImageError
from edgecv.exif import exif_orientation
from edgecv.image_header import ImageInfo, inspect, read_header

WIDTH, HEIGHT = 37, 21
RGB = PillowImage.fromarray(
    np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
)


def save(image: PillowImage.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def exif(orientation: int) -> PillowImage.Exif:
    block = PillowImage.Exif()
    block[0x010F] = "maker"
    block[0x0112] = orientation
    return block


def tiff(order: str, kind: int, value: int, count: int = 2) -> bytes:
    """An Exif block of two entries, the second of which is the orientation."""
    mark = {"<": b"II", ">": b"MM"}[order]
    number = struct.pack(order + {3: "H", 4: "I"}.get(kind, "H"), value).ljust(4, b"\0")
    first = struct.pack(order + "HHI", 0x0100, 4, 1) + struct.pack(order + "I", 99)
    second = struct.pack(order + "HHI", 0x0112, kind, 1) + number
    return mark + struct.pack(order + "HIH", 42, 8, count) + first + second + bytes(4)


@pytest.mark.parametrize(
    ("data", "channels", "bit_depth"),
    [
        (save(RGB, "JPEG"), 3, 8),
        (save(RGB, "JPEG", progressive=True), 3, 8),
        (save(RGB.convert("L"), "JPEG"), 1, 8),
        (save(RGB.convert("CMYK"), "JPEG"), 4, 8),
        (save(RGB, "PNG"), 3, 8),
        (save(RGB.convert("RGBA"), "PNG"), 4, 8),
        (save(RGB.convert("LA"), "PNG"), 2, 8),
        (save(RGB.convert("L"), "PNG"), 1, 8),
        (save(RGB.convert("1"), "PNG"), 1, 1),
        (save(RGB.convert("I;16"), "PNG"), 1, 16),
        (save(RGB.quantize(16), "PNG", bits=4), 3, 4),
        (save(RGB, "WEBP"), 3, 8),
        (save(RGB, "WEBP", exif=exif(1)), 3, 8),
        (save(RGB, "WEBP", lossless=True), 3, 8),
        (save(RGB.convert("RGBA").rotate(30), "WEBP"), 4, 8),
        (save(RGB.convert("RGBA").rotate(30), "WEBP", lossless=True), 4, 8),
        (save(RGB, "BMP"), 3, 8),
        (save(RGB.convert("RGBA"), "BMP"), 4, 8),
        (save(RGB.quantize(16), "BMP"), 3, 8),
        (save(RGB.convert("1"), "BMP"), 3, 1),
    ],
)
def test_fields_of_every_kind(data: bytes, channels: int, bit_depth: int) -> None:
    format = {0xFF: "JPEG", 0x89: "PNG", 0x52: "WebP", 0x42: "BMP"}[data[0]]
    expected = ImageInfo(format, WIDTH, HEIGHT, channels, bit_depth, 1)
    assert read_header(data) == expected
    assert read_header(memoryview(data)) == expected
    assert inspect(data) == expected
    assert inspect(memoryview(data)) == expected


def test_the_beginning_of_a_file_is_enough() -> None:
    for format in ("JPEG", "PNG", "WEBP", "BMP"):
        data = save(RGB.resize((300, 200)), format)
        assert read_header(data[:1000]).size_hw == (200, 300)
        with pytest.raises(ImageError, match="truncated"):
            inspect(data[:1000])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_and_upright_size(format: str, orientation: int) -> None:
    info = read_header(save(RGB, format, exif=exif(orientation)))
    assert info.orientation == orientation
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert info.size_hw == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_byte_orders_and_types(order: str) -> None:
    for kind in (3, 4):
        block = tiff(order, kind, 6)
        assert exif_orientation(block, 0, len(block)) == 6
        block = b"junk" + b"Exif\0\0" + block
        assert exif_orientation(block, 4, len(block)) == 6


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        tiff("<", 3, 0),
        tiff("<", 3, 9),
        tiff("<", 2, 6),  # ASCII
        tiff("<", 3, 6, count=1),  # the directory ends before the entry
        tiff("<", 3, 6)[:-12],  # cut off
        tiff("<", 3, 6).replace(b"*", b"+"),
        tiff("<", 3, 6).replace(b"\x08\0\0\0", b"\xff\xff\xff\xff"),
        tiff("<", 3, 6).replace(b"II", b"MM"),
        tiff("<", 3, 6, count=65_535).replace(b"\x12\x01", b"\x13\x01"),
    ],
)
def test_bad_exif_means_upright(block: bytes) -> None:
    assert exif_orientation(block, 0, len(block)) == 1


def test_only_the_first_exif_segment_of_a_jpeg_counts() -> None:
    def segment(value: int) -> bytes:
        body = b"Exif\0\0" + tiff(">", 3, value)
        return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body

    data = save(RGB, "JPEG")
    xmp = b"\xff\xe1\0\x0ehttp://ns.ad"
    forged = data[:2] + xmp + segment(8) + segment(3) + data[2:]
    assert read_header(forged).orientation == 8


def test_png_exif_behind_the_pixels_and_with_a_wrong_checksum() -> None:
    data = save(RGB, "PNG")
    body = b"eXIf" + tiff(">", 3, 8)
    good = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    bad = good[:-1] + bytes([good[-1] ^ 1])
    assert inspect(data[:-12] + good + data[-12:]).orientation == 8
    assert inspect(data[:-12] + bad + data[-12:]).orientation == 1


def test_webp_exif_needs_its_flag() -> None:
    data = bytearray(save(RGB, "WEBP", exif=exif(6)))
    assert read_header(bytes(data)).orientation == 6
    data[20] &= ~0x08
    assert read_header(bytes(data)).orientation == 1


def test_jpeg_stray_and_padding_bytes_before_a_marker_are_skipped() -> None:
    data = save(RGB, "JPEG")
    for junk in (b"\xff\xff\xff", b"junk", b"\xff\0\xff\0", b"\xff\xd0", b"\xff\x01"):
        assert read_header(data[:2] + b"\xff\xfe\0\2" + junk + data[2:]) == read_header(data)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (save(RGB, "GIF"), "GIF"),
        (save(RGB, "TIFF"), "TIFF"),
        (save(RGB, "JPEG2000"), "JPEG 2000"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", "an MP4-like media file"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a RIFF file of type b'WAVE'"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\3\4", "a zip archive"),
        (b"<!DOCTYPE html><html>", "text that begins '<!DOCTYPE html>"),
        (b"\0\1\2\3\4\5\6\7\x08", "bytes that begin 00 01 02 03 04 05 06 07"),
    ],
)
def test_other_files_are_named(head: bytes, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_header(head, where="photo.jpg")
    message = str(caught.value)
    assert message.startswith("photo.jpg: unknown format: expected JPEG, PNG, WebP or BMP; got ")
    assert name in message


def test_an_empty_file() -> None:
    with pytest.raises(ImageError, match=r"^image: empty: .*got 0 bytes$"):
        read_header(b"")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_cut_header_is_an_error_and_never_another(format: str) -> None:
    data = save(RGB, format)
    for size in range(len(data)):
        try:
            assert read_header(data[:size]) == read_header(data)
        except ImageError:
            assert size < {"JPEG": 700, "PNG": 26, "WEBP": 30, "BMP": 50}[format]


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


JPEG, PNG, WEBP, BMP = (save(RGB, format) for format in ("JPEG", "PNG", "WEBP", "BMP"))
SOF, SOS = JPEG.index(b"\xff\xc0"), JPEG.index(b"\xff\xda")
FRAME = JPEG[SOF : SOF + 19]
LOSSLESS = save(RGB, "WEBP", lossless=True)
MASKED = BMP[:28] + struct.pack("<HI", 32, 3) + BMP[34:54]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (patched(JPEG, SOF + 5, b"\0\0"), "bad JPEG size: .*got 37 x 0"),
        (patched(JPEG, SOF + 7, b"\0\0"), "bad JPEG size"),
        (patched(JPEG, SOF + 3, b"\x12"), "frame header of a wrong length"),
        (patched(JPEG, SOF + 1, b"\xfe"), "expected a frame header"),
        (JPEG[:SOS] + FRAME + JPEG[SOS:], "expected one frame header; got two"),
        (JPEG[:2] + b"\xff\xd9" + JPEG[2:], "marker FFD9 before any scan"),
        (JPEG[:2] + JPEG, "marker FFD8 before any scan"),
        (JPEG[:2] + b"\xff\xfe\0\1" + JPEG[2:], "length 1"),
        (patched(PNG, 12, b"IDAT"), "expected IHDR of 13 bytes first"),
        (patched(PNG, 8, b"\0\0\0\x0e"), "expected IHDR of 13 bytes first"),
        (patched(PNG, 16, bytes(4)), "bad PNG size: .*got 0 x 21"),
        (patched(PNG, 24, b"\x03"), "colour type 2 with 3 bits"),
        (patched(PNG, 25, b"\x05"), "colour type 5 with 8 bits"),
        (patched(WEBP, 12, b"ALPH"), "expected chunk VP8, VP8L or VP8X first"),
        (patched(WEBP, 20, bytes([WEBP[20] | 1])), "key frame"),
        (patched(WEBP, 23, b"\0"), "key frame"),
        (patched(WEBP, 26, b"\0\xc0"), "bad WebP size: .*got 0 x 21"),
        (patched(LOSSLESS, 20, b"\0"), "VP8L signature"),
        (patched(BMP, 14, b"\x10"), "info header of 12, or 40 or more, bytes; got 16"),
        (patched(BMP, 18, bytes(4)), "bad BMP size: .*got 0 x 21"),
        (patched(BMP, 18, b"\xff" * 4), "bad BMP size: .*got -1 x 21"),
        (patched(BMP, 22, bytes(4)), "bad BMP size"),
        (patched(BMP, 28, b"\2"), "2 bits a pixel, compression 0"),
        (patched(BMP, 30, b"\1"), "24 bits a pixel, compression 1"),
        (patched(BMP, 30, b"\5"), "compression 5"),
        (patched(save(RGB.quantize(9), "BMP"), 46, b"\1\1"), "at most 256 colours; got 257"),
        (MASKED + struct.pack("<III", 0xFF, 0xFF00, 0xFF0000), "colour masks; got 000000ff"),
    ],
)
def test_malformed_headers(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (JPEG[:-2], "expected an end-of-image marker"),
        (JPEG[:-2] + bytes(70_000), "expected an end-of-image marker"),
        (PNG[:-12], "expected PNG chunk IEND"),
        (PNG[:-1], "expected PNG chunk IEND"),
        (patched(PNG, len(PNG) - 17, bytes([PNG[-17] ^ 1])), "wrong checksum in PNG chunk b'IDAT'"),
        (patched(PNG, len(PNG) - 12, b"\x7f"), "expected PNG chunk IEND"),
        (WEBP[:-1], "bytes of WebP"),
        (BMP[:-1], "bytes of BMP"),
    ],
)
def test_whole_files_are_told_from_parts(data: bytes, message: str) -> None:
    assert read_header(data).size_hw == (HEIGHT, WIDTH)
    with pytest.raises(ImageError, match=message):
        inspect(data)


def test_animations_are_refused_as_images_but_have_a_header() -> None:
    for format in ("PNG", "WEBP"):
        data = save(RGB, format, save_all=True, append_images=[RGB.rotate(180)])
        assert read_header(data).size_hw == (HEIGHT, WIDTH)
        with pytest.raises(ImageError, match="expected a still image; got an animated"):
            inspect(data)


def test_scans_of_a_jpeg_are_counted_where_they_are_decoded() -> None:
    data = save(RGB, "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff", start + 2)]
    inspect(data[:start] + scan * 80 + data[start:])
    with pytest.raises(ImageError, match="at most 100 scans"):
        inspect(data[:start] + scan * 101 + data[start:])
