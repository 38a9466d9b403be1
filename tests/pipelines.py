"""Sources, sinks and models of tests of the pipeline; they count, wait and fail as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import edgecv
from edgecv.errors import SinkError, StreamError
from edgecv.model import Model
from edgecv.types import Frame
from tests import models


def frame_of(index: int, stream: str = "a", epoch: int = 0) -> Frame:
    """Make a tiny frame whose pixels are its index."""
    image = np.full((16, 24, 3), index % 256, np.uint8)
    return Frame(image, index, index / 30, stream, epoch=epoch, arrival_s=time.monotonic())


class ListSource:
    """Gives so many frames, with a pause before each; then ends, fails or hangs.

    Attributes:
        opened: times that `frames` was iterated.
        closed: times that an iteration ended, in whatever way.
        given: frames that were taken.
    """

    def __init__(
        self,
        count: int | None = 10,
        *,
        stream: str = "a",
        live: bool = False,
        pause: Callable[[int], float] = lambda _: 0.0,
        epoch: Callable[[int], int] = lambda _: 0,
        error: Exception | None = None,
        hang: bool = False,
    ) -> None:
        self.stream, self.live = stream, live
        self.count, self.pause, self.epoch, self.error, self.hang = count, pause, epoch, error, hang
        self.opened = self.closed = self.given = 0

    def frames(self, cancel: threading.Event) -> Iterator[Frame]:
        self.opened += 1
        try:
            index = 0
            while self.count is None or index < self.count:
                pause = self.pause(index)
                if cancel.wait(pause) if pause else cancel.is_set():
                    return
                self.given += 1
                yield frame_of(index, self.stream, self.epoch(index))
                index += 1
            if self.error is not None:
                raise self.error
            if self.hang:
                cancel.wait()
        finally:
            self.closed += 1


class ListSink:
    """Keeps what is written; waits and fails as told."""

    def __init__(
        self,
        *,
        pause: float = 0.0,
        fail: Callable[[int], bool] = lambda _: False,
        block: threading.Event | None = None,
        close_error: Exception | None = None,
    ) -> None:
        self.pause, self.fail, self.block, self.close_error = pause, fail, block, close_error
        self.items: list[tuple[Frame, Any]] = []
        self.calls = self.closed = 0

    def write(self, frame: Frame, result: Any) -> None:
        self.calls += 1
        if self.block is not None:
            self.block.wait()
        time.sleep(self.pause)
        if self.fail(self.calls):
            raise SinkError("no", where="sink test")
        self.items.append((frame, result))

    def close(self) -> None:
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


class Slow:
    """Wraps a model's session: waits before each run, and fails at one of them."""

    def __init__(
        self,
        session: Any,
        pause: Callable[[], float] = lambda: 0.0,
        fail_at: int | None = None,
        error: Exception | None = None,
        block: threading.Event | None = None,
    ) -> None:
        self.inner, self.pause, self.fail_at, self.error = session, pause, fail_at, error
        self.block = block
        self.runs = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, inputs: Any) -> Any:
        with self._lock:
            self.runs += 1
            number = self.runs
        if self.block is not None:
            self.block.wait()
        time.sleep(self.pause())
        if number == self.fail_at:
            raise self.error or StreamError("at last")
        return self.inner.run(inputs)


def mean_model(folder: Path, *, batch: int | None = 1, **slow: Any) -> Model:
    """Open a classifier that says the mean of the input, so that a result tells its frame."""
    path = models.null_model(
        folder / "mean.null.json",
        [models.tensor("y", [batch, 2], values="mean")],
        inputs=[models.tensor("x", [batch, 3, 8, 8])],
    )
    model = edgecv.load(
        path,
        trusted=True,
        hints=edgecv.Hints(
            head="softmax", mean=(0.0,), std=(255.0,), head_options={"logits": False}
        ),
    )
    if slow:
        model._session = Slow(model._session, **slow)
    return model


def threads() -> set[str]:
    """Names of the threads of pipelines that run."""
    return {t.name for t in threading.enumerate() if t.name.startswith("edgecv-")}


def settled(seconds: float = 5.0) -> set[str]:
    """Wait until no thread of a pipeline runs; return those that still do."""
    deadline = time.monotonic() + seconds
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    return threads()
