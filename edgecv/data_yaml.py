"""What a data.yaml in Ultralytics' format says: folders, class names, and the images of a split.

Every scalar is read as text, so that a class may be called ``no`` or ``1.0``; no merge keys are
expanded and nothing but text, lists and mappings is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.dataset import read_text, split_names
from edgecv.errors import DatasetError, DependencyMissingError
from edgecv.image_files import walk_images

_YAML_BYTES = 4 << 20
TEXT_BYTES = 64 << 20
"""The largest list of images, or file of labels, that is read."""
_NOTHING = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class DataYaml:
    """What a data.yaml says.

    Attributes:
        file: itself.
        root: folder that its paths count from.
        fields: everything it says, as text, lists and mappings.
        names: class names by class id; may be empty.
        num_classes: how many classes there are.
        kpt_shape: keypoints of an object, and numbers of each; (0, 0) where there are none.
    """

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


def read(file: Path) -> DataYaml:
    """Read a data.yaml.

    Raises:
        DatasetError: it is not valid, or contradicts itself.
        DependencyMissingError: PyYAML is not installed.
    """
    fields = _load_yaml(file)
    names = _names(file, fields.get("names"))
    nc = fields.get("nc")
    if nc is not None and (not isinstance(nc, str) or not nc.isdecimal()):
        raise DatasetError("", where=f"{file}: nc", expected="a number of classes", got=show(nc))
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
    root = file.parent / (folder_of(file, fields, "path") or "")
    return DataYaml(file, root, fields, names, len(names) or int(nc or 0), points)


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
            "", where=str(file), expected="a mapping with names and val", got=show(fields)
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


def show(value: Any) -> str:
    """Word a value for an error."""
    return repr(value[:80]) if isinstance(value, str) else type(value).__name__


def folder_of(file: Path, fields: Mapping[str, Any], key: str) -> str | None:
    """Return the folder that a key names; None where it names none.

    Raises:
        DatasetError: the value is no text.
    """
    value = fields.get(key)
    if value is None or value in _NOTHING:
        return None
    if not isinstance(value, str):
        raise DatasetError("", where=f"{file}: {key}", expected="a folder", got=show(value))
    return value


def entries(layout: DataYaml, split: str) -> list[tuple[Path, bool]]:
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
            raise DatasetError("", where=where, expected="a folder or a .txt", got=show(entry))
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


def images(layout: DataYaml, split: str) -> Iterator[tuple[Path, bool]]:
    """Yield the images of a split, each once, with whether a list names it."""
    seen: set[str] = set()
    for path, is_list in entries(layout, split):
        for image in _listed(path, layout.root) if is_list else walk_images(path):
            name = os.path.normpath(image)
            if name not in seen:
                seen.add(name)
                yield Path(name), is_list


def _listed(file: Path, root: Path) -> Iterator[Path]:
    for line in read_text(file, TEXT_BYTES).splitlines():
        name = line.strip()
        if name:
            path = file.parent / name
            yield path if path.exists() else root / name
