"""Stand-ins for the libraries that read cameras: there is none where the tests run."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import cv2
import numpy as np
import pytest


class Capture:
    """Of ``cv2.VideoCapture``: `script` says what each read gives; an event is waited for."""

    script: ClassVar[list] = []
    made: ClassVar[list[Capture]] = []
    opens: ClassVar[bool] = True

    def __init__(self) -> None:
        self.settings: dict[int, float] = {}
        self.released = False
        self.at_ms = 0.0
        Capture.made.append(self)

    def open(self, device: str, backend: int) -> bool:
        self.device, self.backend = device, backend
        return Capture.opens

    def set(self, key: int, value: float) -> bool:
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        return self.at_ms if key == cv2.CAP_PROP_POS_MSEC else 0.0

    def read(self):
        step = Capture.script.pop(0) if Capture.script else None
        if isinstance(step, threading.Event):
            step.wait()
            step = None
        if step is None:
            return False, None
        self.at_ms = step * 100.0
        return True, np.full((4, 6, 3), step, np.uint8)

    def release(self) -> None:
        self.released = True


class Picamera2:
    """Of picamera2's class: three pictures, then it fails."""

    made: ClassVar[list[Picamera2]] = []

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.calls: list[str] = []
        self.left = 3
        Picamera2.made.append(self)

    def create_video_configuration(self, **facts):
        self.facts = facts
        return facts

    def configure(self, configuration) -> None:
        self.calls.append("configure")

    def start(self) -> None:
        self.calls.append("start")

    def capture_request(self):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the camera has gone")
        return self

    def make_array(self, name: str) -> np.ndarray:
        width, height = self.facts[name]["size"]
        return np.full((height, width, 3), self.left, np.uint8)

    def get_metadata(self) -> dict[str, int]:
        return {"SensorTimestamp": 5_000_000_000 - self.left * 1_000_000_000}

    def release(self) -> None:
        self.calls.append("release")

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


def install_capture(monkeypatch: pytest.MonkeyPatch, folder: Path) -> type[Capture]:
    """Let ``/dev/video0`` exist, and OpenCV open it."""
    Capture.script, Capture.made, Capture.opens = [], [], True
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    device = folder / "video0"
    device.touch()
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest: real(device if path == "/dev/video0" else path, *rest)
    )
    return Capture


def install_picamera2(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    """Let ``import picamera2`` find the stand-in."""
    Picamera2.made = []
    module = ModuleType("picamera2")
    module.Picamera2 = Picamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return Picamera2
