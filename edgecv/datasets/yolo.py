"""YOLO labels under a data.yaml, as Ultralytics' documentation describes them.

The file names ``path`` (here always relative to the file's own folder), ``train``, ``val``,
``test`` (a folder, a list of folders, or a .txt list of images), ``names`` and ``nc``. The labels
of ``.../images/x/1.jpg`` are ``.../labels/x/1.txt``; a key ``labels:`` names another folder than
``labels``. A label line is ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...`` (a polygon: an
object's outline, or the four corners of an oriented box; for detection its bounding box counts),
in parts of the image. An image without a label file is background. Pose data add ``x y`` or
``x y visibility`` of each keypoint behind the box; ``kpt_shape`` says how many there are, and how
many numbers each has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.dataset import Dataset, Problem, Sample, read_text, split_names
from edgecv.errors import DatasetError, DependencyMissingError
from edgecv.image_files import walk_images
from edgecv.mask_truth import RotatedTruth
from edgecv.outline_labels import corners_of, polygon_of, with_outlines
from edgecv.pose_labels import read_keypoints
from edgecv.truth import BoxTruth, PoseTruth, Truth

TASKS = ("detect", "segment", "pose", "obb")
SUFFIXES = (".yaml", ".yml")

_YAML_BYTES = 4 << 20
_TEXT_BYTES = 64 << 20
_SLACK = 1.01  # of a coordinate that rounding has put just outside the image
_NOTHING = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class _Layout:
    """What a data.yaml says."""

    file: Path
    root: Path
    fields: Mapping[str, Any]
    names: tuple[str, ...]
    num_classes: int
    kpt_shape: tuple[int, int]

    @property
    def keypoint_values(self) -> int:
        """Numbers behind the box of a pose label; 0 where there are no keypoints."""
        return self.kpt_shape[0] * self.kpt_shape[1]


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
    layout = _read_layout(path if path.is_file() else path / "data.yaml")
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
            got=_show(layout.fields.get("kpt_shape")),
        )
    key = _folder(layout.file, layout.fields, "labels")
    samples: list[Sample] = []
    problems: list[Problem] = []
    folders: dict[Path, Path] = {}
    seen: set[Path] = set()
    for image, listed in _images(layout, split):
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
    if not any(listed for _, listed in _entries(layout, split)):
        problems += _without_image(folders, seen)
    return Dataset(
        layout.file.stem if layout.file.stem != "data" else layout.file.parent.name,
        layout.root,
        split,
        task,
        layout.names,
        tuple(samples),
        tuple(problems),
    )


def list_images(path: Path, split: str) -> list[Path]:
    """List the images of a split in a fixed order, whether they have labels or not.

    Raises:
        DatasetError: the data.yaml or the split cannot be read.
    """
    file = path if path.is_file() else path / "data.yaml"
    return [image for image, _ in _images(_read_layout(file), split)]


def _read_layout(file: Path) -> _Layout:
    fields = _load_yaml(file)
    names = _names(file, fields.get("names"))
    nc = fields.get("nc")
    if nc is not None and (not isinstance(nc, str) or not nc.isdecimal()):
        raise DatasetError("", where=f"{file}: nc", expected="a number of classes", got=_show(nc))
    if nc is not None and names and int(nc) != len(names):
        raise DatasetError(
            "names and nc disagree", where=str(file), got=f"{len(names)} names and nc {int(nc)}"
        )
    if not names and nc is None:
        raise DatasetError("", where=str(file), expected="names (or nc)", got="neither")
    shape = fields.get("kpt_shape")
    points = (0, 0)
    if isinstance(shape, list) and len(shape) == 2 and all(str(n).isdecimal() for n in shape):
        points = (int(shape[0]), int(shape[1]))
    root = file.parent / (_folder(file, fields, "path") or "")
    return _Layout(file, root, fields, names, len(names) or int(nc or 0), points)


def _load_yaml(file: Path) -> dict[str, Any]:
    """Read a mapping; every scalar stays text, so that a class may be called ``no`` or ``1.0``."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise DependencyMissingError(
            "PyYAML is not installed", where=str(file), remedy="pip install 'edgecv[eval]'"
        ) from error
    text = read_text(file, _YAML_BYTES)
    try:
        # BaseLoader makes nothing but str, list and dict, and expands no merge keys.
        fields = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError("not valid YAML", where=str(file), got=reason[:300]) from error
    if not isinstance(fields, dict):
        raise DatasetError(
            "", where=str(file), expected="a mapping with names and val", got=_show(fields)
        )
    return fields


def _names(file: Path, names: Any) -> tuple[str, ...]:
    if names is None:
        return ()
    where = f"{file}: names"
    if isinstance(names, dict):
        keys = [int(key) for key in names if isinstance(key, str) and key.isdecimal()]
        if len(keys) != len(names) or sorted(keys) != list(range(len(keys))):
            raise DatasetError("", where=where, expected="class ids 0, 1, 2 ... without a gap")
        by_id = dict(zip(keys, names.values(), strict=True))
        names = [by_id[i] for i in range(len(by_id))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError("", where=where, expected="a list of names, or a mapping of id to name")
    return tuple(name.strip() for name in names)


def _show(value: Any) -> str:
    return repr(value[:80]) if isinstance(value, str) else type(value).__name__


def _folder(file: Path, fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is None or value in _NOTHING:
        return None
    if not isinstance(value, str):
        raise DatasetError("", where=f"{file}: {key}", expected="a folder", got=_show(value))
    return value


def _entries(layout: _Layout, split: str) -> list[tuple[Path, bool]]:
    """List what a split names, each with whether it is a list of images."""
    nothing = (None, *_NOTHING)
    present = [name for name in split_names(split) if layout.fields.get(name) not in nothing]
    if not present:
        known = [name for name in ("train", "val", "test") if layout.fields.get(name)]
        raise DatasetError(
            f"no split {split!r}",
            where=str(layout.file),
            expected=f"one of {', '.join(known)}" if known else "a key train, val or test",
        )
    value = layout.fields[present[0]]
    entries = value if isinstance(value, list) else [value]
    found = []
    for entry in entries:
        where = f"{layout.file}: {present[0]}"
        if not isinstance(entry, str):
            raise DatasetError("", where=where, expected="a folder or a .txt", got=_show(entry))
        path = layout.root / entry
        if not path.exists() and entry.startswith("../"):
            # Roboflow's exports count from a folder below the file; Ultralytics forgives it.
            path = layout.root / entry[3:]
        if not path.exists():
            raise DatasetError(
                "no such folder or list of images",
                where=where,
                got=str(path),
                remedy="`path` counts from the folder of the YAML file",
            )
        found.append((path, path.is_file()))
    return found


def _images(layout: _Layout, split: str) -> Iterator[tuple[Path, bool]]:
    """Yield the images of a split, each once, with whether a list names it."""
    seen: set[str] = set()
    for path, is_list in _entries(layout, split):
        for image in _listed(path, layout.root) if is_list else walk_images(path):
            name = os.path.normpath(image)
            if name not in seen:
                seen.add(name)
                yield Path(name), is_list


def _listed(file: Path, root: Path) -> Iterator[Path]:
    for line in read_text(file, _TEXT_BYTES).splitlines():
        name = line.strip()
        if name:
            path = file.parent / name
            yield path if path.exists() else root / name


def _label_folder(images: Path, root: Path, key: str | None) -> Path:
    """Find the folder of the labels that belong to a folder of images."""
    parts = images.parts
    at = len(parts) - 1 - parts[::-1].index("images") if "images" in parts else None
    if key is None:
        return images if at is None else Path(*parts[:at], "labels", *parts[at + 1 :])
    mirrored = (root / key).joinpath(*(parts[at + 1 :] if at is not None else ()))
    return mirrored if mirrored.is_dir() else root / key


def _read_label(file: Path, layout: _Layout, task: str, problems: list[Problem]) -> Truth:
    """Read one label file; lines that are broken or mark nothing are reported and left out."""
    boxes, classes, shapes = [], [], []
    for number, line in enumerate(read_text(file, _TEXT_BYTES).splitlines(), 1):
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


def _shape(task: str, fields: Sequence[str], layout: _Layout) -> Any:
    """Read what a task wants of a label line beside its box."""
    if task == "pose":
        return read_keypoints(fields[5:], layout.kpt_shape)
    return _OUTLINES[task](fields[1:]) if task in _OUTLINES else None


def _truth(
    task: str,
    layout: _Layout,
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


def _parse(fields: Sequence[str], layout: _Layout) -> tuple[int, tuple[float, ...]]:
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
