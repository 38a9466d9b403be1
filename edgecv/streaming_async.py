"""Streams for services: ``async for frame, result in edgecv.astream(model, source)``."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgecv.counters import PipelineStats
from edgecv.streaming import SourceLike, Stream, stream
from edgecv.types import Frame

if TYPE_CHECKING:
    from edgecv.model import Model
    from edgecv.result import Result


def astream(
    model: Model | str | os.PathLike[str],
    source: SourceLike | Sequence[SourceLike],
    **options: Any,
) -> AsyncStream:
    """Do the same as `stream` for ``async for``; the event loop is never blocked.

    Args:
        model: as in `stream`; a path is opened in a thread.
        source: as in `stream`.
        **options: as in `stream`.
    """
    return AsyncStream(lambda: stream(model, source, **options))


class AsyncStream:
    """An asynchronous iterator of (frame, result); made by `astream`.

    ``async with`` closes it. Cancelling the task that iterates does so, too.
    """

    def __init__(self, make: Callable[[], Stream]) -> None:
        self._make = make
        self._stream: Stream | None = None
        self._closed = False
        self._news = asyncio.Event()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> tuple[Frame, Result]:
        try:
            item = await self._next()
        except BaseException:
            await self.aclose()
            raise
        if item is None:
            await self.aclose()
            raise StopAsyncIteration
        return item

    async def _next(self) -> tuple[Frame, Result] | None:
        if self._closed:
            return None
        if self._stream is None:
            await self._open()
        assert self._stream is not None
        pipeline = self._stream._pipeline
        while True:
            self._news.clear()
            ended = pipeline.ended
            item = pipeline.get(wait=False)
            if item is not None or ended:
                return item
            await self._news.wait()

    async def _open(self) -> None:
        """Open model, sources and sinks in a thread; what a cancelled opening made is closed."""
        loop = asyncio.get_running_loop()
        # Not as the future's result: futures that were chained keep it until they are collected.
        box: list[Stream] = []
        opening = loop.run_in_executor(None, _fill, box, self._make)
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda _: _close_all(box))
            raise
        made = box.pop()
        news = weakref.ref(self._news)

        def tell() -> None:
            event = news()
            if event is not None:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(event.set)

        made._pipeline.on_ready = tell
        self._stream = made
        made._pipeline.start()

    @property
    def stats(self) -> PipelineStats | None:
        """As of `Stream`; None before the first result was asked for."""
        return None if self._stream is None else self._stream.stats

    def stop(self) -> None:
        """Tell the stream to end; the loop over it ends at once."""
        self._closed = True
        if self._stream is not None:
            self._stream.stop()

    async def aclose(self) -> None:
        """Stop all threads, and wait for them without blocking the loop; may be called twice."""
        self._closed = True
        if self._stream is not None:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(None, self._stream.close))

    def __del__(self) -> None:
        if not self._closed and self._stream is not None:
            # Dropped by the thread of the loop, which must not wait.
            threading.Thread(target=self._stream.close, name="edgecv-closer", daemon=True).start()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _fill(box: list[Stream], make: Callable[[], Stream]) -> None:
    box.append(make())


def _close_all(box: list[Stream]) -> None:
    for made in box:
        made.close()
