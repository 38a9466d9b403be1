"""One model of an interleaved comparison: ``python -m edgecv.bench.turns``.

Each has a process of its own and reads lines of JSON from standard input. The first names the model
and the images; each of the others asks for one turn. Every line is answered with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import codecs
from edgecv.errors import EdgecvError
from edgecv.hints import Hints
from edgecv.loading import load
from edgecv.model import Model
from edgecv.types import Image

_STAGES = ("preprocess", "infer", "postprocess")
_FEWEST = 3


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
    }


def main() -> None:
    """Serve until standard input ends; an error of ours is reported as JSON and exit status 1."""
    try:
        request = json.loads(sys.stdin.readline())
        if request["affinity"]:
            # Before the engine makes its threads, which inherit it.
            os.sched_setaffinity(0, request["affinity"])
        images = [codecs.read(Path(image)) for image in request["images"]]
        hints = Hints(**request["hints"]) if request["hints"] else None
        with load(request["model"], hints=hints, trusted=True, **request["load"]) as model:
            run(model, images, request["warmup_s"])
            _say(precision=model.info.precision, threads=model.info.threads)
            for line in sys.stdin:
                _say(**run(model, images, json.loads(line)["turn_s"]))
    except EdgecvError as error:
        _say(error=error.message)
        sys.exit(1)


def _say(**facts: Any) -> None:
    print(json.dumps({"done": True, **facts}), flush=True)


if __name__ == "__main__":
    main()
