"""COCO instances JSON, as cocodataset.org's "Data format" page describes it.

For instance segmentation ``segmentation`` is read: polygons, or run lengths in either form. Pose
data is a keypoints JSON, which adds ``keypoints`` (x, y, visibility of each) to the boxes.
Categories become the classes 0, 1, 2 ... in the order of their ids. ``iscrowd`` marks regions in
which detections are neither right nor wrong; ``area`` is the one that size ranges go by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.dataset import Dataset, Problem, Sample, read_text, split_names
from edgecv.errors import DatasetError
from edgecv.mask_truth import Outline
from edgecv.outline_labels import segmentation_of, with_outlines
from edgecv.pose_labels import count_numbers, keypoints_of
from edgecv.truth import BoxTruth, PoseTruth

TASKS = ("detect", "segment", "pose")

_JSON_BYTES = 2 << 30
_KINDS = {"detect": "instances_", "segment": "instances_", "pose": "person_keypoints_"}
_FAR = 1e9  # no coordinate or area is larger


@dataclass
class _Boxes:
    """The boxes of one image, a row each."""

    xyxy: list[tuple[float, ...]] = field(default_factory=list)
    class_id: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    outlines: list[Outline] = field(default_factory=list)
    keypoints: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Annotations:
    """What an instances file says.

    Attributes:
        labels: category names in the order of the category ids.
        category_ids: the file's id of each class.
        images: image id -> (file name, (height, width) or None, boxes in source pixels).
        problems: annotations that were left out.
    """

    labels: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: Mapping[int, tuple[str, tuple[int, int] | None, BoxTruth]]
    problems: tuple[Problem, ...]


def recognise(path: Path) -> bool:
    """Accept a .json file, or a folder with instances files in it or in ``annotations/``."""
    return (
        path.suffix.lower() == ".json"
        if path.is_file()
        else any(_files(path, task) for task in TASKS)
    )


def open_dataset(
    path: Path,
    split: str,
    *,
    task: str,
    labels: Sequence[str] = (),
    images: Path | None = None,
) -> Dataset:
    """Read one instances file; see `edgecv.dataset.Reader`. The file's own names are used.

    A file is one split, whatever it is called; of a folder, the file with the split in its name is
    read.

    Raises:
        DatasetError: the file is broken, or its images are not found.
    """
    del labels
    if path.is_file():
        file, split = path, "all"
    else:
        file = _file_of(path, split, task)
    read = read_annotations(file, outlines=task == "segment", keypoints=task == "pose")
    folder = _image_folder(file, split, images, [name for name, _, _ in read.images.values()])
    samples, problems = [], list(read.problems)
    for name, size_hw, truth in read.images.values():
        if (folder / name).is_file():
            samples.append(Sample(folder / name, truth, size_hw))
        else:
            problems.append(Problem(str(folder / name), "no such image", image=True))
    return Dataset(file.stem, folder, split, task, read.labels, tuple(samples), tuple(problems))


def read_annotations(file: Path, *, outlines: bool = False, keypoints: bool = False) -> Annotations:
    """Read an instances file without looking for its images.

    Args:
        file: the JSON.
        outlines: read the outlines, too: the truths are then `edgecv.mask_truth.MaskTruth`.
        keypoints: read the keypoints, too: the truths are then `PoseTruth`.

    Raises:
        DatasetError: it is not JSON, or not of this form.
    """
    try:
        data = json.loads(read_text(file, _JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DatasetError("not valid JSON", where=str(file), got=str(error)[:200]) from error
    if not isinstance(data, dict):
        raise DatasetError("", where=str(file), expected="an object", got=type(data).__name__)
    names = _by_id(file, data, "categories", "name")
    paths = _by_id(file, data, "images", "file_name")
    sizes = {image["id"]: _size(image) for image in data["images"]}
    classes = {category: index for index, category in enumerate(sorted(names))}
    boxes = {image: _Boxes() for image in paths}
    problems = []
    records = _records(file, data, "annotations")
    numbers = count_numbers(file, records) if keypoints else 0
    for n, annotation in enumerate(records):
        image = annotation.get("image_id")
        size_hw = sizes.get(image) if type(image) is int else None
        try:
            outline = segmentation_of(annotation.get("segmentation"), size_hw) if outlines else None
            points = keypoints_of(annotation.get("keypoints"), numbers) if keypoints else None
            wrong = _add(annotation, classes, boxes, outline, points)
        except ValueError as error:
            wrong = str(error)
        if wrong is not None:
            problems.append(Problem(f"{file}: annotations[{n}]", wrong))
    images = {
        image: (
            name,
            sizes[image],
            _truth(b, outlines, numbers),
        )
        for (image, name), b in zip(paths.items(), boxes.values(), strict=True)
    }
    labels = tuple(names[category] for category in sorted(names))
    return Annotations(labels, tuple(sorted(names)), images, tuple(problems))


def _truth(boxes: _Boxes, outlines: bool, numbers: int) -> BoxTruth:
    truth = BoxTruth.from_rows(boxes.xyxy, boxes.class_id, crowd=boxes.crowd, area=boxes.area)
    if numbers:
        points = np.array(boxes.keypoints, np.float32).reshape(len(truth), numbers // 3, 3)
        return PoseTruth.from_boxes(truth, points)
    return with_outlines(truth, boxes.outlines) if outlines else truth


def _records(file: Path, data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    records = data.get(key)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise DatasetError(
            "",
            where=f"{file}: {key}",
            expected="a list of objects",
            got="nothing" if records is None else type(records).__name__,
            remedy="give an instances file" if records is None else None,
        )
    return records


def _by_id(file: Path, data: Mapping[str, Any], key: str, name: str) -> dict[int, str]:
    """Read the records of a list as id -> the text in the field `name`."""
    found: dict[int, str] = {}
    for n, record in enumerate(_records(file, data, key)):
        number, text = record.get("id"), record.get(name)
        where = f"{file}: {key}[{n}]"
        if type(number) is not int or number in found:
            raise DatasetError(
                "", where=f"{where}.id", expected="an integer of its own", got=repr(number)[:80]
            )
        if not isinstance(text, str) or not text or "\0" in text:
            raise DatasetError("", where=f"{where}.{name}", expected="a text", got=repr(text)[:80])
        found[number] = text
    return found


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    return None


def _number(value: Any) -> float | None:
    """Return a finite number of a sane size, or None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR
    return float(value) if usable else None


def _add(
    annotation: Mapping[str, Any],
    classes: Mapping[int, int],
    boxes: Mapping[int, _Boxes],
    outline: Outline | None,
    keypoints: list[float] | None,
) -> str | None:
    """Append one annotation's box to its image's; return why it cannot be used, or None."""
    image, category = annotation.get("image_id"), annotation.get("category_id")
    if type(image) is not int or image not in boxes:
        return "a box of no listed image"
    if type(category) is not int or category not in classes:
        return "a box of no listed category"
    bbox = annotation.get("bbox")
    numbers = [_number(value) for value in bbox] if isinstance(bbox, list) else []
    box = [value for value in numbers if value is not None]
    if len(box) != 4 or len(numbers) != 4:
        return "no bbox of four numbers"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "a box without area"
    area = _number(annotation.get("area"))
    to = boxes[image]
    if outline is not None:
        to.outlines.append(outline)
    if keypoints is not None:
        to.keypoints.append(keypoints)
    to.xyxy.append((x, y, x + width, y + height))
    to.class_id.append(classes[category])
    to.crowd.append(bool(annotation.get("iscrowd", 0)))
    to.area.append(math.nan if area is None else area)
    return None


def _files(folder: Path, task: str = "detect") -> list[Path]:
    """List the annotation files of a folder, by the names that COCO and Roboflow give them."""
    kind = _KINDS[task]
    patterns = (f"{kind}*.json", f"annotations/{kind}*.json", "*/_annotations.coco.json")
    return sorted(file for pattern in patterns for file in folder.glob(pattern))


def _file_of(folder: Path, split: str, task: str) -> Path:
    files, kind = _files(folder, task), _KINDS[task]
    for name in split_names(split):
        fits = [f for f in files if f.stem.startswith(f"{kind}{name}") or f.parent.name == name]
        if len(fits) == 1:
            return fits[0]
    raise DatasetError(
        f"no one file for split {split!r}",
        where=str(folder),
        got=", ".join(str(f.relative_to(folder)) for f in files),
        remedy="name the annotation file itself",
    )


def _image_folder(file: Path, split: str, given: Path | None, names: Sequence[str]) -> Path:
    """Find the folder in which the images lie: the given one, or one near the file."""
    if not names:
        return given or file.parent
    # instances_val2017.json -> val2017
    part = file.stem.removeprefix("instances_").removeprefix("person_keypoints_")
    near = [file.parent, file.parent.parent]
    candidates = [
        folder / sub
        for folder in near
        for sub in ("", "images", part, f"images/{part}", split, f"images/{split}")
    ]
    for folder in candidates if given is None else [given]:
        if any((folder / name).is_file() for name in names[:100]):
            return folder
    raise DatasetError(
        "the images are not found",
        where=str(file),
        expected=f"files such as {names[0]} in {given or 'a folder beside the annotations'}",
        remedy="name the folder of the images: images=... (--images on the command line)",
    )
