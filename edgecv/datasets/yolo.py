"""YOLO labels under a data.yaml, as Ultralytics' documentation describes them.

The file names ``path`` (here always relative to the file's own folder), ``train``, ``val``,
``test`` (a folder, a list of folders, or a .txt list of images), ``names`` and ``nc``. The labels
of ``.../images/x/1.jpg`` are ``.../labels/x/1.txt``; a key ``labels:`` names another folder than
``labels``. A label line is ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...`` (a polygon: an
object's outline, or the four corners of an oriented box; for detection its bounding box counts),
in parts of the image. An image without a label file is background. Pose data add ``x y`` or
``x y visibility`` of each keypoint behind the box; ``kpt_shape`` says how many there are, and how
many numbers each has.

For semantic segmentation ``masks:`` (Ultralytics: ``masks_dir:``) names the folder of the class
maps: PNG files called as their images, whose values are class ids, 255 for none. For depth,
``depth:`` (without it, ``depth``) names the folder of .npy files in metres, as Ultralytics
describes them, or of PNG files whose levels are ``depth_scale:`` metres each. An image without a
map is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import data_yaml
from edgecv.data_yaml import DataYaml
from edgecv.dataset import Dataset, Problem, Sample, read_text
from edgecv.errors import DatasetError
from edgecv.map_truth import map_samples
from edgecv.mask_truth import RotatedTruth
from edgecv.outline_labels import corners_of, polygon_of, with_outlines
from edgecv.pose_labels import read_keypoints
from edgecv.truth import BoxTruth, PoseTruth, Truth

TASKS = ("detect", "segment", "pose", "obb", "semantic", "depth")
SUFFIXES = (".yaml", ".yml")
MAP_KEYS = {"semantic": ("masks", "masks_dir"), "depth": ("depth", "depth_dir")}
"""Keys that name the folder of the maps; of ``semantic`` the second is Ultralytics'."""

_SLACK = 1.01  # of a coordinate that rounding has put just outside the image


def recognise(path: Path) -> bool:
    """Accept a YAML file, or a folder with a data.yaml."""
    return path.suffix.lower() in SUFFIXES if path.is_file() else (path / "data.yaml").is_file()


def open_dataset(
    path: Path,
    split: str,
    *,
    task: str,
    labels: Sequence[str] = (),
    images: Path | None = None,
) -> Dataset:
    """Read one split; see `edgecv.dataset.Reader`. The file's own class names are used.

    Raises:
        DatasetError: the file is broken, has no such split, or no label belongs to its images.
        DependencyMissingError: PyYAML is not installed.
    """
    del labels, images  # the file says both
    layout = data_yaml.read(path if path.is_file() else path / "data.yaml")
    if task in MAP_KEYS:
        return _with_maps(layout, split, task)
    if "masks" in layout.fields and "labels" not in layout.fields:
        raise DatasetError(
            "the data are class maps, not boxes",
            where=f"{layout.file}: masks",
            expected=f"labels for the task {task}",
        )
    if task == "pose" and (not layout.kpt_shape[0] or layout.kpt_shape[1] not in (2, 3)):
        raise DatasetError(
            "the data have no keypoints",
            where=f"{layout.file}: kpt_shape",
            expected="[keypoints of an object, 2 or 3 numbers of each]",
            got=data_yaml.show(layout.fields.get("kpt_shape")),
        )
    key = data_yaml.folder_of(layout.file, layout.fields, "labels")
    samples: list[Sample] = []
    problems: list[Problem] = []
    folders: dict[Path, Path] = {}
    seen: set[Path] = set()
    for image, listed in data_yaml.images(layout, split):
        if listed and not image.is_file():
            problems.append(Problem(str(image), "no such image", image=True))
            continue
        if image.parent not in folders:
            folders[image.parent] = _label_folder(image.parent, layout.root, key)
        label = folders[image.parent] / f"{image.stem}.txt"
        if label.is_file():
            seen.add(label)
            truth = _read_label(label, layout, task, problems)
        else:
            truth = _truth(task, layout, [], [], [])
        samples.append(Sample(image, truth))
    if samples and not seen:
        raise DatasetError(
            "no image has a label file",
            where=str(layout.file),
            expected=f"files such as {folders[samples[0].image.parent]}/*.txt",
            remedy="name the folder of the labels with a key `labels:`",
        )
    if not any(listed for _, listed in data_yaml.entries(layout, split)):
        problems += _without_image(folders, seen)
    return _dataset(layout, split, task, samples, problems)


def _dataset(
    layout: DataYaml, split: str, task: str, samples: list[Sample], problems: list[Problem]
) -> Dataset:
    name = layout.file.stem if layout.file.stem != "data" else layout.file.parent.name
    return Dataset(name, layout.root, split, task, layout.names, tuple(samples), tuple(problems))


def _with_maps(layout: DataYaml, split: str, task: str) -> Dataset:
    """Read a split whose truths are maps; an image without one is left out, and said."""
    keys = [key for key in MAP_KEYS[task] if layout.fields.get(key)]
    folder = data_yaml.folder_of(layout.file, layout.fields, keys[0]) if keys else None
    if folder is None and task == "depth":
        folder = "depth"
    if folder is None:
        raise DatasetError(
            "no folder of class maps is named",
            where=str(layout.file),
            expected=f"a key {' or '.join(MAP_KEYS[task])}",
        )
    found = map_samples(
        (image for image, _ in data_yaml.images(layout, split)),
        lambda image: _label_folder(image.parent, layout.root, folder),
        task,
        num_classes=layout.num_classes,
        depth_scale=layout.fields.get("depth_scale"),
        where=str(layout.file),
    )
    return _dataset(layout, split, task, *found)


def list_images(path: Path, split: str) -> list[Path]:
    """List the images of a split in a fixed order, whether they have labels or not.

    Raises:
        DatasetError: the data.yaml or the split cannot be read.
    """
    file = path if path.is_file() else path / "data.yaml"
    return [image for image, _ in data_yaml.images(data_yaml.read(file), split)]


def _label_folder(images: Path, root: Path, key: str | None) -> Path:
    """Find the folder of the labels that belong to a folder of images."""
    parts = images.parts
    at = len(parts) - 1 - parts[::-1].index("images") if "images" in parts else None
    if key is None:
        return images if at is None else Path(*parts[:at], "labels", *parts[at + 1 :])
    mirrored = (root / key).joinpath(*(parts[at + 1 :] if at is not None else ()))
    return mirrored if mirrored.is_dir() else root / key


def _read_label(file: Path, layout: DataYaml, task: str, problems: list[Problem]) -> Truth:
    """Read one label file; lines that are broken or mark nothing are reported and left out."""
    boxes, classes, shapes = [], [], []
    for number, line in enumerate(read_text(file, data_yaml.TEXT_BYTES).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id, box = _parse(fields, layout)
            shape = _shape(task, fields, layout)
        except ValueError as error:
            problems.append(Problem(f"{file}:{number}", str(error)))
            continue
        boxes.append(box)
        classes.append(class_id)
        shapes.append(shape)
    return _truth(task, layout, boxes, classes, shapes)


_OUTLINES: Mapping[str, Callable[[Sequence[str]], Any]] = {"segment": polygon_of, "obb": corners_of}


def _shape(task: str, fields: Sequence[str], layout: DataYaml) -> Any:
    """Read what a task wants of a label line beside its box."""
    if task == "pose":
        return read_keypoints(fields[5:], layout.kpt_shape)
    return _OUTLINES[task](fields[1:]) if task in _OUTLINES else None


def _truth(
    task: str,
    layout: DataYaml,
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    shapes: Sequence[Any],
) -> Truth:
    """Make the truth of an image, of the kind that the task asks for."""
    truth = BoxTruth.from_rows(boxes, classes, normalised=True)
    if task == "segment":
        return with_outlines(truth, shapes)
    if task == "obb":
        corners = np.array(shapes, np.float32).reshape(-1, 4, 2)
        return RotatedTruth(corners, truth.class_id, normalised=True)
    if task == "pose":
        points = np.array(shapes, np.float32).reshape(len(boxes), layout.kpt_shape[0], 3)
        return PoseTruth.from_boxes(truth, points)
    return truth


def _parse(fields: Sequence[str], layout: DataYaml) -> tuple[int, tuple[float, ...]]:
    """Read a label line into (class id, xyxy); a ValueError says what is wrong with it."""
    try:
        first, *values = (float(text) for text in fields)
    except ValueError:
        raise ValueError("broken label line: not all values are numbers") from None
    if not (first.is_integer() and 0 <= first < layout.num_classes):
        raise ValueError(f"broken label line: class {fields[0]} of {layout.num_classes}")
    if not all(0 <= value <= _SLACK for value in values[: 4 if layout.keypoint_values else None]):
        raise ValueError("broken label line: a coordinate outside 0 to 1")
    if len(values) in (4, 4 + layout.keypoint_values):
        cx, cy, w, h = values[:4]
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        x, y = values[::2], values[1::2]
        box = (min(x), min(y), max(x), max(y))
    else:
        raise ValueError(f"broken label line: {len(fields)} values fit neither box nor polygon")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError("a box without area")
    return int(first), box


def _without_image(folders: Mapping[Path, Path], seen: set[Path]) -> list[Problem]:
    """Report the label files that belong to no image of the folders that were read."""
    found = []
    for folder in sorted(set(folders.values()) - set(folders)):
        for file in sorted(folder.glob("*.txt")):
            if file not in seen and file.name != "classes.txt":
                found.append(Problem(str(file), "labels without image", image=True))
    return found
