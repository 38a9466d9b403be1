"""Files of the MOTChallenge: tracks that are true, tracks that were found, and what a sequence is.

Source: motchallenge.net/instructions, and Milan et al., MOT16: A Benchmark for Multi-Object
Tracking (2016), on its data format. Frames, and the pixel in the upper left corner, are number 1.
"""

from __future__ import annotations

import configparser
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecv.dataset import read_text
from edgecv.errors import DatasetError
from edgecv.types import Array, Float32, Int32

PEDESTRIAN = 1
DISTRACTORS = (2, 7, 8, 12)
"""People on vehicles, static people, distractors and reflections, as MOT16 numbers its classes: who
finds them is neither right nor wrong."""

_LIMIT_BYTES = 256_000_000
_LARGEST = 1e7


@dataclass(frozen=True, slots=True)
class Boxes:
    """R rows of a file, sorted by frame; R may be 0.

    Attributes:
        frame: (R,) int64 numbers of frames, from 1.
        id: (R,) int64; -1 in files of detections.
        xyxy: (R, 4) float32 pixels, continuous, the corner of the image at 0.
        score: (R,) float32; of true tracks a flag, 0 where a row does not count.
        class_id: (R,) int32 as in the file; `PEDESTRIAN` where the file names no classes.
        visibility: (R,) float32 0-1; 1 where the file does not say.
        has_classes: whether the file names classes (MOT16 and later).
    """

    frame: Array
    id: Array
    xyxy: Float32
    score: Float32
    class_id: Int32
    visibility: Float32
    has_classes: bool = False

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: Array) -> Boxes:
        """Select rows by mask or indices."""
        return Boxes(
            self.frame[index],
            self.id[index],
            self.xyxy[index],
            self.score[index],
            self.class_id[index],
            self.visibility[index],
            self.has_classes,
        )

    @classmethod
    def of(cls, frame: Array, id: Array, xyxy: Array) -> Boxes:
        """Make rows of what a tracker found, sorted by frame."""
        order = np.argsort(frame, kind="stable")
        n = len(order)
        return cls(
            np.asarray(frame, np.int64)[order],
            np.asarray(id, np.int64)[order],
            np.asarray(xyxy, np.float32).reshape(-1, 4)[order],
            np.ones(n, np.float32),
            np.full(n, PEDESTRIAN, np.int32),
            np.ones(n, np.float32),
        )


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """What ``seqinfo.ini`` says.

    Attributes:
        name: of the sequence.
        frame_rate: frames a second.
        length: number of frames.
        images: folder of the images.
        suffix: of the images, such as ``.jpg``.
    """

    name: str
    frame_rate: float
    length: int
    images: Path
    suffix: str


def read_boxes(path: Path, *, classes: bool | None = None) -> Boxes:
    """Read a ``gt.txt``, a ``det.txt`` or a file of results.

    A line is ``frame, id, left, top, width, height, score`` and more: a class and a visibility in
    true tracks since MOT16 (nine values), or a place in the world (ten), which is passed over.

    Args:
        path: of the file.
        classes: whether columns 8 and 9 are class and visibility; None tells it from the number
            of columns.

    Raises:
        DatasetError: it cannot be read, or a line is not as above; the error names the line.
    """
    rows: list[list[float]] = []
    widths = set()
    for number, line in enumerate(read_text(path, _LIMIT_BYTES).splitlines(), 1):
        if not line.strip():
            continue
        cells = line.replace(",", " ").split()
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            values = []
        fault = _fault(values)
        if fault:
            raise DatasetError(
                "", where=f"{path}: line {number}", expected=fault, got=repr(line[:80])
            )
        widths.add(len(values))
        rows.append([*values[:9], *(1.0,) * (9 - len(values))])
    named = widths == {9} if classes is None else classes
    table = np.array(rows, np.float64).reshape(-1, 9)
    table = table[np.argsort(table[:, 0], kind="stable")]
    corner = table[:, 2:4] - 1
    found = Boxes(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        np.concatenate([corner, corner + table[:, 4:6]], axis=1).astype(np.float32),
        table[:, 6].astype(np.float32),
        table[:, 7].astype(np.int32) if named else np.full(len(table), PEDESTRIAN, np.int32),
        table[:, 8].astype(np.float32) if named else np.ones(len(table), np.float32),
        named,
    )
    _check_unique(path, found)
    return found


def _fault(values: list[float]) -> str | None:
    """Say what a line should have been; None where it is right."""
    if not 6 <= len(values) <= 10:
        return "6 to 10 numbers: frame, id, left, top, width, height, score, ..."
    if not all(map(math.isfinite, values)) or max(map(abs, values)) > _LARGEST:
        return f"finite numbers up to {_LARGEST:g}"
    if values[0] != int(values[0]) or values[0] < 1:
        return "a frame number from 1"
    if values[1] != int(values[1]):
        return "a whole number as id"
    if values[4] <= 0 or values[5] <= 0:
        return "a width and a height above 0"
    return None


def _check_unique(path: Path, found: Boxes) -> None:
    """Refuse an id that occurs twice in one frame; -1 means none."""
    has_id = found.id >= 0
    keys = np.stack([found.frame[has_id], found.id[has_id]], axis=1)
    unique, counts = np.unique(keys, axis=0, return_counts=True)
    if (counts > 1).any():
        frame, id = unique[counts > 1][0]
        raise DatasetError(
            "an id occurs twice in a frame", where=str(path), got=f"id {id} in frame {frame}"
        )


def write_boxes(path: Path, found: Boxes) -> None:
    """Write a file of results: ten values a line, the world's place unknown.

    Raises:
        DatasetError: it cannot be written.
    """
    lines = []
    for i in range(len(found)):
        left, top, right, bottom = (float(v) for v in found.xyxy[i])
        place = f"{left + 1:.3f},{top + 1:.3f},{right - left:.3f},{bottom - top:.3f}"
        lines.append(f"{found.frame[i]},{found.id[i]},{place},{found.score[i]:.4f},-1,-1,-1\n")
    try:
        path.write_text("".join(lines))
    except OSError as error:
        raise DatasetError("cannot be written", where=str(path), got=str(error)) from error


def read_sequence_info(folder: Path) -> SequenceInfo:
    """Read the ``seqinfo.ini`` of a sequence's folder.

    Raises:
        DatasetError: it is missing, or lacks something.
    """
    path = folder / "seqinfo.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, 1_000_000))
        section = parser["Sequence"]
        rate, length = float(section["frameRate"]), int(section["seqLength"])
        if not (rate > 0 and math.isfinite(rate) and length > 0):
            raise ValueError(f"frameRate {rate:g}, seqLength {length}")
        images = section.get("imDir", "img1")
        suffix = section.get("imExt", ".jpg")
        name = section.get("name", folder.resolve().name)
    except (configparser.Error, KeyError, ValueError) as error:
        raise DatasetError(
            "not a sequence's description",
            where=str(path),
            expected="[Sequence] with frameRate and seqLength",
            got=str(error).splitlines()[0],
        ) from None
    return SequenceInfo(name, rate, length, folder / images, suffix)


def find_truth(path: Path) -> Path:
    """Return the file of true tracks that a path means: itself, ``gt/gt.txt`` or ``gt.txt`` in it.

    Raises:
        DatasetError: there is none.
    """
    if path.is_file():
        return path
    for inside in ("gt/gt.txt", "gt.txt"):
        if (path / inside).is_file():
            return path / inside
    raise DatasetError("no true tracks here", where=str(path), expected="gt/gt.txt or gt.txt")


def find_sequences(path: Path) -> tuple[Path, ...]:
    """List the sequences that a path means: one, or those in the folders of a folder, sorted.

    Raises:
        DatasetError: there is none.
    """
    try:
        find_truth(path)
    except DatasetError:
        inner = sorted(item for item in path.iterdir() if item.is_dir()) if path.is_dir() else []
        found = []
        for item in inner:
            if (item / "gt" / "gt.txt").is_file() or (item / "gt.txt").is_file():
                found.append(item)
        if not found:
            raise
        return tuple(found)
    return (path,)
