"""Drawn images: one file for each frame, in a folder."""

from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from edgecv import codecs
from edgecv.drawing import draw
from edgecv.errors import EdgecvError, SinkError
from edgecv.record import Record
from edgecv.schema import Rule
from edgecv.types import Frame


class Options(Record, kw_only=True):
    """Which frames are saved, and how.

    Attributes:
        format: of the files.
        quality: of JPEG and WebP.
        draw: draw the result; without it the frames are saved as they came.
        only_found: save nothing for frames in which nothing was found.
        every: save only one of so many.
        most: stop saving after so many files, so that a disk is not filled; 0 sets no limit.
    """

    format: Literal["jpg", "png", "webp"] = "jpg"
    quality: Annotated[int, Rule(ge=1, le=100)] = 90
    draw: bool = True
    only_found: bool = False
    every: Annotated[int, Rule(ge=1)] = 1
    most: Annotated[int, Rule(ge=0)] = 100_000


def recognise(target: str) -> bool:
    """Tell by a slash at the end, or a folder that exists."""
    if not target or "://" in target:
        return False
    return target.endswith("/") or Path(target).is_dir()


class Images:
    """Save frames as ``STREAM-EPOCH-INDEX.jpg``; a name that is taken gets a number."""

    def __init__(self, target: str, options: Options) -> None:
        self._folder, self._options = Path(target), options
        self._seen = self._saved = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise SinkError(
                f"the folder cannot be made: {getattr(error, 'strerror', None) or error}",
                where=f"sink {target}",
            ) from None

    def write(self, frame: Frame, result: Any) -> None:
        """Save one frame, if it is to be saved.

        Raises:
            SinkError: the file cannot be written, or the limit was reached.
        """
        options = self._options
        if options.only_found and not len(result.value):
            return
        self._seen += 1
        if (self._seen - 1) % options.every:
            return
        if options.most and self._saved >= options.most:
            raise SinkError(
                "the limit of files is reached",
                where=f"sink {self._folder}",
                expected=f"at most {options.most} files",
                remedy="raise most=, or save fewer with every= or only_found=true",
            )
        image = codecs.as_image(frame.image)
        stream = "".join(c if c.isalnum() or c in "-_." else "_" for c in frame.stream).lstrip(".")
        stem = f"{stream or 'frame'}-{frame.epoch}-{frame.index:08d}"
        names = (f"{stem}{'' if n == 1 else f'-{n}'}.{options.format}" for n in count(1))
        path = next(p for p in map(self._folder.joinpath, names) if not p.exists())
        try:
            codecs.write(
                path,
                draw(image, result) if options.draw else image,
                quality=options.quality,
            )
        except EdgecvError as error:
            raise SinkError(error.message, where=f"sink {self._folder}") from None
        self._saved += 1

    def close(self) -> None:
        """Do nothing: every file is whole."""


def open_sink(target: str, options: Options) -> Images:
    """Make the folder."""
    return Images(target, options)
