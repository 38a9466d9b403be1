"""Start a measuring process, follow it, and hear what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import edgecv
from edgecv.errors import InferenceError

TIMEOUT_S = 600.0
"""Beyond what the measured run is to take: loading, warming up, and slow images."""
ANSWER_TIMEOUT_S = 300.0
"""One answer of a `Dialogue`: loading a model, or one turn."""


def program(module: str) -> str:
    """Return Python code that runs ``main`` of a module of ours.

    As ``python -m`` does, but for the working folder: it may hold anybody's files, so it is not
    where modules are looked for. With -P it is left out, and edgecv's own place goes last.
    """
    place = str(Path(edgecv.__file__).parent.parent)
    return f"import sys; sys.path.append({place!r}); from {module} import main; main()"


def ask(
    code: str,
    request: Mapping[str, Any],
    complete: str,
    *,
    run_s: float = 0.0,
    follow: Callable[[int | None], None] = lambda _: None,
) -> tuple[dict[str, Any], float]:
    """Run a process of ours to its end.

    Args:
        code: of `program`.
        request: sent as JSON; ``model`` names it in errors.
        complete: the fact without which it did not come to its end.
        run_s: that the measured run is to take.
        follow: told the process, and None when it has ended.

    Returns:
        All facts that it said, and when it was started, seconds of `time.monotonic`.

    Raises:
        InferenceError: it failed, died or hung.
    """
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise InferenceError(f"the benchmark's process failed: {error}") from None
    follow(process.pid)
    try:
        out, err = process.communicate(json.dumps(request), timeout=TIMEOUT_S + run_s)
    except subprocess.TimeoutExpired as error:
        raise InferenceError(f"the benchmark's process failed: {error}") from None
    finally:
        follow(None)
        if process.poll() is None:
            process.kill()
            process.communicate()
    said: dict[str, Any] = {}
    for line in out.splitlines():
        # An engine may print lines of its own.
        with suppress(ValueError):
            fact = json.loads(line)
            said |= fact if isinstance(fact, dict) else {}
    if "error" in said:
        raise InferenceError(said["error"], remedy=said.get("remedy"))
    if process.returncode != 0 or complete not in said:
        tail = err.strip().splitlines()[-1:] or ["it said nothing"]
        raise InferenceError(
            f"the benchmark's process died with status {process.returncode}",
            where=str(request.get("model")),
            got=tail[0],
        )
    return said, start


class Dialogue:
    """A process that answers each line of JSON with one, and may print lines of its own between.

    Its answers have the key ``done``, or ``error`` where it failed.

    Attributes:
        started_s: when it was started, seconds of `time.monotonic`.
    """

    def __init__(self, process: subprocess.Popen[str], where: str, started_s: float) -> None:
        self._process = process
        self._where = where
        self.started_s = started_s

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a line; a process that died is noticed by `answer`."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the last line.

        Raises:
            InferenceError: the process reports an error, died, or does not answer in time.
        """
        stdout = self._process.stdout
        assert stdout is not None
        watchdog = threading.Timer(ANSWER_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            for line in stdout:
                # An engine may print lines of its own.
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if isinstance(said, dict) and "error" in said:
                    raise InferenceError(said["error"], where=self._where)
                if isinstance(said, dict) and "done" in said:
                    return said
        finally:
            watchdog.cancel()
        status = self._process.wait()
        raise InferenceError(
            f"the process that times it died with status {status}", where=self._where
        )


@contextmanager
def dialogue(
    command: Sequence[str], where: str, environment: Mapping[str, str] | None = None
) -> Iterator[Dialogue]:
    """Start a process to talk with; it is killed at the end.

    Args:
        command: what is started.
        where: names it in errors.
        environment: all of its environment variables; None hands ours on.

    Raises:
        InferenceError: it cannot be started.
    """
    started_s = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=environment,
        )
    except OSError as error:
        raise InferenceError(f"no process to time it: {error}", where=where) from None
    try:
        yield Dialogue(process, where, started_s)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
