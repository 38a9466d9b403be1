"""One folder per class: ``root/<class>/*.jpg`` or ``root/<split>/<class>/*.jpg``.

A class folder is named by the label's text or by the class's number. Labels whose text cannot be
a folder's name (a ``/`` in it) need the number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgecv.dataset import Dataset, Problem, Sample, split_names
from edgecv.errors import DatasetError
from edgecv.image_files import is_image, walk_images
from edgecv.truth import ClassTruth

TASKS = ("classify",)

# Folders that other layouts hold their images and labels in; no class folder is called so.
_OTHER_LAYOUTS = frozenset(
    (
        "images",
        "labels",
        "masks",
        "annotations",
        "jpegimages",
        "imagesets",
        "segmentationclass",
        "ground_truth",
    )
)
_SPLITS = ("train", "val", "valid", "validation", "test")
_SHOWN = 5


def recognise(path: Path) -> bool:
    """Accept a folder whose sub-folders, or those of its splits, hold images and nothing else's."""
    if not path.is_dir() or (path / "data.yaml").exists():
        return False
    folders = _folders(path)
    if any(folder.name.lower() in _OTHER_LAYOUTS for folder in folders):
        return False
    splits = [folder for folder in folders if _is_split(folder)]
    classes = [inner for split in splits for inner in _folders(split)] if splits else folders
    if any(folder.name.lower() in _OTHER_LAYOUTS for folder in classes):
        return False
    return any(is_image(file.name) for folder in classes for file in folder.iterdir())


def open_dataset(
    path: Path,
    split: str,
    *,
    task: str,
    labels: Sequence[str] = (),
    images: Path | None = None,
) -> Dataset:
    """Read one split; see `edgecv.dataset.Reader`.

    With `labels`, a folder is the class whose label it is named by, else the class of that number.
    Without, folders that are all numbers are class ids, and any others are numbered in sorted
    order, as is usual for this layout.

    Raises:
        DatasetError: no such split, or a folder is none of the labels.
    """
    root = path if images is None else images
    if not root.is_dir():
        raise DatasetError("no such folder", where=str(root))
    split, folder = _split_folder(root, split)
    folders = _folders(folder)
    ids, names = _class_ids([f.name for f in folders], tuple(labels), folder)
    samples: list[Sample] = []
    problems = []
    for class_folder, class_id in zip(folders, ids, strict=True):
        found = [Sample(image, ClassTruth(class_id)) for image in walk_images(class_folder)]
        if not found:
            problems.append(Problem(str(class_folder), "a class without images"))
        samples += found
    for file in sorted(folder.iterdir()):
        if file.is_file() and is_image(file.name):
            problems.append(Problem(str(file), "an image outside of all classes", image=True))
    return Dataset(root.name, root, split, task, names, tuple(samples), tuple(problems))


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _is_split(folder: Path) -> bool:
    """Tell a split from a class of that name (a train, a test): a split holds folders."""
    return folder.name in _SPLITS and bool(_folders(folder))


def _split_folder(root: Path, split: str) -> tuple[str, Path]:
    """Find the folder whose sub-folders are the classes, and the split's name."""
    for name in split_names(split):
        if (root / name).is_dir() and _is_split(root / name):
            return split, root / name
    known = [folder.name for folder in _folders(root) if _is_split(folder)]
    if known:
        raise DatasetError(
            f"no split {split!r}", where=str(root), expected=f"one of {', '.join(known)}"
        )
    return "all", root


def _class_ids(
    folders: Sequence[str], labels: tuple[str, ...], where: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Number the class folders; return the ids and the names by id (empty where unknown)."""
    if not labels:
        if all(name.isdecimal() for name in folders):
            return [int(name) for name in folders], ()
        return list(range(len(folders))), tuple(folders)
    by_text = {label: i for i, label in enumerate(labels)}
    count = Counter(labels)
    ids, unknown = [], []
    for name in folders:
        if count[name] > 1:
            raise DatasetError(
                "several classes have this folder's label",
                where=str(where / name),
                remedy="name the folder by the class's number",
            )
        if name in by_text:
            ids.append(by_text[name])
        elif name.isdecimal() and int(name) < len(labels):
            ids.append(int(name))
        else:
            unknown.append(name)
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:_SHOWN])
        more = len(unknown) - _SHOWN
        raise DatasetError(
            "folders that are no class of the labels",
            where=str(where),
            expected=f"label texts such as {labels[0]!r}, or numbers below {len(labels)}",
            got=f"{shown} and {more} more" if more > 0 else shown,
        )
    return ids, labels
