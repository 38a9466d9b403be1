"""Mutated images: the decoder answers with a picture or an ImageError, in bounded time and memory.

The decoding runs in a child process, so that a crash, a hang or a memory bomb is a failed test and
not the end of the test run; the child is this file run as a program.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

import edgecv
from edgecv import codecs
from edgecv.errors import ImageError

LIMITS = codecs.Limits(max_pixels=1_000_000, max_bytes=1_000_000)
MAX_GROWTH_MIB = 96  # 1 MP is 3 MB decoded; libjpeg and libpng hold a few times that
SLOWEST_S = 5.0  # guards against hangs only: a case takes about 0.1 ms


def seeds() -> dict[str, bytes]:
    """Small valid files of every kind, by name."""
    rng = np.random.default_rng(7)
    pixels = cv2.resize(rng.integers(0, 256, (5, 7, 3), np.uint8), (40, 24))
    rgb = PillowImage.fromarray(pixels)
    rgba = rgb.copy()
    rgba.putalpha(PillowImage.fromarray(pixels[:, :, 0].copy()))
    exif = PillowImage.Exif()
    exif[0x0112] = 6

    def save(image: PillowImage.Image, format: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    files = {
        "jpeg": save(rgb, "JPEG", exif=exif),
        "jpeg progressive": save(rgb, "JPEG", progressive=True),
        "jpeg restart": save(rgb, "JPEG", restart_marker_blocks=1, subsampling=0),
        "jpeg grey": save(rgb.convert("L"), "JPEG"),
        "jpeg cmyk": save(rgb.convert("CMYK"), "JPEG"),
        "png": save(rgb, "PNG", exif=exif),
        "png alpha": save(rgba, "PNG"),
        "png palette": save(rgb.quantize(16), "PNG", transparency=1),
        "png 1 bit": save(rgb.convert("1"), "PNG"),
        "webp": save(rgb, "WEBP", exif=exif),
        "webp lossless": save(rgb, "WEBP", lossless=True),
        "webp alpha": save(rgba, "WEBP"),
        "bmp 1": save(rgb.convert("1"), "BMP"),
        "bmp 8": save(rgb.quantize(16), "BMP"),
        "bmp 24": save(rgb, "BMP"),
        "bmp 32": save(rgba, "BMP"),
        "png 16": cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes(),
        "apng": save(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "webp animated": save(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
    }
    runs = b"".join(bytes([20, i, 20, i + 1, 0, 0]) for i in range(23)) + bytes([0, 2, 3, 0, 0, 1])
    head = struct.pack("<iiHHIIiiII", 40, 24, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = bytes(range(256)) * 4
    start = struct.pack("<IHHII", 54 + 1024 + len(runs), 0, 0, 54 + 1024, 40)
    files["bmp rle"] = b"BM" + start + head + palette + runs
    return files


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Damage a file in one to three of the ways in which files get damaged, or are forged."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        if rng.random() < 0.4:  # headers are short: hit them often
            at = min(at, rng.randrange(64))
        way = rng.randrange(8)
        if way == 0:
            for _ in range(rng.randint(1, 8)):
                if out:
                    out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        elif way == 1:
            del out[at:]
        elif way == 2:
            del out[at : at + rng.randint(1, 40)]
        elif way == 3:
            other = rng.choice(others)
            begin = rng.randrange(len(other))
            out[at : at + rng.randint(0, 60)] = other[begin : begin + rng.randint(1, 200)]
        elif way == 4:  # length and size fields
            size = rng.choice((1, 2, 4))
            value = rng.choice((0, 1, 2, 255, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1))
            order = rng.choice(("big", "little"))
            out[at : at + size] = (value % 256**size).to_bytes(size, order)
        elif way == 5:
            out[at:at] = out[at : at + rng.randint(1, 64)] * rng.randint(1, 50)
        elif way == 6:
            out[at:at] = rng.randbytes(rng.randint(1, 32))
        else:
            out[at:at] = bytes([rng.choice((0, 0xFF))]) * rng.randint(1, 3000)
    return bytes(out)


def mend_checksums(data: bytes) -> bytes:
    """Make the checksums of a PNG's chunks right, so that damage gets past them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def bombs() -> dict[str, bytes]:
    """Small files that ask for much time or memory; none may get as far as the decoder."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + crc

    side = 30_000
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    deflate = zlib.compressobj(9)
    pixels = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(48)) + deflate.flush()
    png = b"\x89PNG\r\n\x1a\n"
    small = seeds()
    jpeg = bytearray(small["jpeg progressive"])
    frame = jpeg.index(b"\xff\xc2")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    scan = small["jpeg progressive"].index(b"\xff\xda")
    one_scan = small["jpeg progressive"][scan:].split(b"\xff\xda")[1]
    many_scans = small["jpeg progressive"][:scan] + (b"\xff\xda" + one_scan) * 20_000 + b"\xff\xd9"
    webp = bytearray(small["webp lossless"])
    webp[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    bmp = bytearray(small["bmp rle"])
    bmp[18:26] = struct.pack("<ii", 30_000, -30_000)
    empty_chunks = chunk(b"teXt", b"") * 80_000
    return {
        "png": png + ihdr + chunk(b"IDAT", pixels) + chunk(b"IEND", b""),
        "png chunks": small["png"][:33] + empty_chunks + small["png"][33:],
        # OpenCV 4.12 to 5.0 allocate the length that a chunk claims, IEND's too.
        "png end": small["png"][:-12] + (2**31 - 1).to_bytes(4, "big") + small["png"][-8:],
        "jpeg": bytes(jpeg),
        "jpeg scans": many_scans,
        "jpeg padding": b"\xff\xd8" + b"\xff" * 900_000,
        "jpeg segments": b"\xff\xd8" + b"\xff\xfe\0\2" * 200_000 + small["jpeg"][2:],
        "jpeg zeros": b"\xff\xd8\xff\xfe\0\2" + bytes(900_000),
        "webp": bytes(webp),
        "webp chunks": small["webp"][:30] + b"abcd\0\0\0\0" * 100_000 + small["webp"][30:],
        "bmp": bytes(bmp),
        "exif": b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\x08\0\0\0\xff\xff"
        + bytes(65_517)
        + small["jpeg"][2:],
    }


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check(data: bytes) -> str:
    """Decode, and name what came of it; anything but a fit image or an ImageError escapes."""
    try:
        info = codecs.read_header(data)
    except ImageError:
        info = None
    try:
        image = codecs.decode(data, limits=LIMITS)
    except ImageError as error:
        return "refused by the decoder" if "unsupported kind" in error.what else "refused before"
    assert info is not None
    assert image.shape == (*info.size_hw, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert 0 < image.shape[0] * image.shape[1] <= LIMITS.max_pixels
    return "decoded"


def main(seed: int, count: int) -> None:
    """Decode `count` mutated files; print as JSON what came of them and what it took."""
    rng = random.Random(seed)
    files = seeds()
    names, contents = list(files), list(files.values())
    for name, data in files.items():
        assert check(data) == ("refused before" if name in ("apng", "webp animated") else "decoded")
    outcomes: Counter[str] = Counter()
    before, slowest_s = peak_mib(), 0.0
    for index in range(count):
        name = names[index % len(names)]
        data = mutate(files[name], contents, rng)
        if "png" in name and rng.random() < 0.8:
            data = mend_checksums(data)
        start = time.perf_counter()
        try:
            outcomes[f"{name.split()[0]}: {check(data)}"] += 1
        except BaseException:
            print(f"case {index}, from {name}: {data.hex()}", file=sys.stderr)
            raise
        slowest_s = max(slowest_s, time.perf_counter() - start)
    growth_mib = peak_mib() - before
    print(json.dumps({"outcomes": outcomes, "growth_mib": growth_mib, "slowest_s": slowest_s}))


def main_bombs() -> None:
    """Decode the bombs under the default limits; print as JSON what they took."""
    report = {}
    files = bombs()
    for name, data in files.items():
        before, start = peak_mib(), time.perf_counter()
        try:
            codecs.decode(data)
            outcome = "decoded"
        except ImageError as error:
            outcome = str(error)
        report[name] = {
            "bytes": len(data),
            "outcome": outcome,
            "growth_mib": peak_mib() - before,
            "seconds": time.perf_counter() - start,
        }
    print(json.dumps(report))


def child(*arguments: str) -> dict[str, dict[str, object]]:
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(edgecv.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_files_give_an_image_or_an_image_error(seed: int) -> None:
    report = child(str(seed), "10000")
    outcomes = report["outcomes"]
    # The mutations must reach every stage of every format, or the test shows nothing.
    for name in ("jpeg", "png", "webp", "bmp"):
        for outcome in ("decoded", "refused by the decoder", "refused before"):
            assert outcomes.get(f"{name}: {outcome}", 0) > 5, outcomes
    assert report["growth_mib"] < MAX_GROWTH_MIB
    assert report["slowest_s"] < SLOWEST_S


def test_bombs_are_refused_before_they_take_memory_or_time() -> None:
    report = child("bombs")
    for name, result in report.items():
        assert result["growth_mib"] < 40, (name, result)
        assert result["seconds"] < SLOWEST_S, (name, result)
    for name in ("png", "jpeg", "webp", "bmp"):
        assert "too large: expected at most 64000000 pixels" in report[name]["outcome"]
    assert report["png"]["bytes"] < 60_000
    assert "at most 100 scans" in report["jpeg scans"]["outcome"]
    for name in ("jpeg padding", "jpeg segments", "jpeg zeros"):
        assert "other segments or stray bytes" in report[name]["outcome"]
    for name in ("png chunks", "png end"):
        assert "truncated" in report[name]["outcome"]
    assert "kind of WebP" in report["webp chunks"]["outcome"]
    assert report["exif"]["outcome"] == "decoded"


if __name__ == "__main__":
    if sys.argv[1] == "bombs":
        main_bombs()
    else:
        main(int(sys.argv[1]), int(sys.argv[2]))
