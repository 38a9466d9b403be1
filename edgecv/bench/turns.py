"""One model of an interleaved comparison: ``python -m edgecv.bench.turns``.

Each has a process of its own and reads lines of JSON from standard input. The first names the model
and the images; each of the others asks for one turn. Every line is answered with one line of JSON.

Of the images it keeps the first ones, until they take `MOST_BYTES` of memory: of pixels, or encoded
where it runs a plan; at least one and at most `MOST_IMAGES`. So a folder of large images neither
fills a small machine nor counts as the memory of a model.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgecv import codecs
from edgecv.errors import EdgecvError
from edgecv.hints import Hints
from edgecv.host import status_bytes
from edgecv.loading import load
from edgecv.model import Model
from edgecv.plan import Plan
from edgecv.types import Image

_STAGES = ("preprocess", "infer", "postprocess")
_FEWEST = 3
_Kept = TypeVar("_Kept", Image, bytes)
MOST_BYTES = 64 * 2**20
MOST_IMAGES = 32


def some(paths: Sequence[Path], read: Callable[[Path], _Kept]) -> list[_Kept]:
    """Read the first images, as many as are kept; see this module."""
    found: list[_Kept] = []
    held = 0
    for path in paths[:MOST_IMAGES]:
        one = read(path)
        found.append(one)
        held += len(one) if isinstance(one, bytes) else one.nbytes
        if held >= MOST_BYTES:
            break
    return found


def run(model: Model, images: list[Image], seconds: float) -> dict[str, Any]:
    """Run the images in turn for so long, at least three of them.

    Returns:
        ``total_ms`` of each image from pixels to result, and the median of each of ``stages_ms``.
    """
    total: list[float] = []
    stages: dict[str, list[float]] = {stage: [] for stage in _STAGES}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(total) < _FEWEST:
        timings = model(images[len(total) % len(images)]).timings_ms
        total.append(timings.total)
        for stage in _STAGES:
            stages[stage].append(getattr(timings, stage))
    return {
        "total_ms": total,
        "stages_ms": {stage: float(np.median(samples)) for stage, samples in stages.items()},
        "images": len(total),
    }


def run_many(model: Model, images: list[bytes], seconds: float, plan: Plan) -> dict[str, Any]:
    """Run encoded images through `edgecv.predict_all` for so long, and at least twice its workers.

    The clock runs from when every worker has had its first images to a result before the last one,
    so that neither the start nor the end, where some of the workers idle, counts.

    Returns:
        ``total_ms``: one value, wall time / images; the mean of each of ``stages_ms``; and how many
        ``images`` were counted.
    """
    from edgecv.throughput import predict_all

    def endless() -> Iterator[bytes]:
        while True:
            yield from images

    first = plan.workers * plan.batch
    seen, start, now = 0, 0.0, 0.0
    with predict_all(model, endless(), plan=plan) as results:
        for _ in results:
            seen, now = seen + 1, time.perf_counter()
            if seen == first:
                start = now
            if seen >= first + max(_FEWEST, 2 * first) and now - start >= seconds:
                break
        spent = results.stats.stage_ms
    # Closing waits for a second only; an image that takes longer must not run into others' turns.
    for thread in threading.enumerate():
        if thread.name.startswith("edgecv-worker-"):
            thread.join()
    return {
        "total_ms": [(now - start) * 1e3 / (seen - first)],
        "stages_ms": {stage: spent[stage] for stage in _STAGES},
        "images": seen - first,
    }


def main() -> None:
    """Serve until standard input ends; an error of ours is reported as JSON and exit status 1."""
    try:
        request = json.loads(sys.stdin.readline())
        if request["affinity"]:
            # Before the engine makes its threads, which inherit it.
            os.sched_setaffinity(0, request["affinity"])
        paths = [Path(image) for image in request["images"]]
        plan = Plan(**request["plan"]) if request["plan"] else None
        hints = Hints(**request["hints"]) if request["hints"] else None
        encoded = some(paths, Path.read_bytes) if plan else []
        pixels = [] if plan else some(paths, codecs.read)

        def turn(seconds: float) -> dict[str, Any]:
            if plan is None:
                return run(model, pixels, seconds)
            return run_many(model, encoded, seconds, plan)

        with load(request["model"], hints=hints, trusted=True, **request["load"]) as model:
            turn(request["warmup_s"])
            _say(precision=model.info.precision, threads=model.info.threads)
            for line in sys.stdin:
                said = turn(json.loads(line)["turn_s"])
                _say(**said, peak_rss_bytes=status_bytes("VmHWM"))
    except EdgecvError as error:
        _say(error=error.message)
        sys.exit(1)
    except (MemoryError, OSError) as error:
        _say(error=str(error) or "there is not enough memory")
        sys.exit(1)


def _say(**facts: Any) -> None:
    print(json.dumps({"done": True, **facts}), flush=True)


if __name__ == "__main__":
    main()
