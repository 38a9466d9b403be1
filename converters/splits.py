"""Which images are used for what: calibration, the gate, and the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecv.converters.calibration import CalibrationSet, calibration_set
from edgecv.dataset import Dataset, open_dataset
from edgecv.describe import Description
from edgecv.errors import DatasetError


def gate_images(data: Path, split: str, description: Description) -> Dataset:
    """Open the labelled images that decide what is shipped.

    Raises:
        DatasetError: they cannot be read, or none has a label.
    """
    dataset = open_dataset(data, split, labels=description.labels, task=description.task)
    if not any(map(labelled, dataset.samples)):
        raise DatasetError(
            "no image of this split has a label, so no accuracy can be measured",
            where=f"{data}, split {split}",
            got=f"{len(dataset)} images without labels",
            remedy="name a split with labels: --split",
        )
    return dataset


def labelled(sample: Any) -> bool:
    """Tell whether something is to be found in an image."""
    return not hasattr(sample.truth, "__len__") or len(sample.truth) > 0


def calibration_images(
    path: Path | None, data: Path | None, limit: int | None, *, needed: bool
) -> CalibrationSet | None:
    """Open the images to calibrate on: the user's own, or the split ``train`` of the data.

    Raises:
        DatasetError: they cannot be read.
        ConversionError: there are too few of them.
    """
    chosen = path or data
    if chosen is None:
        return None
    try:
        return calibration_set(chosen, split="train", limit=limit)
    except DatasetError:
        if path is None and not needed:
            return None
        raise


def card_images(data: Path | None, split: str, description: Description) -> Dataset | None:
    """Open the test split, if the data have one with labels that did not decide anything."""
    if data is None or split == "test":
        return None
    try:
        test = open_dataset(data, "test", labels=description.labels, task=description.task)
    except DatasetError:
        return None
    return test if any(map(labelled, test.samples)) else None
