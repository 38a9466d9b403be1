"""Folders as MVTec AD has them: ``test/good/*``, ``test/<defect>/*``, ``ground_truth/<defect>/*``.

The mask of ``test/hole/001.png`` is ``ground_truth/hole/001_mask.png``, or ``001.png`` there; it is
above 0 where the defect is. What lies in ``good`` is normal. Source: the data set's own description
(Bergmann et al., *MVTec AD*, 2019); VisA and BTAD are published in the same layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecv.dataset import Dataset, Problem, Sample, split_names
from edgecv.errors import DatasetError
from edgecv.image_files import walk_images
from edgecv.map_files import SUFFIXES
from edgecv.map_truth import AnomalyTruth

TASKS = ("anomaly",)

_NORMAL = "good"
_MASKS = "ground_truth"


def recognise(path: Path) -> bool:
    """Accept a folder with ``ground_truth`` and ``test``."""
    return (path / _MASKS).is_dir() and (path / "test").is_dir()


def open_dataset(
    path: Path,
    split: str,
    *,
    task: str,
    labels: Sequence[str] = (),
    images: Path | None = None,
) -> Dataset:
    """Read one split; see `edgecv.dataset.Reader`. Where there is no ``val``, ``test`` is read.

    Raises:
        DatasetError: no such split, or a split without folders.
    """
    del labels
    root = path if images is None else images
    wanted = split_names(split)
    folder = next((root / name for name in wanted if (root / name).is_dir()), None)
    if folder is None and "val" in wanted:
        folder = root / "test"
    if folder is None or not folder.is_dir():
        found = sorted(
            item.name for item in root.iterdir() if item.is_dir() and item.name != _MASKS
        )
        raise DatasetError(
            f"no split {split!r}",
            where=str(root),
            expected=f"one of {', '.join(found)}" if found else "a folder test",
        )
    samples: list[Sample] = []
    problems: list[Problem] = []
    for kind in sorted(item for item in folder.iterdir() if item.is_dir()):
        for image in walk_images(kind):
            if kind.name == _NORMAL:
                samples.append(Sample(image, AnomalyTruth(False)))
                continue
            mask = _mask(path / _MASKS / kind.name, image.stem)
            if mask is None:
                problems.append(Problem(str(image), "no mask: its pixels do not count"))
            samples.append(Sample(image, AnomalyTruth(True, mask)))
    return Dataset(path.name, root, folder.name, task, (), tuple(samples), tuple(problems))


def _mask(folder: Path, stem: str) -> Path | None:
    names = (f"{stem}{end}{suffix}" for end in ("_mask", "") for suffix in SUFFIXES)
    return next((folder / name for name in names if (folder / name).is_file()), None)
