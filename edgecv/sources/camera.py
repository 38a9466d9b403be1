"""V4L2 cameras through OpenCV: ``/dev/video0``, ``camera:0``, or just ``0``.

The driver's buffer is kept at one picture where it can be, so that a picture is never older than
one more. The time of a frame is the driver's, on the machine's monotonic clock, where it has one.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing

from edgecv.blocking import read_all
from edgecv.errors import StreamError, UsageError
from edgecv.events import Listener
from edgecv.raw_frames import RawFrame
from edgecv.source import Address, SourceOptions, check_positive
from edgecv.types import Frame

RECONNECTS = True
_ADDRESS = re.compile(r"(?:camera:)?(?:(\d{1,3})|(/dev/(?:video\d+|v4l/\S+)))", re.ASCII)


class Options(SourceOptions, kw_only=True):
    """What the camera is asked for; a camera that cannot do it chooses something near.

    Attributes:
        width: of the picture in pixels; None leaves it to the driver.
        height: of the picture in pixels.
        fps: pictures a second.
        fourcc: pixel format, such as ``MJPG`` (needed for high rates over USB 2) or ``YUYV``.
        buffers: pictures that the driver may hold back.
        open_timeout_s: a camera that cannot be opened in so long is lost.
        read_timeout_s: a camera that gives no picture for so long is lost.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str | None = None
    buffers: int = 1
    open_timeout_s: float = 15.0
    read_timeout_s: float = 5.0


def recognise(address: Address) -> bool:
    """Tell whether it is a number, or a video device."""
    return isinstance(address, str) and _ADDRESS.fullmatch(address) is not None


def open_source(address: Address, options: Options, listener: Listener) -> CameraSource:
    """Make the source; see `edgecv.source.Kind.open_source`."""
    del listener
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None:
        raise UsageError(
            "no camera",
            where="source",
            expected="/dev/video0, camera:0 or a number",
            got=repr(address),
        )
    check_positive(
        "camera",
        width=options.width,
        height=options.height,
        fps=options.fps,
        buffers=options.buffers,
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
    )
    if options.fourcc is not None and len(options.fourcc.encode()) != 4:
        raise UsageError(
            "", where="source camera: option fourcc", expected="four characters, such as MJPG",
            got=repr(options.fourcc),
        )  # fmt: skip
    return CameraSource(found[2] or f"/dev/video{int(found[1])}", options)


class CameraSource:
    """A V4L2 camera.

    Attributes:
        stream: name of the stream.
        live: True.
    """

    live = True

    def __init__(self, device: str, options: Options) -> None:
        self.stream = options.stream or device
        self._device, self._options = device, options

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        """Open the camera and yield its frames; see `edgecv.types.Source.frames`.

        Raises:
            StreamError: there is no such camera, it is taken, or it was unplugged.
        """
        # OpenCV says no more than that it did not work; the system knows why.
        try:
            os.close(os.open(self._device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            raise StreamError(
                "the camera cannot be opened",
                where=self._device,
                got=error.strerror,
                remedy="add the user to the group video"
                if isinstance(error, PermissionError)
                else "check the cable, and `ls /dev/video*`",
            ) from None
        import cv2

        from edgecv.opencv_reader import OpencvReader

        options = self._options
        fourcc = options.fourcc
        wanted = {
            # The pixel format first: which sizes and rates there are depends on it.
            cv2.CAP_PROP_FOURCC: None if fourcc is None else cv2.VideoWriter.fourcc(*fourcc),
            cv2.CAP_PROP_FRAME_WIDTH: options.width,
            cv2.CAP_PROP_FRAME_HEIGHT: options.height,
            cv2.CAP_PROP_FPS: options.fps,
            cv2.CAP_PROP_BUFFERSIZE: options.buffers,
        }
        settings = {key: float(value) for key, value in wanted.items() if value is not None}
        reader = OpencvReader(self._device, backend=cv2.CAP_V4L2, settings=settings, live=True)
        name = f"edgecv camera {self._device}"
        limits = {"open_limit_s": options.open_timeout_s, "limit_s": options.read_timeout_s}
        with closing(read_all(reader, cancel, name, **limits)) as pictures:
            for index, picture in enumerate(pictures):
                yield RawFrame.of(
                    picture.pixels,
                    index=index,
                    timestamp_s=picture.timestamp_s,
                    stream=self.stream,
                    source=self._device,
                    arrival_s=picture.arrival_s,
                )
