"""Pascal VOC XML: ``Annotations/``, ``JPEGImages/`` and ``ImageSets/Main/<split>.txt``.

Box coordinates are taken as edges, as today's annotation tools write them (LabelImg, CVAT); the
original challenge counted pixels from 1 and inclusively, which differs by at most one pixel. An
object marked ``difficult`` is a region in which detections are neither right nor wrong, as in the
challenge's own evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecv.dataset import Dataset, Problem, Sample, read_text, split_names
from edgecv.errors import DatasetError
from edgecv.image_files import is_image
from edgecv.truth import BoxTruth

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TASKS = ("detect",)

_XML_BYTES = 16 << 20
_TEXT_BYTES = 64 << 20
_FAR = 1e9  # no coordinate is larger; false for nan
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Object:
    name: str
    xyxy: tuple[float, ...]
    difficult: bool


def recognise(path: Path) -> bool:
    """Accept a folder with ``Annotations/`` of XML files, or with one sub-folder that has them."""
    return path.is_dir() and _root(path) is not None


def open_dataset(
    path: Path,
    split: str,
    *,
    task: str,
    labels: Sequence[str] = (),
    images: Path | None = None,
) -> Dataset:
    """Read one split; see `edgecv.dataset.Reader`.

    Without `labels` the classes are the names that occur in all annotations of the folder, sorted:
    the same for every split.

    Raises:
        DatasetError: no such split, a broken annotation, or an object that is none of the labels.
    """
    root = _root(path)
    if root is None:
        raise DatasetError("", where=str(path), expected="a folder with Annotations/*.xml")
    folder = images or root / "JPEGImages"
    files = {file.stem: file for file in sorted((root / "Annotations").glob("*.xml"))}
    split, stems = _stems(root, split, files)
    problems: list[Problem] = []
    # Class names come from all annotations, boxes and complaints only from those of the split.
    wanted = set(stems)
    trees = {s: _read_xml(f) for s, f in files.items() if not labels or s in wanted}
    names = tuple(labels) or tuple(
        sorted({_text(o, "name") for tree in trees.values() for o in tree.iterfind("object")})
    )
    pictures = {p.stem: p for p in sorted(folder.glob("*")) if is_image(p.name)}
    samples = []
    for stem in stems:
        image = pictures.get(stem)
        if image is None:
            problems.append(Problem(str(folder / stem), "no such image", image=True))
        elif stem not in trees:
            where = str(root / "Annotations" / f"{stem}.xml")
            problems.append(Problem(where, "no annotation of this image", image=True))
        else:
            objects = _objects(trees[stem], files[stem], problems)
            truth = _truth(objects, names, files[stem])
            samples.append(Sample(image, truth, _size(trees[stem])))
    return Dataset(root.name, root, split, task, names, tuple(samples), tuple(problems))


def _root(path: Path) -> Path | None:
    """Find the folder that holds ``Annotations/``: the path, or the one sub-folder that does."""
    candidates = [path, *(f for f in sorted(path.iterdir()) if f.is_dir())] if path.is_dir() else []
    fits = [f for f in candidates if next((f / "Annotations").glob("*.xml"), None) is not None]
    return fits[0] if len(fits) == 1 or (fits and fits[0] == path) else None


def _stems(root: Path, split: str, files: dict[str, Path]) -> tuple[str, list[str]]:
    """List the images of a split by name without suffix; all where nothing is divided."""
    folder = root / "ImageSets" / "Main"
    if not folder.is_dir():
        return "all", list(files)
    for name in split_names(split):
        file = folder / f"{name}.txt"
        if file.is_file():
            lines = read_text(file, _TEXT_BYTES).splitlines()
            # A file of one class has a second column, which tells whether the class occurs.
            return split, list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    known = ", ".join(file.stem for file in sorted(folder.glob("*.txt"))[:8])
    raise DatasetError(f"no split {split!r}", where=str(folder), expected=f"one of {known}")


def _read_xml(file: Path) -> Element:
    """Parse an annotation; a document type or an entity, which could blow it up, is refused."""
    from xml.etree import ElementTree

    text = read_text(file, _XML_BYTES)
    # Text is handed to the parser, so the declared encoding cannot make it see anything else than
    # what is searched here.
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise DatasetError("a document type or an entity in an annotation", where=str(file))
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError("not valid XML", where=str(file), got=str(error)) from error


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _size(tree: Element) -> tuple[int, int] | None:
    height, width = _text(tree, "size/height"), _text(tree, "size/width")
    if height.isdecimal() and width.isdecimal() and int(height) and int(width):
        return int(height), int(width)
    return None  # some tools write 0


def _objects(tree: Element, file: Path, problems: list[Problem]) -> list[_Object]:
    """Read the usable objects of one annotation; report the others."""
    found = []
    for number, element in enumerate(tree.iterfind("object")):
        where = f"{file}: object[{number}]"
        try:
            box = tuple(float(_text(element, f"bndbox/{side}")) for side in _SIDES)
        except ValueError:
            problems.append(Problem(where, "no bndbox of four numbers"))
            continue
        if not all(abs(value) < _FAR for value in box):
            problems.append(Problem(where, "no bndbox of four numbers"))
        elif box[2] <= box[0] or box[3] <= box[1]:
            problems.append(Problem(where, "a box without area"))
        else:
            difficult = _text(element, "difficult") not in ("", "0")
            found.append(_Object(_text(element, "name"), box, difficult))
    return found


def _truth(objects: Sequence[_Object], names: tuple[str, ...], file: Path) -> BoxTruth:
    ids = {name: i for i, name in enumerate(names)}
    unknown = sorted({o.name for o in objects} - ids.keys())
    if unknown:
        raise DatasetError(
            "an object that is no class of the labels",
            where=str(file),
            expected=f"one of {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}",
            got=repr(unknown[0]),
        )
    return BoxTruth.from_rows(
        [o.xyxy for o in objects],
        [ids[o.name] for o in objects],
        crowd=[o.difficult for o in objects],
    )
