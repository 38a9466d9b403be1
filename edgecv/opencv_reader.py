"""Read pictures from video files and cameras with OpenCV. Not thread-safe."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import cv2

from edgecv.errors import StreamError
from edgecv.planes import Planes, as_planes
from edgecv.record import Record


class Picture(Record):
    """One picture.

    Attributes:
        pixels: BGR, upright.
        timestamp_s: on the clock of the file or the driver; that of its arrival where it has none.
        arrival_s: when it was there, by `time.monotonic`.
    """

    pixels: Planes
    timestamp_s: float
    arrival_s: float


class OpencvReader:
    """Open a video file or a camera with ``cv2.VideoCapture`` and read its pictures.

    Args:
        address: path of a file, or number or path of a camera.
        backend: OpenCV's number of the library that reads; `cv2.CAP_ANY` finds one.
        settings: OpenCV's number of a property -> value, set while it is opened.
        live: the end is a loss.
    """

    def __init__(
        self,
        address: str | int,
        *,
        backend: int = cv2.CAP_ANY,
        settings: Mapping[int, float] | None = None,
        live: bool = False,
    ) -> None:
        self.address = address
        self._backend, self._settings, self._live = backend, dict(settings or {}), live
        self._capture: Any = None
        self.decoded = 0

    def open(self) -> None:
        """Open it.

        Raises:
            StreamError: it cannot be opened.
        """
        self._capture = cv2.VideoCapture()
        try:
            opened = self._capture.open(self.address, self._backend)
        except cv2.error as error:
            raise StreamError("cannot be opened", where=str(self.address), got=error.err) from None
        if not opened:
            raise StreamError("cannot be opened", where=str(self.address))
        for key, value in self._settings.items():
            self._capture.set(key, value)

    @property
    def start_s(self) -> float:
        """Return 0: OpenCV counts a file's times from its first picture."""
        return 0.0

    def seek(self, timestamp_s: float) -> None:
        """Do nothing: OpenCV's seek is not exact in all files, so what lies before is read over."""

    def read(self) -> Picture | None:
        """Return the next picture, or None at the end of a file.

        Raises:
            StreamError: the camera is gone, or nothing in the file can be decoded.
        """
        try:
            good, image = self._capture.read()
        except cv2.error as error:
            raise StreamError("was lost", where=str(self.address), got=error.err) from None
        arrival_s = monotonic()
        if not good or image is None:
            if self._live:
                raise StreamError("gives no picture any more", where=str(self.address))
            if not self.decoded:
                raise StreamError("no picture in it can be decoded", where=str(self.address))
            return None
        at_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        self.decoded += 1
        time_s = at_ms / 1e3 if at_ms > 0 or not self._live else arrival_s
        format = "grey" if image.ndim == 2 else "bgr"
        return Picture(as_planes(image, format), time_s, arrival_s)

    def close(self) -> None:
        """Let go of the file or the camera; a second call does nothing."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()
