"""JSON Lines: one object for each frame, appended to a file."""

import os
from pathlib import Path
from typing import IO, Any

from edgecv.errors import SinkError
from edgecv.record import Record
from edgecv.sink import record_line
from edgecv.types import Frame


class Options(Record, kw_only=True):
    """How the file is written.

    Attributes:
        append: add to a file that exists; otherwise it is written anew.
        sync: hand every line to the disk before the next one, so that a power cut costs none.
    """

    append: bool = True
    sync: bool = False


def recognise(target: str) -> bool:
    """Tell by the suffix, ``.jsonl`` or ``.ndjson``."""
    return "://" not in target and target.lower().endswith((".jsonl", ".ndjson"))


class JsonLines:
    """Write each result as one line; a line is whole or not there."""

    def __init__(self, target: str, options: Options) -> None:
        self._target, self._sync = target, options.sync
        mode = "ab" if options.append else "wb"
        try:
            self._file: IO[bytes] | None = Path(target).open(mode, 0)  # noqa: SIM115  # closed by close()
        except (OSError, ValueError) as error:
            raise _cannot(target, error) from None

    def write(self, frame: Frame, result: Any) -> None:
        """Append a line.

        Raises:
            SinkError: the file is closed, or the disk refuses.
        """
        if self._file is None:
            raise SinkError("closed", where=f"sink {self._target}")
        line = record_line(frame, result) + b"\n"
        try:
            start = self._file.tell()
            written = self._file.write(line)
            if written != len(line):
                # A full disk takes a part of the line: leave none of it.
                self._file.truncate(start)
                raise OSError(28, "No space left on device")
            if self._sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot(self._target, error) from None

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def open_sink(target: str, options: Options) -> JsonLines:
    """Open the file."""
    return JsonLines(target, options)


def _cannot(target: str, error: Exception) -> SinkError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return SinkError(f"cannot be written: {reason}", where=f"sink {target}")
