"""Video files: every frame, at its own time, the right way up."""

from __future__ import annotations

import builtins
import struct
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgecv import events
from edgecv.errors import DependencyMissingError, StreamError, UsageError
from edgecv.source import open_source
from tests.cameras import picture, which, write_video

READERS = ("pyav", "opencv")
# Milliseconds, of a rate that varies.
TIMES = [0, 40, 100, 130, 300, 333, 400, 500, 520, 540]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, 10, times=TIMES)
    return path


def frames(path: Path, **options):
    return list(open_source(path, **options).frames(threading.Event()))


@pytest.mark.parametrize("reader", READERS)
def test_every_frame_at_its_presentation_time(clip: Path, reader: str) -> None:
    got = frames(clip, reader=reader)
    assert [which(f.image) for f in got] == list(range(10))
    assert [f.index for f in got] == list(range(10))
    np.testing.assert_allclose([f.timestamp_s * 1000 for f in got], TIMES, atol=0.05)
    assert {f.stream for f in got} == {f.source for f in got} == {str(clip)}
    assert got[0].image.shape == (48, 64, 3)
    assert got[0].image.dtype == np.uint8


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"start_s": 0.13}, [3, 4, 5, 6, 7, 8, 9]),
        ({"start_s": 0.131}, [4, 5, 6, 7, 8, 9]),
        ({"stop_s": 0.3}, [0, 1, 2, 3]),
        ({"start_s": 0.333, "stop_s": 0.52}, [5, 6, 7]),
        ({"stride": 3}, [0, 3, 6, 9]),
        ({"start_s": 0.1, "stride": 4}, [2, 6]),
        ({"start_s": 9.0}, []),
    ],
)
def test_a_part_of_it(clip: Path, reader: str, options: dict, shown: list[int]) -> None:
    got = frames(clip, reader=reader, **options)
    assert [which(f.image) for f in got] == shown
    assert [f.index for f in got] == list(range(len(shown)))
    np.testing.assert_allclose([f.timestamp_s * 1000 for f in got], [TIMES[i] for i in shown])


def test_a_start_is_found_on_any_clock(tmp_path: Path) -> None:
    """A transport stream's clock begins at 1.4 s or so, and sums of floats are not exact."""
    path = tmp_path / "clip.ts"
    write_video(path, 10, times=TIMES, format="mpegts")
    for i, time_ms in enumerate(TIMES):
        assert which(frames(path, start_s=time_ms / 1000)[0].image) == i
        assert len(frames(path, stop_s=time_ms / 1000 or None)) == (i or 10)


@pytest.mark.parametrize(("suffix", "codec"), [("h264", "libx264"), ("mjpeg", "mjpeg")])
def test_a_bare_stream_without_times(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    write_video(path, 20, codec=codec, format=suffix)
    got = frames(path)
    assert [which(f.image) for f in got] == list(range(20))
    steps = np.diff([f.timestamp_s for f in got])
    np.testing.assert_allclose(steps, 0.04, atol=1e-6)
    assert [which(f.image) for f in frames(path, start_s=0.4, stop_s=0.6)] == [10, 11, 12, 13, 14]


class Packet:
    """Of what a container gives: pictures, or an error; marked as corrupt or not."""

    size = 1

    def __init__(self, *frames: SimpleNamespace, corrupt: bool = False) -> None:
        self.frames, self.is_corrupt = frames, corrupt

    def decode(self) -> tuple[SimpleNamespace, ...]:
        return self.frames


def test_what_container_and_decoder_mark_as_corrupt_is_skipped() -> None:
    from edgecv.pyav_reader import PyavReader

    def decoded(time: int, corrupt: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            is_corrupt=corrupt, pts=time, time_base=Fraction(1, 10), height=4, width=6
        )

    packets = [Packet(decoded(1)), Packet(decoded(2), corrupt=True)]
    packets += [Packet(decoded(3, True), decoded(4)), Packet()]
    told: list[str] = []
    reader = PyavReader("x", skipped=lambda count, reason: told.append(f"{count} {reason}"))
    reader._stream = SimpleNamespace(average_rate=10)
    reader._container = SimpleNamespace(
        demux=lambda stream: iter(packets), format=SimpleNamespace(name="x"), close=lambda: None
    )
    assert [reader.read().timestamp_s for _ in range(2)] == [0.1, 0.4]
    assert reader.read() is None
    assert told == [
        "1 a packet that the container marks as corrupt",
        "1 a picture with parts missing",
    ]
    reader.close()


def test_nothing_is_converted_before_somebody_looks(clip: Path) -> None:
    got = frames(clip)
    assert not any(f.converted for f in got)
    assert got[3].raw.shape == (48, 64, 3)
    assert got[3].raw.same(got[3].raw)
    assert not got[3].raw.same(got[4].raw)
    assert got[3].raw.resized((2, 2), 1) is None


def turned(path: Path, target: Path, matrix: tuple[int, ...]) -> Path:
    """Copy an MP4 with another display matrix in its track header (ISO/IEC 14496-12, tkhd)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of fields
    assert struct.unpack(">9i", data[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    a, b, c, d = (value * 65536 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with a bright corner at the top left."""
    import av

    path = tmp_path_factory.mktemp("video") / "corner.mp4"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("matrix", "shape", "bright"),
    [
        ((1, 0, 0, 1), (48, 64), (0, 0)),
        ((0, 1, -1, 0), (64, 48), (0, -1)),  # clockwise: the top left comes to the top right
        ((-1, 0, 0, -1), (48, 64), (-1, -1)),
        ((0, -1, 1, 0), (64, 48), (-1, 0)),
    ],
)
def test_a_phone_that_lay_on_its_side(corner, tmp_path, reader, matrix, shape, bright) -> None:
    got = frames(turned(corner, tmp_path / "turned.mp4", matrix), reader=reader)
    assert len(got) == 3
    for frame in got:
        assert frame.raw.shape[:2] == shape
        image = frame.image
        assert image.shape[:2] == shape
        assert image.flags.c_contiguous
        rows, columns = ((0, -1) if corner == 0 else (-1, 0) for corner in bright)
        assert image[bright[0], bright[1]].min() > 200
        assert image[rows[1], columns[1]].max() < 50


def test_corrupt_packets_are_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    write_video(path, 20, codec="mjpeg")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 20
    for number in (4, 11):
        end = data.index(b"\xff\xd9", starts[number])
        data[starts[number] : end] = b"\x11" * (end - starts[number])
    path.write_bytes(data)
    told: list[events.Event] = []
    source = open_source(path, listener=told.append)
    got = list(source.frames(threading.Event()))
    assert [which(f.image) for f in got] == [i for i in range(20) if i not in (4, 11)]
    assert source.skipped == 2
    assert [type(e) for e in told] == [events.Skipped] * 2
    np.testing.assert_allclose(got[4].timestamp_s, 5 / 25)  # the times of the others stay


def test_damage_in_the_middle_of_predicted_pictures(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    write_video(path, 25, format="mpegts")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 188 * 3] = bytes(188 * 3)
    path.write_bytes(data)
    source = open_source(path)
    got = list(source.frames(threading.Event()))
    assert 15 <= len(got) < 25
    times = [f.timestamp_s for f in got]
    assert times == sorted(set(times))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", [b"", b"no video at all" * 100, bytes(5000)])
def test_what_is_no_video(tmp_path: Path, reader: str, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(StreamError, match=r"bad\.mp4"):
        frames(path, reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_a_truncated_file_shows_what_is_there(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "cut.ts"
    write_video(path, 20, format="mpegts")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert 3 <= len(frames(path, reader=reader)) < 20


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(StreamError, match="holds no video"):
        frames(path)


def test_a_missing_file_and_bad_options(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="no such file"):
        frames(tmp_path / "a.mp4")
    for options in ({"stride": 0}, {"start_s": -1.0}, {"start_s": 2.0, "stop_s": 1.0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            open_source("a.mp4", **options)
    with pytest.raises(UsageError, match="auto, pyav or opencv"):
        open_source("a.mp4", reader="vlc")


def test_real_time_is_live_and_can_be_cancelled(clip: Path) -> None:
    source = open_source(clip, realtime=True)
    assert source.live
    assert not open_source(clip).live
    cancel = threading.Event()
    got = list(source.frames(cancel))
    assert len(got) == 10
    assert got[-1].arrival_s - got[0].arrival_s >= TIMES[-1] / 1000 - 0.05
    for frame in source.frames(cancel):
        cancel.set()
        assert frame.index == 0


def test_without_pyav_opencv_reads(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name == "av" or name.startswith("av."):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    got = frames(clip)
    assert len(got) == 10
    assert type(got[0].raw).__name__ == "Planes"
    with pytest.raises(DependencyMissingError, match=r"edgecv\[stream\]"):
        frames(clip, reader="pyav")


@pytest.mark.parametrize(
    ("matrix", "full", "yuv"),
    [
        ("bt709", False, (63, 102, 240)),  # red, as the colour bars of BT.709 have it
        ("bt470bg", False, (81, 90, 240)),  # and of BT.601
        ("bt470bg", True, (76, 85, 255)),
        ("unspecified", False, (81, 90, 240)),
    ],
)
def test_colours_are_those_of_the_matrix_that_a_stream_names(matrix, full, yuv) -> None:
    import av

    from edgecv.decoded_pixels import DecodedPixels

    frame = av.VideoFrame(16, 16, "yuv420p")
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace = {"bt709": 1, "bt470bg": 5, "unspecified": 2}[matrix]
    frame.color_range = 2 if full else 1
    image = DecodedPixels(frame).to_bgr()
    assert np.abs(image.astype(int) - (0, 0, 255)).max() <= 3


def test_the_readers_agree_on_the_pixels(clip: Path) -> None:
    for a, b in zip(*(frames(clip, reader=reader) for reader in READERS), strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 2
    assert np.abs(frames(clip)[7].image.astype(int) - picture(7)).mean() < 3
