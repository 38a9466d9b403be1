"""The camera of a Raspberry Pi through picamera2: ``picamera``, or ``picamera:1`` for the second.

picamera2 belongs to the system's Python on Raspberry Pi OS; it is imported when the frames are
asked for. The time of a frame is the sensor's, on the machine's monotonic clock.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import Any

from edgecv.blocking import read_all
from edgecv.errors import DependencyMissingError, StreamError, UsageError
from edgecv.events import Listener
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = True
_ADDRESS = re.compile(r"picamera(?::(\d))?", re.ASCII)


class Options(SourceOptions, kw_only=True):
    """What the camera is asked for.

    Attributes:
        width: of the picture in pixels; the camera's image processor scales.
        height: of the picture in pixels.
        fps: pictures a second; None leaves it to the camera and the light.
        buffers: pictures that the driver works on at once.
        open_timeout_s: a camera that cannot be opened in so long is lost.
        read_timeout_s: a camera that gives no picture for so long is lost.
    """

    width: int = 1280
    height: int = 720
    fps: float | None = None
    buffers: int = 3
    open_timeout_s: float = 15.0
    read_timeout_s: float = 5.0


def recognise(address: Address) -> bool:
    """Tell whether it is ``picamera``, with or without a number."""
    return isinstance(address, str) and _ADDRESS.fullmatch(address) is not None


def open_source(address: Address, options: Options, listener: Listener) -> PicameraSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    del listener
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None:
        raise UsageError("", where="source", expected="picamera or picamera:1", got=repr(address))
    check_positive(
        "picamera",
        width=options.width,
        height=options.height,
        fps=options.fps,
        buffers=options.buffers,
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
    )
    return PicameraSource(int(found[1] or 0), options)


class PicameraSource:
    """A Raspberry Pi camera.

    Attributes:
        stream: name of the stream.
        live: True.
    """

    live = True

    def __init__(self, number: int, options: Options) -> None:
        self.stream = options.stream or f"picamera:{number}"
        self._number, self._options = number, options

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Start the camera and yield its frames; see `edgecv.types.Source.frames`.

        Raises:
            DependencyMissingError: picamera2 is not installed.
            StreamError: there is no such camera, it is taken, or it fails.
        """
        options = self._options
        reader = _Reader(self._number, options)
        name = f"edgecv {self.stream}"
        limits = {
            "open_limit_s": self._options.open_timeout_s,
            "limit_s": self._options.read_timeout_s,
        }
        with closing(read_all(reader, cancel, name, **limits)) as pictures:
            for index, (image, timestamp_s) in enumerate(pictures):
                yield Frame(
                    image, index, timestamp_s, self.stream, self.stream, arrival_s=monotonic()
                )


class _Reader:
    """Calls of picamera2, made on one thread."""

    def __init__(self, number: int, options: Options) -> None:
        self._number, self._options = number, options
        self._camera: Any = None

    def open(self) -> None:
        try:
            from picamera2 import Picamera2
        except ImportError:
            raise DependencyMissingError(
                "picamera2 is not installed",
                where=f"picamera:{self._number}",
                remedy="sudo apt install python3-picamera2, and make the virtual environment with "
                "--system-site-packages",
            ) from None
        options = self._options
        controls = {} if options.fps is None else {"FrameRate": options.fps}
        try:
            self._camera = Picamera2(self._number)
            # picamera2 names formats by the order in a 24-bit word: RGB888 is BGR in memory.
            main = {"size": (options.width, options.height), "format": "RGB888"}
            self._camera.configure(
                self._camera.create_video_configuration(
                    main=main, controls=controls, buffer_count=options.buffers
                )
            )
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            raise self._lost("cannot be opened", error) from None

    def read(self) -> tuple[Any, float]:
        try:
            request = self._camera.capture_request()
            try:
                image = request.make_array("main")
                stamp_ns = request.get_metadata().get("SensorTimestamp")
            finally:
                request.release()
        except (RuntimeError, OSError) as error:
            raise self._lost("was lost", error) from None
        return image, monotonic() if stamp_ns is None else stamp_ns / 1e9

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.stop()
            camera.close()

    def _lost(self, what: str, error: Exception) -> StreamError:
        return StreamError(
            f"the camera {what}",
            where=f"picamera:{self._number}",
            got=str(error),
            remedy="check the cable, and `rpicam-hello --list-cameras`",
        )
