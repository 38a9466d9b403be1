"""Hours of frames in little time: memory does not grow, and nothing is left behind.

A camera gives 108,000 frames in an hour at 30 a second; the long test has as many, of tiny size.
Each runs in a fresh process: one that has run other tests has room in its heap, where a leak hides.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.plan import Plan
from edgecv.streaming import stream
from edgecv.throughput import predict_all
from tests.pipelines import ListSource, frame_of, mean_model, threads

HOUR = 108_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


class Discard:
    """A sink that keeps nothing."""

    def write(self, frame: object, result: object) -> None:
        pass

    def close(self) -> None:
        pass


def alone(run: Callable[..., Any], *given: object) -> Any:
    """Call a function in a fresh process and return what it returns."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *given).result()


def slope(samples: list[int]) -> float:
    """Growth in bytes a sample, the median over all pairs of samples (Theil and Sen)."""
    values = np.array(samples, float)
    i, j = np.triu_indices(len(values), 1)
    return float(np.median((values[j] - values[i]) / (j - i)))


def soak(folder: Path, frames: int, every: int) -> tuple[float, int, int]:
    """Run two streams and a sink.

    Returns:
        Bytes a frame by which memory grew, frames seen, and threads left.
    """
    samples = []
    seen = 0
    with mean_model(folder) as model:
        lanes = [ListSource(frames // 2, stream=name) for name in "ab"]
        for _ in stream(model, lanes, plan=Plan(2), sinks=[Discard()]):
            seen += 1
            if seen % every == 0:
                gc.collect()
                samples.append(resident_bytes())
    # What is set up at first (buffers, pools, caches of the allocator) is not growth.
    return slope(samples[len(samples) // 3 :]) / every, seen, len(threads())


def test_memory_stays_flat(tmp_path: Path) -> None:
    # A leak of one tiny frame a frame would be 1,152 bytes of pixels and some 500 of objects.
    grown, seen, left = alone(soak, tmp_path, 6000, 200)
    assert (seen, left) == (6000, 0)
    assert grown < 100


@pytest.mark.slow
def test_memory_stays_flat_over_the_frames_of_an_hour(tmp_path: Path) -> None:
    grown, seen, left = alone(soak, tmp_path, HOUR, 2000)
    assert (seen, left) == (HOUR, 0)
    assert grown < 10, "a MiB an hour at 30 frames a second"


def leak(folder: Path) -> float:
    """Keep every frame; return the bytes a frame by which memory grew."""
    kept = []
    samples = []
    with mean_model(folder) as model:
        for frame, _ in stream(model, ListSource(4000), plan=Plan(2)):
            kept.append(frame.image)
            if frame.index % 200 == 199:
                samples.append(resident_bytes())
    return slope(samples[len(samples) // 3 :]) / 200


def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    assert alone(leak, tmp_path) > 500


def many(folder: Path) -> float:
    """Run on many images; return the bytes an image by which memory grew."""
    samples = []
    with mean_model(folder) as model:
        images = (frame_of(i).image for i in range(6000))
        for count, _ in enumerate(predict_all(model, images, plan=Plan(2)), 1):
            if count % 200 == 0:
                samples.append(resident_bytes())
    return slope(samples[len(samples) // 3 :]) / 200


def test_many_images_take_no_memory(tmp_path: Path) -> None:
    assert alone(many, tmp_path) < 100
