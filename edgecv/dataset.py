"""An evaluation data set: images and what is true about them, whatever format they lie in.

A format is a module in ``datasets/`` (see `Reader`); what can be true is in `edgecv.truth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgecv import plugins
from edgecv.errors import DatasetError
from edgecv.truth import Truth

SPLIT_ALIASES = {"val": ("valid", "validation"), "valid": ("val",), "validation": ("val",)}
"""Other names that the folder or file of a split goes by."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is true about it.

    Attributes:
        image: path of the file; it need not be readable.
        truth: of the kind that the data set's task names.
        size_hw: (height, width) that the annotation states, or None. Boxes in pixels mean nothing
            on an image of another size.
    """

    image: Path
    truth: Truth
    size_hw: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out of a data set, and why.

    Attributes:
        where: file, and line or object in it.
        what: the reason.
        image: whether an image was lost by it, and not only a box or a label.
    """

    where: str
    what: str
    image: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """The samples of one split.

    Attributes:
        name: of the data, for people.
        root: folder the paths start from.
        split: the part that was opened; ``all`` where the data is not divided.
        task: what the truths are for, such as ``detect``.
        labels: class names by class id; empty where the data only numbers its classes.
        samples: in a fixed order.
        problems: what was left out while reading, in a fixed order.
    """

    name: str
    root: Path
    split: str
    task: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


class Reader(Protocol):
    """What a module in ``datasets/`` offers."""

    TASKS: tuple[str, ...]
    """Tasks it has truths for; the first is meant where none is named."""

    def recognise(self, path: Path) -> bool:
        """Tell whether a file or folder looks like this format, without reading much of it."""

    def open_dataset(
        self,
        path: Path,
        split: str,
        *,
        task: str,
        labels: Sequence[str],
        images: Path | None,
    ) -> Dataset:
        """Read everything but the images.

        Args:
            path: file or folder.
            split: such as ``val``.
            task: one of `TASKS`.
            labels: class names in the order of the ids that are wanted; empty leaves the order to
                the format. Formats that number their classes themselves ignore it.
            images: folder of the images, where the format leaves that open.

        Raises:
            DatasetError: it cannot be read, or holds no image.
        """


def open_dataset(
    path: Path | str,
    split: str = "val",
    format: str | None = None,
    *,
    task: str | None = None,
    labels: Sequence[str] = (),
    images: Path | str | None = None,
) -> Dataset:
    """Open a data set in any of the formats of ``datasets/``.

    Args:
        path: a data.yaml, an annotation file or a folder.
        split: such as ``val``, ``train`` or ``test``.
        format: a plug-in in ``datasets/``; None tells it from the path.
        task: what the truths are to be for; None takes the format's first.
        labels: see `Reader.open_dataset`; usually the model's.
        images: folder of the images, where it is not beside the annotations.

    Raises:
        DatasetError: no such path, no format or several fit it, or it cannot be read.
        UsageError: there is no such format.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError("no such file or folder", where=str(path))
    if format is None:
        format = _recognise(path)
    reader = cast(Reader, plugins.load("datasets", format))
    if task is not None and task not in reader.TASKS:
        raise DatasetError(
            f"the format {format} holds no truths for this task",
            where=str(path),
            expected=f"one of {', '.join(reader.TASKS)}",
            got=repr(task),
            remedy="classification data is a folder with one folder per class"
            if task == "classify"
            else None,
        )
    dataset = reader.open_dataset(
        path,
        split,
        task=task or reader.TASKS[0],
        labels=labels,
        images=None if images is None else Path(images),
    )
    if not dataset.samples:
        raise DatasetError(
            f"no image to measure in split {split!r}",
            where=str(path),
            got=f"{len(dataset.problems)} problems, such as {dataset.problems[0]}"
            if dataset.problems
            else "0 images",
        )
    return dataset


def _recognise(path: Path) -> str:
    names = plugins.names("datasets")
    fits = [name for name in names if plugins.load("datasets", name).recognise(path)]
    if len(fits) != 1:
        raise DatasetError(
            "several formats fit this path" if fits else "this is no data set that is known here",
            where=str(path),
            expected=f"one of {', '.join(names)}",
            got=", ".join(fits) if fits else None,
            remedy=f"name it: format={(fits or names)[0]!r} (--format on the command line)",
        )
    return fits[0]


def split_names(split: str) -> tuple[str, ...]:
    """List the names that a split may go by, the given one first."""
    return (split, *SPLIT_ALIASES.get(split, ()))


def read_text(path: Path, limit_bytes: int) -> str:
    """Read a text file of annotations as UTF-8, other bytes as Latin-1.

    Raises:
        DatasetError: it cannot be read, or is larger than `limit_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except (OSError, ValueError) as error:
        raise DatasetError("cannot be read", where=str(path), got=str(error)) from error
    if len(data) > limit_bytes:
        raise DatasetError(
            "too large for a file of this kind",
            where=str(path),
            expected=f"at most {limit_bytes:,} bytes",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
