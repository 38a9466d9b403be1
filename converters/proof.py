"""Prove that the float file of every format computes what the source does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgecv.converters.artifact import Format
from edgecv.converters.calibration import CalibrationSet
from edgecv.converters.candidate import Candidate
from edgecv.converters.flavour import Flavour, Graph
from edgecv.converters.graphs import Graphs
from edgecv.converters.parity import (
    Agreement,
    Parity,
    check_float,
    parity,
    result_agreement,
)
from edgecv.dataset import Dataset
from edgecv.errors import EdgecvError
from edgecv.manifest import HeadSpec, Input

_IMAGES = 8
MADE_UP = "made-up images"


def prove(
    graphs: Graphs,
    formats: Sequence[Format],
    spec: Input,
    head: HeadSpec | None,
    images: CalibrationSet | None,
    *,
    fused: bool,
) -> list[tuple[str, Parity]]:
    """Compare each float file with the first graph, output by output.

    Args:
        graphs: makes the files.
        formats: to compare.
        spec: how pixels are prepared.
        head: that decodes the outputs, None where none is known; with it, scores are looked at
            apart from boxes.
        images: to compare on; None makes some up.
        fused: compare the graphs that prepare their own pixels as well.

    Returns:
        What was compared, such as ``tflite, fused``, with what was found.

    Raises:
        ParityError: a file does not compute what the source does.
        ConversionError: a plain file cannot be made.
    """
    chosen = images or made_up(graphs.workspace.folder("pictures"), spec.size_hw)
    flavours: list[Graph] = ["plain", "fused"] if fused and graphs.has_onnx else ["plain"]
    found: list[tuple[str, Parity]] = []
    for name in formats:
        for graph in flavours:
            step = f"{name}, {graph}"
            try:
                made = graphs.get(Flavour(name, graph))
            except EdgecvError:
                if graph == "plain":
                    raise
                continue  # the ladder says why there is none
            if made is graphs.first:
                continue
            result = parity(graphs.first, made, chosen, spec, head=head)
            check_float(result, where=step)
            found.append((step, result))
    return found


def prove_results(
    reference: Candidate, others: Sequence[Candidate], images: Sequence[Path]
) -> list[tuple[str, Agreement]]:
    """Compare what float files find with what the first one finds, decoded, on a few images.

    Args:
        reference: the first file.
        others: of the same model.
        images: at most `_IMAGES` of them are used.

    Returns:
        Candidate's id -> how far its results are off.
    """
    found: list[tuple[str, Agreement]] = []
    with reference.open() as model:
        for other in others:
            with other.open() as compared:
                result = result_agreement(model, compared, images[:_IMAGES])
            found.append((other.id, result))
    return found


def images_of(calibration: CalibrationSet | None, data: Dataset | None) -> CalibrationSet | None:
    """Take real images where there are any."""
    if calibration is not None or data is None:
        return calibration
    return CalibrationSet.of([sample.image for sample in data.samples[:_IMAGES]], data.name)


def made_up(folder: Path, size_hw: tuple[int, int]) -> CalibrationSet:
    """Paint coloured blobs on gradients: nothing real, but no two alike, and nothing grey.

    Args:
        folder: where the pictures are written.
        size_hw: (height, width) of each.
    """
    height, width = size_hw
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    paths: list[Path] = []
    for i in range(_IMAGES):
        planes = []
        for _ in range(3):
            a, b = random.uniform(-1, 1, 2)
            plane = 128 + 90 * (a * x / width + b * y / height)
            for _ in range(4):
                cx, cy = random.uniform(0, 1, 2) * (width, height)
                radius = random.uniform(0.05, 0.3) * min(width, height)
                blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius**2))
                plane += random.uniform(-120, 120) * blob
            planes.append(plane)
        pixels = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), pixels)
    return CalibrationSet.of(paths, MADE_UP)
