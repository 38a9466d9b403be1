"""What an encoded image says about itself, read without decoding a pixel.

Works on hostile bytes: every loop has a fixed bound, no length field is trusted, and nothing is
allocated that the bytes did not bring. `read_header` needs the beginning of a file only; `inspect`
also checks what tells a whole file from a truncated one, which decoders tend to forgive.

Sources: ITU-T T.81 annex B (JPEG markers), the PNG specification third edition (chunks, eXIf,
acTL), the WebP container specification with RFC 6386 section 9.1 (VP8 key frames), and Microsoft's
description of BITMAPFILEHEADER and its info headers.
"""

from __future__ import annotations

import struct

from edgecv.errors import ImageError
from edgecv.exif import exif_orientation
from edgecv.record import Record

Buffer = bytes | memoryview

_MAX_STEPS = 65_536  # segments, chunks and skipped bytes; real files have some hundreds at most
_MAX_SCANS = 100  # of a JPEG; encoders write 1 to 14, and each costs a pass over the whole picture
_ACCEPTED = "JPEG, PNG, WebP or BMP"

_OTHERS = {
    "GIF": (b"GIF8",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\0\0\0\x0cJXL ", b"\xff\x0a"),
    "PDF": (b"%PDF",),
    "a zip archive": (b"PK\3\4",),
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_BMP_DEPTHS = {16: 5, 24: 8, 32: 8}
# Colour masks (red, green, blue) that OpenCV honours; it would swap the channels of any others.
_BMP_MASKS = {
    16: ((0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)),
    32: ((0xFF0000, 0x00FF00, 0x0000FF),),
}


class ImageInfo(Record):
    """The header of an encoded image.

    Attributes:
        format: ``JPEG``, ``PNG``, ``WebP`` or ``BMP``.
        width: pixels a row as stored, before the orientation is applied.
        height: rows as stored, before the orientation is applied.
        channels: stored channels, alpha included; an image with a palette counts as 3.
        bit_depth: bits of one stored sample; of the index where there is a palette.
        orientation: Exif orientation, 1 to 8; 1 where there is none or it is not valid.
    """

    format: str
    width: int
    height: int
    channels: int
    bit_depth: int
    orientation: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the upright image, after the orientation is applied."""
        swapped = self.orientation >= 5
        return (self.width, self.height) if swapped else (self.height, self.width)


class _BrokenError(Exception):
    """A fault found by a parser, which does not know where the bytes came from."""

    def __init__(self, what: str, expected: str | None = None, got: str | None = None) -> None:
        self.what, self.expected, self.got = what, expected, got


def read_header(data: Buffer, *, where: str = "image") -> ImageInfo:
    """Read size, kind and orientation from the first bytes of an image.

    A file cut off behind its header passes; an orientation stored in the missing part (the eXIf
    chunk of a PNG, the EXIF chunk of a WebP) is then reported as 1.

    Args:
        data: the file's bytes or its beginning; a memoryview must be 1-D and of bytes.
        where: what error messages call the image.

    Raises:
        ImageError: empty, of no accepted format, header cut off or malformed, or a size of zero.
    """
    return _parse(data, where, whole=False)


def inspect(data: Buffer, *, where: str = "image") -> ImageInfo:
    """Read the header of a whole file as `read_header` does, and refuse what decoders forgive.

    Raises:
        ImageError: as `read_header`; or the file is truncated, a chunk of a PNG that the picture
            needs fails its checksum, the image is animated, or a JPEG has absurdly many scans.
    """
    return _parse(data, where, whole=True)


def _parse(data: Buffer, where: str, *, whole: bool) -> ImageInfo:
    head = bytes(data[:16])
    try:
        if head.startswith(b"\xff\xd8\xff"):
            info = _jpeg(data, whole)
        elif head.startswith(b"\x89PNG\r\n\x1a\n"):
            info = _png(data, whole)
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            info = _webp(data, whole)
        elif head.startswith(b"BM"):
            info = _bmp(data, whole)
        elif not head:
            raise _BrokenError("empty", _ACCEPTED, "0 bytes")
        else:
            raise _BrokenError("unknown format", _ACCEPTED, _name(bytes(data[:64])))
        if info.width < 1 or info.height < 1:
            raise _BrokenError(
                f"bad {info.format} size", "at least 1 x 1 pixels", f"{info.width} x {info.height}"
            )
    except _BrokenError as error:
        raise ImageError(error.what, where=where, expected=error.expected, got=error.got) from None
    except (IndexError, struct.error):
        raise ImageError(
            "truncated in its header", where=where, got=f"a file of {len(data)} bytes"
        ) from None
    return info


def _name(head: bytes) -> str:
    """Name what the first bytes of a file belong to, for an error message."""
    for name, signatures in _OTHERS.items():
        if head.startswith(signatures):
            return name
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "an MP4-like media file")
    if head.startswith(b"RIFF"):
        return f"a RIFF file of type {head[8:12]!r}"
    text = head.decode("ascii", errors="replace")
    if all(c in "\t\r\n" or " " <= c <= "~" for c in text):
        return f"text that begins {text[:24]!r}"
    return f"bytes that begin {head[:8].hex(' ')}"


def _jpeg(data: Buffer, whole: bool) -> ImageInfo:
    """Walk the marker segments up to the first scan, as libjpeg does."""
    frame: tuple[int, int, int, int] | None = None
    kind = 0
    orientation: int | None = None
    at = 2
    for _ in range(_MAX_STEPS):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):  # padding, or stray bytes
            at += 1
            continue
        at += 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # TEM and RSTn stand alone
            continue
        if marker in (0xD8, 0xD9):
            raise _BrokenError("bad JPEG", "a scan", f"marker FF{marker:02X} before any scan")
        length = data[at] << 8 | data[at + 1]
        if length < 2:
            raise _BrokenError("bad JPEG", "a segment of 2 bytes or more", f"length {length}")
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise _BrokenError("bad JPEG", "one frame header", "two")
            kind, frame = marker, struct.unpack_from(">BHHB", data, at + 2)
            if length != 8 + 3 * frame[3]:
                raise _BrokenError("bad JPEG: frame header of a wrong length", got=f"{length}")
        elif marker == 0xE1 and orientation is None and bytes(data[at + 2 : at + 6]) == b"Exif":
            orientation = exif_orientation(data, at + 2, at + length)
        at += length
    else:
        raise _BrokenError("bad JPEG", "a scan", f"{_MAX_STEPS} other segments or stray bytes")
    if frame is None:
        raise _BrokenError("bad JPEG", "a frame header", "a scan before it")
    depth, height, width, channels = frame
    if whole:
        file_bytes = bytes(data)  # a copy of a view only
        # Only these are decoded scan by scan; a plain baseline file has one and stops there.
        by_scans = kind in (0xC2, 0xC6, 0xCA, 0xCE) or data[at + 2] < channels
        if by_scans and (scans := file_bytes.count(b"\xff\xda", at - 2)) > _MAX_SCANS:
            raise _BrokenError("bad JPEG", f"at most {_MAX_SCANS} scans", f"{scans}")
        # From the back: there at once in most files, and before padding or a second picture in
        # others. Compressed data cannot hold these two bytes.
        if file_bytes.rfind(b"\xff\xd9", at) < 0:
            raise _BrokenError("truncated", "an end-of-image marker", f"none in {len(data)} bytes")
    return ImageInfo("JPEG", width, height, channels, depth, orientation or 1)


def _png(data: Buffer, whole: bool) -> ImageInfo:
    """Walk the chunks from IHDR to IEND; with `whole`, all of them must be there."""
    from zlib import crc32  # late: most images are JPEG

    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if (length, name) != (13, b"IHDR"):
        raise _BrokenError("bad PNG", "IHDR of 13 bytes first", f"{name!r} of {length} bytes")
    if depth not in _PNG_DEPTHS.get(colour, ()):
        raise _BrokenError("bad PNG", got=f"colour type {colour} with {depth} bits a sample")
    orientation = 1
    view = memoryview(data)
    at = 8
    for _ in range(_MAX_STEPS):
        length, name = struct.unpack_from(">I4s", data, at) if at + 8 <= len(data) else (0, b"")
        end = at + 12 + length
        if end > len(data):  # never on to the decoder: OpenCV allocates the length it reads
            name = b""
            break
        if name == b"acTL" and whole:
            raise _BrokenError("animated", "a still image", "an animated PNG")
        if (whole and not name[0] & 0x20) or name == b"eXIf":  # bit 5 marks the optional ones
            good = crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])
            if name == b"eXIf":
                orientation = exif_orientation(data, at + 8, end - 4) if good else orientation
            elif not good:
                raise _BrokenError("damaged", got=f"a wrong checksum in PNG chunk {name!r}")
        if name == b"IEND":
            break
        at = end
    if whole and name != b"IEND":
        raise _BrokenError("truncated", "PNG chunk IEND", f"none in {len(data)} bytes")
    return ImageInfo("PNG", width, height, _PNG_CHANNELS[colour], depth, orientation)


def _webp(data: Buffer, whole: bool) -> ImageInfo:
    """Read the first chunk of the RIFF container, and the EXIF chunk if the header announces it."""
    size = 8 + int.from_bytes(data[4:8], "little")
    name, length = struct.unpack_from("<4sI", data, 12)
    orientation = 1
    if name == b"VP8 ":
        tag, start, width, height = struct.unpack_from("<B2x3sHH", data, 20)
        if tag & 1 or start != b"\x9d\x01\x2a":
            raise _BrokenError("bad WebP", "a VP8 key frame")
        width, height, channels = width & 0x3FFF, height & 0x3FFF, 3
    elif name == b"VP8L":
        mark, bits = struct.unpack_from("<BI", data, 20)
        if mark != 0x2F:
            raise _BrokenError("bad WebP", "VP8L signature 2f", f"{mark:02x}")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        channels = 4 if bits >> 28 & 1 else 3
    elif name == b"VP8X":
        flags, low, high, rows, rows_high = struct.unpack_from("<B3xHBHB", data, 20)
        width, height = (low | high << 16) + 1, (rows | rows_high << 16) + 1
        channels = 4 if flags & 0x10 else 3
        if flags & 0x02 and whole:
            raise _BrokenError("animated", "a still image", "an animated WebP")
        if flags & 0x08:
            orientation = _webp_orientation(data, 20 + length + (length & 1))
    else:
        raise _BrokenError("bad WebP", "chunk VP8, VP8L or VP8X first", f"{name!r}")
    if whole and size > len(data):
        raise _BrokenError("truncated", f"{size} bytes of WebP", f"{len(data)}")
    return ImageInfo("WebP", width, height, channels, 8, orientation)


def _webp_orientation(data: Buffer, at: int) -> int:
    for _ in range(_MAX_STEPS):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            return exif_orientation(data, at + 8, at + 8 + length)
        at += 8 + length + (length & 1)
    return 1


def _bmp(data: Buffer, whole: bool) -> ImageInfo:
    """Read the file header and the info header, in their OS/2 and Windows versions."""
    offset, size = struct.unpack_from("<II", data, 10)
    packing = colours = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    elif size >= 40:
        width, height, bits, packing, colours = struct.unpack_from("<ii2xHI12xI", data, 18)
        height = abs(height)  # negative: rows run from the top down
    else:
        raise _BrokenError("bad BMP", "an info header of 12, or 40 or more, bytes", f"{size}")
    # packing: 0 none, 1 RLE of 8-bit indices, 2 RLE of 4-bit indices, 3 colour masks
    if bits not in {0: (1, 4, 8, 16, 24, 32), 1: (8,), 2: (4,), 3: (16, 32)}.get(packing, ()):
        raise _BrokenError("unsupported BMP", got=f"{bits} bits a pixel, compression {packing}")
    if bits <= 8 and colours > 256:
        raise _BrokenError("bad BMP", "a palette of at most 256 colours", f"{colours}")
    if packing == 3 and (masks := struct.unpack_from("<III", data, 54)) not in _BMP_MASKS[bits]:
        shown = " ".join(f"{mask:08x}" for mask in masks)
        raise _BrokenError("unsupported BMP", "the usual colour masks", shown)
    if whole:
        stride = (width * bits + 31) // 32 * 4
        # Run-length coded rows have no size of their own: at least one byte must be there.
        need = offset + (stride * height if packing in (0, 3) else 1)
        if need > len(data):
            raise _BrokenError("truncated", f"at least {need} bytes of BMP", f"{len(data)}")
    return ImageInfo("BMP", width, height, 3 + (bits == 32), _BMP_DEPTHS.get(bits, bits), 1)
