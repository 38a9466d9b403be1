"""One process whose memory is looked at by phase: ``python -m edgecv.bench.memory_worker``.

Reads the request of a worker from standard input and writes one line of JSON. Sources: proc(5),
``/proc/PID/smaps_rollup``; pages of its own are Private_Clean + Private_Dirty.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from edgecv.errors import EdgecvError
from edgecv.hints import Hints
from edgecv.loading import load

_STEADY = 20
_ENGINES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai_edge_litert.interpreter",
}


def phase(root: Path = Path("/proc/self")) -> dict[str, int | None]:
    """Return rss, pss and uss of this process, bytes; None where the kernel does not tell."""
    sizes: dict[str, int] = {}
    try:
        for line in (root / "smaps_rollup").read_text().splitlines()[1:]:
            key, _, rest = line.partition(":")
            words = rest.split()
            if words[1:] == ["kB"]:
                sizes[key] = int(words[0]) * 1024
    except (OSError, ValueError):
        pass
    own = [sizes.get(key) for key in ("Private_Clean", "Private_Dirty")]
    known = [size for size in own if size is not None]
    rss = sizes.get("Rss")
    if rss is None:
        rss = _status_rss(root)
    return {
        "rss": rss,
        "pss": sizes.get("Pss"),
        "uss": sum(known) if len(known) == 2 else None,
    }


def _status_rss(root: Path) -> int | None:
    try:
        for line in (root / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Go through the phases of a request, the first of which imports libraries and engine."""
    for name in ("edgecv.model", _ENGINES.get(request["backend"], "numpy")):
        importlib.import_module(name)
    phases = {"import": phase()}
    hints = Hints(**request["hints"]) if request.get("hints") else None
    images = [Path(image) for image in request["images"]]
    with load(request["model"], hints=hints, trusted=True, **request["load"]) as model:
        phases["load"] = phase()
        model(images[0])
        phases["first"] = phase()
        for i in range(_STEADY):
            model(images[i % len(images)])
        phases["steady"] = phase()
        return {"phases": phases, "model_file": model.info.model_bytes}


def main() -> None:
    """Serve one request; an error of ours is reported as JSON and exit status 1."""
    try:
        print(json.dumps(run(json.load(sys.stdin))), flush=True)
    except EdgecvError as error:
        print(json.dumps({"error": error.message, "remedy": error.remedy}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
