"""Open a foreign model file in a child process first: engines do crash on broken or hostile files.

The child limits its own CPU time, memory and core dumps before it imports an engine, opens the
model, runs it once on zeros and closes it. Only if it comes through is the file opened here. This
protects from crashes and hangs; it is no sandbox.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgecv import errors, host
from edgecv.errors import EdgecvError, InferenceError, ModelLoadError
from edgecv.record import Record
from edgecv.types import ModelSource, Quantization, SessionOptions, TensorSpec

TIMEOUT_S = 60.0
_MAX_MEMORY_BYTES = 8 * 2**30
_MIN_MEMORY_BYTES = 2 * 2**30
_BYTES_PER_MODEL_BYTE = 8
_MAX_INPUT_BYTES = 2**30
_MAX_METADATA_CHARS = 16 * 2**20
_BROKEN = "the file is broken or hostile; get it again, or export it anew"


class ProbeReport(Record):
    """What the child process found.

    Attributes:
        inputs: of the model.
        outputs: of the model.
        metadata: key-value pairs in the file itself.
        not_run: why the model was opened but not run on zeros; None where it was run.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    not_run: str | None


def probe(
    path: Path,
    backend: str,
    *,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int | None = None,
) -> ProbeReport:
    """Open a model file in a child process and run it once on zeros.

    A free first axis is taken as 1; with other free axes the model is opened only.

    Args:
        path: the model file; its companions are found as its backend does.
        backend: a plug-in in ``backends/``.
        timeout_s: wall time after which the child is ended.
        memory_bytes: address space of the child; None means three quarters of this machine's
            memory, between 2 and 8 GiB, plus 8 times the file's size.

    Raises:
        ModelLoadError: the engine refused the file, died on it, or took too long.
        EdgecvError: what the child raised on purpose, such as a missing engine.
    """
    request = {
        "path": str(path.absolute()),
        "backend": backend,
        "cpu_s": int(timeout_s) + 1,
        "memory_bytes": memory_bytes or _memory_bytes(path),
    }
    # The child must find this very package, and nothing in the current folder (-P).
    package = str(Path(__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edgecv.probe"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise ModelLoadError(
            f"{backend} did not come to an end with this file within {timeout_s:g} s",
            where=str(path),
            remedy=_BROKEN,
        ) from None
    except OSError as error:
        raise ModelLoadError(
            f"no child process could be started to try the file in: {error}",
            where=str(path),
            remedy="open it with trusted=True (--trusted) if you know where it comes from",
        ) from None
    said = _answer(done.stdout)
    if "error" in said:
        raise _error(said)
    if done.returncode or not said:
        raise ModelLoadError(
            f"{backend} {_death(done)} on this file, in a child process",
            where=str(path),
            remedy=_BROKEN,
        )
    return ProbeReport(
        inputs=tuple(map(_spec, said["inputs"])),
        outputs=tuple(map(_spec, said["outputs"])),
        metadata=said["metadata"],
        not_run=said["not_run"],
    )


def _memory_bytes(path: Path) -> int:
    present = host.memory_bytes() or _MAX_MEMORY_BYTES
    size = path.stat().st_size if path.is_file() else 0
    limit = min(_MAX_MEMORY_BYTES, max(_MIN_MEMORY_BYTES, present * 3 // 4))
    return limit + _BYTES_PER_MODEL_BYTE * size


def _answer(text: str) -> dict[str, Any]:
    """Return the child's last line, if it is an answer."""
    with suppress(ValueError, IndexError):
        said = json.loads(text.splitlines()[-1])
        if isinstance(said, dict):
            return said
    return {}


def _error(said: Mapping[str, Any]) -> EdgecvError:
    """Make the child's error anew."""
    kind = getattr(errors, str(said["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, EdgecvError)):
        kind = ModelLoadError
    facts = {key: said.get(key) for key in ("where", "expected", "got", "remedy")}
    return kind(str(said.get("what", "")), **facts)


def _death(done: subprocess.CompletedProcess[str]) -> str:
    status = done.returncode
    with suppress(ValueError):
        if status < 0:
            name = signal.Signals(-status).name
            return "ran for too long (SIGXCPU)" if name == "SIGXCPU" else f"crashed ({name})"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f"ended with status {status}" + (f" ({lines[-1][:200]})" if lines else "")


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    q = entry["quantization"]
    return TensorSpec(
        entry["name"],
        tuple(entry["shape"]),
        entry["dtype"],
        None if q is None else Quantization(**q),
    )


def _limit(request: Mapping[str, int]) -> None:
    """Bind this process; a limit that is lower already stays."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: request["cpu_s"],
        resource.RLIMIT_AS: request["memory_bytes"],
    }
    for kind, wanted in limits.items():
        for present in resource.getrlimit(kind):
            if present != resource.RLIM_INFINITY:
                wanted = min(wanted, present)
        # The signal for too much CPU time (soft limit) needs a moment before the kill (hard one).
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (wanted, hard if kind == resource.RLIMIT_CPU else wanted))


def _try(path: Path, backend: str) -> dict[str, Any]:
    """Open, run and close a model in this process."""
    from edgecv import plugins

    module = plugins.load("backends", backend)
    source = ModelSource.from_paths(path, *module.companions(path))
    session = module.open_session(source, SessionOptions(threads=1, precision="auto"))
    metadata = dict(session.metadata)
    if sum(len(key) + len(value) for key, value in metadata.items()) > _MAX_METADATA_CHARS:
        raise ModelLoadError(
            "its metadata are too large",
            where=str(path),
            expected=f"at most {_MAX_METADATA_CHARS} characters",
        )
    answer = {
        "inputs": [spec.to_dict() for spec in session.inputs],
        "outputs": [spec.to_dict() for spec in session.outputs],
        "metadata": metadata,
        "not_run": _run(session),
    }
    session.close()
    return answer


def _run(session: Any) -> str | None:
    """Run a model on zeros; return why that was not done, or how the engine refused it."""
    import math

    import numpy as np

    inputs = {}
    for spec in session.inputs:
        shape = tuple(1 if i == 0 and n is None else n for i, n in enumerate(spec.shape))
        if None in shape:
            return f"free axes: {spec}"
        if math.prod(shape) * np.dtype(spec.dtype).itemsize > _MAX_INPUT_BYTES:
            return f"larger than {_MAX_INPUT_BYTES} bytes: {spec}"
        inputs[spec.name] = np.zeros(shape, spec.dtype)
    try:
        session.run(inputs)
    except InferenceError as error:
        # Zeros need not be a meaningful input to every model; dying on them is what counts.
        return error.message
    return None


def main() -> None:
    """Serve one request, in the child process."""
    request = json.load(sys.stdin)
    _limit(request)
    # What the engine itself writes to standard output must not look like an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = _try(Path(request["path"]), request["backend"])
    except EdgecvError as error:
        facts = {key: getattr(error, key) for key in ("what", "where", "expected", "got", "remedy")}
        answer = {"error": type(error).__name__, **facts}
    except MemoryError:
        limit = f"{request['memory_bytes'] / 2**30:.1f} GiB"
        answer = {
            "error": "ModelLoadError",
            "what": f"the model needs more than {limit} of memory",
            "where": request["path"],
        }
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
