"""One cell of a benchmark, in a process of its own: ``python -m edgecv.bench.worker``.

Reads a request as JSON from standard input and writes two JSON lines: after the first result, and
at the end. Nothing is imported before the first result that a plain program would not import.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from edgecv.errors import EdgecvError
from edgecv.hints import Hints
from edgecv.loading import load

_STAGES = ("decode", "preprocess", "infer", "postprocess", "total")


def run(request: dict[str, Any]) -> None:
    """Measure one configuration and print what came out."""
    hints = Hints(**request["hints"]) if request.get("hints") else None
    images = [Path(image) for image in request["images"]]
    with load(request["model"], hints=hints, trusted=True, **request["load"]) as model:
        first = model(images[0])
        _say(
            first_result_s=time.monotonic(),
            first_ms=first.timings_ms.total,
            info=model.info.to_json(),
            rss_bytes=_status_bytes("VmRSS"),
        )
        if request["duration_s"] <= 0:
            return
        encoded = [image.read_bytes() for image in images]
        # Reading a file from the page cache is not the model's latency; decoding it is.
        deadline = time.monotonic() + request["warmup_s"]
        count = 0
        while time.monotonic() < deadline or count < 3:
            model(encoded[count % len(encoded)])
            count += 1
        samples: dict[str, list[float]] = {stage: [] for stage in _STAGES}
        start = time.monotonic()
        busy_start = time.process_time()
        count = 0
        while time.monotonic() - start < request["duration_s"] or count < 10:
            timings = model(encoded[count % len(encoded)]).timings_ms
            for stage in _STAGES:
                samples[stage].append(getattr(timings, stage))
            count += 1
        _say(
            samples_ms=samples,
            elapsed_s=time.monotonic() - start,
            cpu_s=time.process_time() - busy_start,
            peak_rss_bytes=_status_bytes("VmHWM"),
        )


def _status_bytes(field: str) -> int | None:
    """Read a size of this process; VmHWM is the peak since exec, unlike getrusage's."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


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
