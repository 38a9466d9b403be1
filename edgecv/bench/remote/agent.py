"""What runs on the other machine; it is sent there as text, so it needs nothing but Python 3.11.

Three verbs: ``probe`` tells what is there, ``put`` receives an archive, ``run`` runs edgecv and
watches over it. Whatever a shell's start-up files print comes before `MARK`.
"""

import compileall
import contextlib
import hashlib
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from typing import Any

MARK = "edgecv-remote-begins\n"
LIBRARIES = ("numpy", "cv2", "click", "rich")
ENGINES = (
    "onnxruntime",
    "openvino",
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
)
SILENCE_S = 60.0
"""Without a sign of life from the other end for so long, a run is ended."""
GRACE_S = 5.0
"""Between asking processes to end and killing them."""


def cache() -> str:
    """Return the folder in which everything that was sent lies, each below its SHA-256."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return os.path.join(home, "edgecv", "remote")  # noqa: PTH118


def probe(digests: Sequence[str]) -> dict[str, Any]:
    """Tell what is missing, the first engine found, and which of some archives are there."""
    missing = {}
    for name in LIBRARIES:
        fault = _fault(name)
        if fault:
            missing[name] = fault
    engine = next((name for name in ENGINES if not _fault(name)), None)
    have = [digest for digest in digests if os.path.isdir(os.path.join(cache(), digest))]  # noqa: PTH112, PTH118
    return {"cache": cache(), "missing": missing, "engine": engine, "have": have}


def _fault(module: str) -> str:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken library may raise anything
        return f"{error}" or type(error).__name__
    return ""


def put(digest: str, size: int) -> dict[str, Any]:
    """Receive an archive from standard input, check it, unpack it, and move it to its place."""
    work = None
    try:
        os.makedirs(cache(), mode=0o700, exist_ok=True)  # noqa: PTH103
        work = tempfile.mkdtemp(prefix=".new-", dir=cache())
        archive, files = (os.path.join(work, name) for name in ("archive", "files"))  # noqa: PTH118
        got = _receive(archive, size)
        if got != digest:
            return {"error": "what arrived is not what was sent", "expected": digest, "got": got}
        with zipfile.ZipFile(archive) as content:
            content.extractall(files)
        final = os.path.join(cache(), digest)  # noqa: PTH118
        # As pip does, lest the first process measured be the one that compiles.
        compileall.compile_dir(files, ddir=final, quiet=2)
        try:
            os.rename(files, final)  # noqa: PTH104
        except OSError:
            if not os.path.isdir(final):  # noqa: PTH112  # else another run was faster
                raise
    except (OSError, zipfile.BadZipFile) as error:
        return {"error": f"{error}"}
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    return {"path": final}


def _receive(path: str, size: int) -> str:
    told = hashlib.sha256()
    with open(path, "wb") as file:  # noqa: PTH123
        while size:
            block = sys.stdin.buffer.read(min(size, 1 << 20))
            if not block:
                return f"the connection's end, {size} bytes too early"
            size -= len(block)
            told.update(block)
            file.write(block)
    return told.hexdigest()


def run(digest: str, words: Sequence[str]) -> int:
    """Run edgecv with some arguments; end it, with all it started, when nobody listens any more.

    Args:
        digest: of edgecv's own archive.
        words: arguments of the command line.

    Returns:
        Its exit status.
    """
    # In the variable, not in sys.path: the measuring processes that it starts must find it, too.
    paths = [os.path.join(cache(), digest), *filter(None, [os.environ.get("PYTHONPATH")])]  # noqa: PTH118
    code = "from edgecv.cli.main import main; main()"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    sys.stdout.write(MARK)
    sys.stdout.flush()
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *words],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
    )
    try:
        return child.returncode if _ended(child) else 143
    finally:
        _kill(child)


def _ended(child: "subprocess.Popen[bytes]") -> bool:
    """Wait; tell whether it came to its own end. Nothing wakes up meanwhile: it is measuring."""
    ours, theirs = os.pipe()

    def wait() -> None:
        child.wait()
        os.write(theirs, b".")

    threading.Thread(target=wait, daemon=True).start()
    while True:
        ready, _, _ = select.select([0, ours], [], [], SILENCE_S)
        if ours in ready:
            return True
        if not ready or not os.read(0, 4096):
            return False


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """End a process and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)


def main(words: Sequence[str]) -> int:
    """Do what the first word says."""
    verb, *rest = words
    if verb == "run":
        return run(rest[0], rest[1:])
    said = probe(rest) if verb == "probe" else put(rest[0], int(rest[1]))
    sys.stdout.write(MARK + json.dumps(said))
    return 1 if "error" in said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
