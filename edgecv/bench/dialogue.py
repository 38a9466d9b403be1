"""A process that waits for requests: the near end of `edgecv.bench.turns`."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from edgecv.errors import InferenceError

TIMEOUT_S = 300.0
"""In which a process answers."""


class Dialogue:
    """A process that answers each line of JSON with one, and may print others between.

    Its answers have the key ``done``, or ``error`` where it failed. In a ``with`` block it is
    closed at the end.

    Args:
        command: what is started.
        name: how errors call it.
        environment: all of its environment variables; None hands ours on.
        timeout_s: in which each answer must come.

    Attributes:
        started_s: when it was started, seconds of `time.monotonic`.

    Raises:
        InferenceError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._name, self._timeout_s = name, timeout_s
        self.started_s = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env=environment,
            )
        except OSError as error:
            raise InferenceError(f"no process to time it: {error}", where=name) from None

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a line of JSON; a process that died is noticed by `answer`."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()

    def answer(self, within_s: float = float("inf")) -> dict[str, Any]:
        """Wait for the answer to the last line.

        Args:
            within_s: shortens `timeout_s` this time.

        Raises:
            InferenceError: the process reports an error, died, or does not answer in time.
        """
        stdout = self._process.stdout
        assert stdout is not None
        late, timeout_s = threading.Event(), min(self._timeout_s, within_s)

        def give_up() -> None:
            late.set()
            self._process.kill()

        watchdog = threading.Timer(timeout_s, give_up)
        watchdog.start()
        try:
            for line in stdout:
                # An engine may print lines of its own.
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if isinstance(said, dict) and "error" in said:
                    raise InferenceError(said["error"], where=self._name)
                if isinstance(said, dict) and "done" in said:
                    return said
        finally:
            watchdog.cancel()
        status = self._process.wait()
        if late.is_set():
            raise InferenceError(f"no answer within {timeout_s:.0f} s", where=self._name)
        # What the kernel does to the largest process where memory runs out.
        perhaps = ", as one does that ran out of memory" if status == -signal.SIGKILL else ""
        raise InferenceError(
            f"the process that times it died with status {status}{perhaps}", where=self._name
        )

    def close(self) -> None:
        """End the process and free its memory; may be called twice."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
