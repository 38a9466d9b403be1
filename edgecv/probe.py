"""Open a foreign model file in a child process first: engines do crash on broken or hostile files.

The child limits its own CPU time, memory and core dumps before it imports an engine, opens the
model, runs it once on zeros and closes it. Only if it comes through is the file opened here.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from edgecv.errors import EdgecvError, ModelLoadError
from edgecv.types import ModelSource, SessionOptions

TIMEOUT_S = 120.0
MEMORY_BYTES = 16 * 2**30
_MAX_INPUT_BYTES = 2**30


def probe(
    path: Path,
    backend: str,
    *,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
) -> None:
    """Open a model file in a child process and run it once.

    Args:
        path: the model file; its companions are found as its backend does.
        backend: a plug-in in ``backends/``.
        timeout_s: wall time after which the child is ended.
        memory_bytes: address space of the child; engines reserve far more than they use.

    Raises:
        ModelLoadError: the engine refused the file, died on it, or took too long.
        EdgecvError: what the child raised on purpose, such as a missing engine.
    """
    request = {
        "path": str(path.resolve()),
        "backend": backend,
        "cpu_s": int(timeout_s) + 1,
        "memory_bytes": memory_bytes,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgecv.probe"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelLoadError(
            f"{backend} did not come to an end with this file within {timeout_s:g} s",
            where=str(path),
        ) from None
    except OSError as error:
        raise ModelLoadError(
            f"no child process could be started to try the file in: {error}",
            where=str(path),
            remedy="open it with trusted=True (--trusted) if you know where it comes from",
        ) from None
    said = _last_json(done.stdout)
    if said.get("ok"):
        return
    if "error" in said:
        kind = _error_class(str(said["error"]))
        facts = {k: said[k] for k in ("where", "expected", "got", "remedy") if said.get(k)}
        raise kind(str(said.get("what", "")), **{k: str(v) for k, v in facts.items()})
    raise ModelLoadError(
        f"{backend} {_death(done.returncode)} on this file, in a child process",
        where=str(path),
        remedy="the file is broken or hostile; get it again, or export it anew",
    )


def _last_json(text: str) -> dict[str, str | bool | None]:
    for line in reversed(text.splitlines()):
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                return said
    return {}


def _error_class(name: str) -> type[EdgecvError]:
    pending: list[type[EdgecvError]] = [EdgecvError]
    while pending:
        cls = pending.pop()
        if cls.__name__ == name and cls.__init__ is EdgecvError.__init__:
            return cls
        pending += cls.__subclasses__()
    return ModelLoadError


def _death(status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return f"crashed ({signal.Signals(-status).name})"
    return f"ended with status {status}"


def _limit(request: dict[str, int]) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        # CPU time counts every thread.
        resource.RLIMIT_CPU: request["cpu_s"] * 4,
        resource.RLIMIT_AS: request["memory_bytes"],
    }
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        capped = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (capped, hard))


def _try(path: Path, backend: str) -> None:
    import numpy as np

    from edgecv import plugins

    module = plugins.load("backends", backend)
    source = ModelSource.from_paths(path, *module.companions(path))
    session = module.open_session(source, SessionOptions(threads=1))
    # A free batch axis is tried with 1; what else is free cannot be filled without knowing more.
    shapes = [(spec.shape[0] or 1, *spec.shape[1:]) for spec in session.inputs]
    sizes = [
        np.dtype(spec.dtype).itemsize * int(np.prod([n or 0 for n in shape]))
        for spec, shape in zip(session.inputs, shapes, strict=True)
    ]
    if all(None not in shape for shape in shapes) and sum(sizes) <= _MAX_INPUT_BYTES:
        session.run(
            {
                spec.name: np.zeros(shape, spec.dtype)
                for spec, shape in zip(session.inputs, shapes, strict=True)
            }
        )
    session.close()


def main() -> None:
    """Serve one request in the child process."""
    request = json.load(sys.stdin)
    _limit(request)
    try:
        _try(Path(request["path"]), request["backend"])
    except EdgecvError as error:
        facts = {k: getattr(error, k) for k in ("what", "where", "expected", "got", "remedy")}
        print(json.dumps({"error": type(error).__name__, **facts}), flush=True)
        sys.exit(1)
    print(json.dumps({"ok": True}), flush=True)


if __name__ == "__main__":
    main()
