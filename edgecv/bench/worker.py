"""One process of a cell: ``python -m edgecv.bench.worker``.

Reads a request as JSON from standard input and writes JSON lines: after the first result, and at
the end. Nothing is imported before the first result that a plain program would not import.
"""

from __future__ import annotations

import json
import os
import sys
import time

_BEGAN_S = time.monotonic()

from pathlib import Path  # noqa: E402  # timed from the first import on
from typing import Any  # noqa: E402

from edgecv.errors import EdgecvError  # noqa: E402
from edgecv.hints import Hints  # noqa: E402
from edgecv.host import status_bytes  # noqa: E402
from edgecv.loading import load  # noqa: E402

_IMPORTED_S = time.monotonic()


def run(request: dict[str, Any]) -> None:
    """Measure one configuration and print what came out."""
    if request.get("affinity"):
        # Before the engine makes its threads, which inherit it.
        os.sched_setaffinity(0, request["affinity"])
    hints = Hints(**request["hints"]) if request.get("hints") else None
    images = [Path(image) for image in request["images"]]
    with load(request["model"], hints=hints, trusted=True, **request["load"]) as model:
        loaded_s = time.monotonic()
        first = model(images[0])
        _say(
            began_s=_BEGAN_S,
            imported_s=_IMPORTED_S,
            loaded_s=loaded_s,
            first_result_s=time.monotonic(),
            first_ms=first.timings_ms.total,
            info=model.info.to_json(),
            rss_bytes=status_bytes("VmRSS"),
            peak_rss_bytes=status_bytes("VmHWM"),
            cpu_s=time.process_time(),
        )
        if request.get("scenario", "cold") == "cold":
            return
        _steady(model, [image.read_bytes() for image in images], request)


def _steady(model: Any, images: list[bytes], request: dict[str, Any]) -> None:
    # Reading a file from the page cache is not the model's latency; decoding it is.
    from edgecv import plugins
    from edgecv.bench.scenario import Setup
    from edgecv.plan import Plan

    totals: list[float] = []
    deadline = time.monotonic() + request["warmup_s"]
    while time.monotonic() < deadline or len(totals) < 3:
        totals.append(model(images[len(totals) % len(images)]).timings_ms.total)
    recent = sorted(totals[-50:])
    scenario = plugins.load("bench.scenarios", request["scenario"])
    setup = Setup(
        model=model,
        images=images,
        duration_s=request["duration_s"],
        streams=request["streams"],
        rate_hz=request["rate_hz"],
        seed=request["seed"],
        typical_ms=recent[len(recent) // 2],
        plan=Plan(**request["plan"]) if request.get("plan") else None,
    )
    _say(**scenario.run(setup).to_dict(), peak_rss_bytes=status_bytes("VmHWM"))


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    """Serve one request; an error of ours is reported as JSON and exit status 1."""
    try:
        run(json.load(sys.stdin))
    except EdgecvError as error:
        _say(error=error.message, remedy=error.remedy)
        sys.exit(1)


if __name__ == "__main__":
    main()
