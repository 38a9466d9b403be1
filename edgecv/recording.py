"""Keep a stream on disk so that it can be played again, frame for frame.

A recording is a folder: one image for each frame, and ``recording.jsonl``, whose first line is a
header and whose other lines are frames and events in their order::

    {"edgecv_recording": 1, "stream": "door"}
    {"file": "00000000.png", "index": 0, "timestamp_s": 12.04, "epoch": 0, "source": "...", ...}
    {"event": "Disconnected", "at_s": 93.1, "reason": "...", "frames": 1}

A line is written after its image, so what a power cut leaves can be played up to there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edgecv import codecs, events
from edgecv.errors import EdgecvError, ImageError, SinkError, StreamError, UsageError
from edgecv.record import plain
from edgecv.types import Frame

LIST_NAME = "recording.jsonl"
"""The file that makes a folder a recording."""
VERSION = 1

_FIELDS = ("index", "timestamp_s", "epoch", "stream", "source", "arrival_s")
_MAX_LINE = 65_536


class Recorder:
    """Write frames, and the events between them, into a new folder.

    Is an `edgecv.types.Sink` and, by `event`, an `edgecv.events.Listener`; may be called by
    several threads.

    Args:
        folder: is made; must not hold a recording yet.
        format: ``.png`` and ``.bmp`` lose nothing; ``.jpg`` and ``.webp`` are smaller.
        quality: of ``.jpg`` and ``.webp``, 1 to 100.

    Raises:
        UsageError: there is a recording already, or the format is unknown.
        SinkError: the folder cannot be made.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, format: str = ".png", quality: int = 95
    ) -> None:
        if format not in (".png", ".bmp", ".jpg", ".webp"):
            raise UsageError(
                "", where="format", expected=".png, .bmp, .jpg or .webp", got=repr(format)
            )
        self.folder = Path(folder)
        self._format, self._quality = format, quality
        self._lock = threading.Lock()
        self._count = 0
        self._file: IO[str] | None = None
        self._began = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / LIST_NAME).open("x", encoding="utf-8")
        except FileExistsError:
            raise UsageError("holds a recording already", where=str(self.folder)) from None
        except OSError as error:
            raise SinkError("cannot be made", where=str(folder), got=error.strerror) from None

    def write(self, frame: Frame, result: Any = None) -> None:
        """Keep a frame; results are not kept.

        Raises:
            SinkError: it cannot be written, or the recorder is closed.
        """
        del result
        with self._lock:
            name = f"{self._count:08d}{self._format}"
            try:
                codecs.write(self.folder / name, frame.image, quality=self._quality)
            except ImageError as error:
                raise SinkError(error.what, where=error.where, got=error.got) from None
            facts = {key: getattr(frame, key) for key in _FIELDS}
            self._line(frame.stream, {"file": name, **facts})
            self._count += 1

    def event(self, event: events.Event) -> None:
        """Keep an event of the stream; lost where that fails, because a listener does not raise."""
        with self._lock, suppress(SinkError):
            self._line(event.stream, {"event": type(event).__name__, **event.to_fields()})

    def close(self) -> None:
        """Finish the list; a second call does nothing."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self, stream: str, entry: dict[str, Any]) -> None:
        if self._file is None:
            raise SinkError("the recorder is closed", where=str(self.folder))
        try:
            if not self._began:
                self._put({"edgecv_recording": VERSION, "stream": stream})
                self._began = True
            self._put(entry)
            self._file.flush()
        except (OSError, ValueError) as error:  # ValueError: a time that is no number
            got = error.strerror if isinstance(error, OSError) else str(error)
            raise SinkError("cannot be written", where=str(self.folder), got=got) from None

    def _put(self, entry: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(plain(entry), allow_nan=False) + "\n")


def read_recording(folder: Path) -> Iterator[Frame | events.Event]:
    """Yield the frames and events of a recording in their order.

    Images are decoded one by one, as they are asked for. A last line without its end is left out.

    Raises:
        StreamError: no recording, one of a newer edgecv, or damaged.
    """
    path = folder / LIST_NAME
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b"")):
                if not line.endswith(b"\n"):
                    if len(line) == _MAX_LINE:
                        raise StreamError("too long a line", where=f"{path}: line {number + 1}")
                    return
                entry = _parse(line, f"{path}: line {number + 1}")
                if number == 0:
                    _check_header(entry, path)
                else:
                    yield _entry(entry, folder, f"{path}: line {number + 1}")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        got = error.strerror if isinstance(error, OSError) else str(error)
        raise StreamError("no recording", where=str(path), got=got) from None


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise StreamError("damaged", where=where, expected="a JSON object")
    return entry


def _check_header(entry: dict[str, Any], path: Path) -> None:
    version = entry.get("edgecv_recording")
    if version != VERSION:
        raise StreamError(
            "no recording that this edgecv can play",
            where=str(path),
            expected=f"edgecv_recording {VERSION} in the first line",
            got=repr(version),
        )


def _entry(entry: dict[str, Any], folder: Path, where: str) -> Frame | events.Event:
    try:
        if "event" in entry:
            kind = events.KINDS[entry.pop("event")]
            # JSON has no tuples.
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()
            }
            return kind(**values)
        name = entry["file"]
        if Path(name).name != name:
            raise ValueError("a path outside of the recording")
        facts = {key: entry[key] for key in _FIELDS}
        index, epoch, time_s = facts["index"], facts["epoch"], facts["timestamp_s"]
        if not isinstance(index, int) or not isinstance(epoch, int):
            raise ValueError("index and epoch must be whole numbers")
        facts["timestamp_s"] = float(time_s)
        return Frame(codecs.read(folder / name), **facts)
    except ImageError as error:
        raise StreamError(error.what, where=error.where, got=error.got) from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, EdgecvError):
            raise
        raise StreamError("damaged", where=where, got=str(error)) from None
