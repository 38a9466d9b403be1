"""The asynchronous twin: same results, no blocked loop, and cancellation that cleans up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import edgecv
from edgecv.errors import ModelLoadError, StreamError
from edgecv.streaming_async import astream
from tests import models
from tests.pipelines import ListSink, ListSource, mean_model, settled, threads


def test_the_same_results_in_order(tmp_path: Path) -> None:
    sink = ListSink()

    async def run() -> list[int]:
        with mean_model(tmp_path) as model:
            found = edgecv.astream(model, ListSource(100), sinks=[sink])
            seen = [frame.index async for frame, _ in found]
            assert found.stats is not None
            assert found.stats.streams[0].frames_out == 100
            assert [item async for item in found] == []
        return seen

    assert asyncio.run(run()) == list(range(100))
    assert len(sink.items) == 100
    assert sink.closed == 1
    assert not threads()


def test_several_streams_in_one_loop(tmp_path: Path) -> None:
    async def count(model: Any, name: str) -> Counter[str]:
        seen: Counter[str] = Counter()
        async for frame, _ in astream(model, [ListSource(40, stream=f"{name}{i}") for i in "xy"]):
            seen[frame.stream] += 1
        return seen

    async def run() -> list[Counter[str]]:
        with mean_model(tmp_path) as model:
            return await asyncio.gather(*(count(model, name) for name in "abc"))

    assert asyncio.run(run()) == [Counter({f"{n}x": 40, f"{n}y": 40}) for n in "abc"]
    assert not threads()


def test_the_loop_is_not_blocked(tmp_path: Path) -> None:
    async def run() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        with mean_model(tmp_path, pause=lambda: 0.25) as model:
            ticking = asyncio.create_task(tick())
            async with astream(model, ListSource(4), sinks=[ListSink(pause=0.1)]) as found:
                async for _ in found:
                    pass
            ticking.cancel()
        return ticks

    assert asyncio.run(run()) > 20


@pytest.mark.parametrize("source", ["waits", "gives"])
def test_cancelling_the_task_stops_everything(tmp_path: Path, source: str) -> None:
    lane = ListSource(None) if source == "gives" else ListSource(1, hang=True)

    async def run() -> float:
        with mean_model(tmp_path) as model:

            async def consume() -> None:
                async for _ in astream(model, lane):
                    await asyncio.sleep(0)

            task = asyncio.create_task(consume())
            await asyncio.sleep(0.2)
            assert threads()
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - start

    assert asyncio.run(run()) < 1
    assert lane.closed == 1
    assert not settled()


def test_a_time_limit(tmp_path: Path) -> None:
    async def run() -> None:
        with mean_model(tmp_path) as model:
            async with astream(model, ListSource(0, hang=True)) as found:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(found), 0.1)

    asyncio.run(run())
    assert not settled()


def test_stopping_from_elsewhere(tmp_path: Path) -> None:
    async def run() -> None:
        with mean_model(tmp_path) as model:
            found = astream(model, ListSource(None))
            asyncio.get_running_loop().call_later(0.1, found.stop)
            async for _ in found:
                pass

    asyncio.run(run())
    assert not settled()


def test_breaking_out(tmp_path: Path) -> None:
    async def run() -> None:
        with mean_model(tmp_path) as model:
            async with astream(model, ListSource(None)) as found:
                async for _ in found:
                    break
            assert not threads()
            async for _ in astream(model, ListSource(None)):
                break
            assert not settled()

    asyncio.run(run())


def test_errors(tmp_path: Path) -> None:
    async def run() -> None:
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no")
        with pytest.raises(ModelLoadError):
            await anext(astream(broken, ListSource(1)))
        with mean_model(tmp_path) as model:
            found = astream(model, ListSource(5, error=StreamError("torn")))
            for _ in range(5):
                await anext(found)
            with pytest.raises(StreamError, match="torn"):
                await anext(found)

    asyncio.run(run())
    assert not settled()


def test_a_model_by_its_path_is_opened_and_closed(tmp_path: Path) -> None:
    said = models.as_properties(models.ultralytics())
    path = models.onnx_detector(tmp_path / "d.onnx", metadata=said)

    async def run() -> int:
        return len([1 async for _ in astream(path, ListSource(5))])

    assert asyncio.run(run()) == 5
    assert len(list(edgecv.stream(str(path), ListSource(5)))) == 5
