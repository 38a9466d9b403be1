"""Annotated video: the frames of a stream with their results drawn on them."""

from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import cv2

from edgecv import codecs
from edgecv.drawing import draw
from edgecv.errors import SinkError
from edgecv.record import Record
from edgecv.schema import Rule
from edgecv.types import Frame, Image

_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov")
_CLOCK = 90_000  # ticks a second, as MPEG's
_DEFAULT_FPS = 25.0
_KEYFRAME_S = 2


class Options(Record, kw_only=True):
    """How the file is written.

    Attributes:
        draw: draw the results; without it the frames are written as they came.
        codec: FFmpeg's name of the encoder; empty takes H.264 where this build has it, else MPEG-4.
        fps: of the file, where only OpenCV is installed: it cannot write time stamps, and
            every frame lasts equally long. 0 means 25. With PyAV (`edgecv[stream]`) each frame has
            its own time stamp, and this is only a hint to the encoder.
    """

    draw: bool = True
    codec: str = ""
    fps: Annotated[float, Rule(ge=0, le=1000)] = 0.0


def recognise(target: str) -> bool:
    """Tell by the suffix."""
    return "://" not in target and target.lower().endswith(_SUFFIXES)


class Video:
    """Write one file for each stream, and a new one wherever a new epoch or image size begins.

    The first stream gets the name asked for, others have their own appended. A file that exists is
    never written over: the next free number is appended.
    """

    def __init__(self, target: str, options: Options) -> None:
        self._path, self._options = Path(target), options
        self._where = f"sink {target}"
        if not self._path.parent.is_dir():
            raise SinkError("no such folder", where=self._where, got=str(self._path.parent))
        _check_codec(options.codec, self._where)
        self._writers: dict[str, tuple[tuple[int, int, int], Any]] = {}
        self._stems: dict[str, str] = {}
        self._closed = False

    def write(self, frame: Frame, result: Any) -> None:
        """Write one frame.

        Raises:
            SinkError: the file cannot be written, or the encoder refuses.
        """
        if self._closed:
            raise SinkError("closed", where=self._where)
        image = codecs.as_image(frame.image)
        kind = (frame.epoch, image.shape[0], image.shape[1])
        known = self._writers.get(frame.stream)
        if known is not None and known[0] != kind:
            del self._writers[frame.stream]
            known[1].close()
            known = None
        if self._options.draw:
            image = draw(image, result)
        image = _even(image)
        if known is None:
            known = kind, self._open(frame.stream, image)
            self._writers[frame.stream] = known
        known[1].write(image, frame.timestamp_s)

    def _open(self, stream: str, image: Image) -> Any:
        path = self._free_path(stream)
        try:
            import av
        except ImportError:
            return _OpenCvWriter(path, image, self._options, self._where)
        del av
        return _AvWriter(path, image, self._options, self._where)

    def _free_path(self, stream: str) -> Path:
        if stream not in self._stems:
            name = "".join(c if c.isalnum() or c in "-_." else "_" for c in stream)
            self._stems[stream] = self._path.stem + (f"-{name or 'stream'}" if self._stems else "")
        stem = self._stems[stream]
        names = (f"{stem}{'' if n == 1 else f'-{n}'}{self._path.suffix}" for n in count(1))
        return next(p for p in map(self._path.with_name, names) if not p.exists())

    def close(self) -> None:
        """Finish the files."""
        self._closed = True
        writers, self._writers = self._writers, {}
        for _, writer in writers.values():
            writer.close()


def open_sink(target: str, options: Options) -> Video:
    """Prepare; a file is made when the first frame comes."""
    return Video(target, options)


def _check_codec(codec: str, where: str) -> None:
    """Refuse an encoder that FFmpeg, if it is there, does not have for pictures.

    Raises:
        SinkError: it has none of this name.
    """
    if not codec:
        return
    try:
        import av
    except ImportError:
        return
    try:
        if av.Codec(codec, "w").type == "video":
            return
    except (ValueError, av.FFmpegError):
        pass
    raise SinkError(
        "FFmpeg has no video encoder of this name here",
        where=where,
        got=codec,
        remedy="leave codec= out, or name another one, such as mpeg4",
    )


def _even(image: Image) -> Image:
    """Repeat the last column or row of an odd image: colour is stored for pairs of pixels."""
    height, width = image.shape[:2]
    if not (height % 2 or width % 2):
        return image
    padded: Image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return padded


class _AvWriter:
    """Writes through PyAV, with the frames' own time stamps."""

    def __init__(self, path: Path, image: Image, options: Options, where: str) -> None:
        import av

        self._av, self._where, self._last = av, where, -1
        self._start: float | None = None
        codec = options.codec or ("libx264" if "libx264" in av.codecs_available else "mpeg4")
        # In fragments: what was written before a power cut can be played.
        fragments = {"movflags": "frag_keyframe+empty_moov"}
        try:
            self._container: Any = av.open(
                str(path), "w", options=fragments if path.suffix in (".mp4", ".mov") else {}
            )
        except (OSError, ValueError) as error:
            raise self._failed(error) from None
        try:
            rate = Fraction(options.fps or _DEFAULT_FPS).limit_denominator(1001)
            stream = self._container.add_stream(codec, rate=rate)
            stream.height, stream.width = image.shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, _CLOCK if codec != "mpeg4" else 60_000)
            stream.codec_context.gop_size = max(1, round(float(rate) * _KEYFRAME_S))
            if codec == "libx264":
                stream.options = {"preset": "veryfast", "tune": "zerolatency"}
        except (ValueError, self._av.FFmpegError) as error:
            self._container.close()
            path.unlink(missing_ok=True)
            raise self._failed(error) from None
        self._stream = stream

    def write(self, image: Image, timestamp_s: float) -> None:
        """Encode one frame at its time; time that does not go on moves by one tick."""
        if self._start is None:
            self._start = timestamp_s
        frame = self._av.VideoFrame.from_ndarray(image, format="bgr24")
        base = self._stream.codec_context.time_base
        tick = max(self._last + 1, round((timestamp_s - self._start) / base))
        frame.pts, frame.time_base, self._last = tick, base, tick
        try:
            self._container.mux(self._stream.encode(frame))
        except (OSError, ValueError) as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Write what the encoder still holds, and end the file."""
        try:
            self._container.mux(self._stream.encode(None))
        except (OSError, ValueError) as error:
            raise self._failed(error) from None
        finally:
            self._container.close()

    def _failed(self, error: Exception) -> SinkError:
        reason = getattr(error, "strerror", None) or str(error)
        return SinkError(f"the video cannot be written: {reason}", where=self._where)


class _OpenCvWriter:
    """Writes through OpenCV, at a fixed rate."""

    def __init__(self, path: Path, image: Image, options: Options, where: str) -> None:
        self._where, self._path = where, path
        code = options.codec or ("MJPG" if path.suffix.lower() == ".avi" else "mp4v")
        if len(code) != 4:
            raise SinkError(
                "OpenCV names encoders by four characters",
                where=where,
                got=repr(code),
                remedy="pip install 'edgecv[stream]' for FFmpeg's encoders",
            )
        size = (image.shape[1], image.shape[0])
        fourcc = cv2.VideoWriter.fourcc(*code)
        self._writer = cv2.VideoWriter(str(path), fourcc, options.fps or _DEFAULT_FPS, size)
        if not self._writer.isOpened():
            raise SinkError(f"the video cannot be written with {code}", where=where)

    def write(self, image: Image, timestamp_s: float) -> None:
        """Encode one frame; its time is its place."""
        del timestamp_s
        self._writer.write(image)

    def close(self) -> None:
        """End the file."""
        self._writer.release()
