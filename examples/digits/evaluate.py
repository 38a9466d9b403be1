"""Measure the ONNX file: mean average precision as COCO defines it, and the time of a call.

    python evaluate.py                  # the shipped images in val/
    python evaluate.py --generated 1000 # that many freshly rendered validation images

Boxes are float32 corners x1, y1, x2, y2, in pixels of the original image unless said otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
from dataset import CLASS_NAMES, Floats, Image, Scene, letterbox, load_glyphs, render

HERE: Final = Path(__file__).parent
IOU_LEVELS: Final = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS: Final = np.linspace(0.0, 1.0, 101)
MIN_SCORE: Final = 0.001
NMS_IOU: Final = 0.65
MAX_DETECTIONS: Final = 100
GENERATED_FIRST: Final = 10_000
"""Index of the first freshly rendered validation image, past all the shipped ones."""


class OnnxDetector:
    """The exported detector in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0]

    def run(self, tensor: Floats) -> Floats:
        """Run on float32 [1, 3, S, S], RGB 0..1; returns float32 [1, 14, A] (see model.py)."""
        output: Floats = self.session.run(None, {self.input.name: tensor})[0]
        return output

    def detect(self, image: Image) -> Floats:
        """Find digits in a uint8 RGB image [H, W, 3].

        Returns:
            float32 [K, 6], best first: x1, y1, x2, y2, score, class.
        """
        square, scale, (left, top) = letterbox(image, self.input.shape[2])
        tensor = square.transpose(2, 0, 1)[None].astype(np.float32) / 255.0
        rows = suppress(self.run(tensor)[0])
        rows[:, :4] = (rows[:, :4] - np.array((left, top, left, top), np.float32)) / scale
        rows[:, 0:4:2] = rows[:, 0:4:2].clip(0, image.shape[1])
        rows[:, 1:4:2] = rows[:, 1:4:2].clip(0, image.shape[0])
        return rows

    def milliseconds(self, repeats: int = 300) -> float:
        """Median time of one call of the network alone, in milliseconds."""
        tensor = np.random.default_rng(0).random(self.input.shape, np.float32)
        times = []
        for step in range(repeats + 20):
            start = time.perf_counter()
            self.run(tensor)
            if step >= 20:
                times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e3


def suppress(output: Floats) -> Floats:
    """Greedy non-maximum suppression within each class.

    Args:
        output: float32 [14, A]: cx, cy, w, h in input pixels, then the class scores.

    Returns:
        float32 [K, 6], best first: x1, y1, x2, y2 in input pixels, score, class.
    """
    classes, cells = np.nonzero(output[4:] > MIN_SCORE)
    scores = output[4:][classes, cells]
    order = np.argsort(-scores, kind="stable")
    classes, cells, scores = classes[order], cells[order], scores[order]
    centre, size = output[:2, cells].T, output[2:4, cells].T
    rows = np.column_stack((centre - size / 2, centre + size / 2, scores, classes))
    kept: list[int] = []
    alive = np.ones(len(rows), bool)
    for index in range(len(rows)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == MAX_DETECTIONS:
            break
        rival = (rows[:, 5] == rows[index, 5]) & alive
        rival[: index + 1] = False
        alive[rival] = iou_matrix(rows[index : index + 1, :4], rows[rival, :4])[0] <= NMS_IOU
    return rows[kept].astype(np.float32)


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """Intersection over union, float [N, M], of boxes [N, 4] and [M, 4]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    intersection = (high - low).clip(0).prod(-1)
    size_a = (a[:, 2:4] - a[:, :2]).prod(-1)
    size_b = (b[:, 2:4] - b[:, :2]).prod(-1)
    overlap: Floats = intersection / (size_a[:, None] + size_b[None] - intersection + 1e-9)
    return overlap


def mean_average_precision(pairs: Iterable[tuple[Scene, Floats]]) -> tuple[float, float]:
    """COCO's mAP at IoU 0.50 and at 0.50:0.95, from scenes and their detections [K, 6]."""
    count = len(CLASS_NAMES)
    truths = np.zeros(count, np.int64)
    scores: list[list[Floats]] = [[] for _ in range(count)]
    hits: list[list[np.ndarray]] = [[] for _ in range(count)]
    for scene, found in pairs:
        for label in range(count):
            truth = scene.boxes[scene.labels == label]
            mine = found[found[:, 5] == label]
            truths[label] += len(truth)
            scores[label].append(mine[:, 4])
            hits[label].append(_match(iou_matrix(mine, truth)))
    precisions = [
        _average_precision(np.concatenate(scores[label]), np.concatenate(hits[label]), total)
        for label, total in enumerate(truths)
        if total
    ]
    table = np.stack(precisions)
    return float(table[:, 0].mean()), float(table.mean())


def _match(overlap: Floats) -> np.ndarray:
    """Match detections, best first, to free truths: bool [K, 10], one column per IoU level."""
    hit = np.zeros((overlap.shape[0], len(IOU_LEVELS)), bool)
    for column, level in enumerate(IOU_LEVELS):
        free = np.ones(overlap.shape[1], bool)
        for row in range(overlap.shape[0]):
            allowed = np.where(free, overlap[row], -1.0)
            best = int(allowed.argmax()) if allowed.size else -1
            if best >= 0 and allowed[best] >= level:
                hit[row, column] = True
                free[best] = False
    return hit


def _average_precision(scores: Floats, hit: np.ndarray, total: int) -> Floats:
    """Precision averaged over 101 recalls, float [10], one for each IoU level."""
    hit = hit[np.argsort(-scores, kind="stable")]
    true = hit.cumsum(0)
    precision = true / np.arange(1, len(hit) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], 0)[::-1]
    result = np.zeros(len(IOU_LEVELS), np.float32)
    for column in range(len(IOU_LEVELS)):
        index = np.searchsorted(true[:, column] / total, RECALL_LEVELS)
        padded = np.append(envelope[:, column], 0.0)
        result[column] = padded[index].mean()
    return result


def stored_scenes(root: Path, split: str) -> Iterator[Scene]:
    """Read back the images and YOLO labels of a folder, in order of name."""
    for path in sorted((root / split / "images").glob("*.jpg")):
        image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        text = (root / split / "labels" / f"{path.stem}.txt").read_text(encoding="utf-8")
        rows = np.array(text.split(), np.float32).reshape(-1, 5)
        size = np.array((image.shape[1], image.shape[0]), np.float32)
        centre, extent = rows[:, 1:3] * size, rows[:, 3:5] * size
        boxes = np.hstack((centre - extent / 2, centre + extent / 2))
        yield Scene(image.astype(np.uint8), boxes, rows[:, 0].astype(np.int64))


def evaluate(detector: OnnxDetector, scenes: Iterable[Scene]) -> tuple[float, float]:
    """Return mAP50 and mAP50-95 of a detector on scenes."""
    return mean_average_precision((scene, detector.detect(scene.image)) for scene in scenes)


def report(root: Path, generated: int, seed: int) -> tuple[float, float]:
    """Print the figures of ``root / "digits.onnx"``; returns mAP50 and mAP50-95 on val/."""
    detector = OnnxDetector(root / "digits.onnx")
    shipped = evaluate(detector, stored_scenes(root, "val"))
    print(f"val/ (shipped): mAP50 {shipped[0]:.4f}  mAP50-95 {shipped[1]:.4f}")
    if generated:
        glyphs = load_glyphs()
        fresh = (render(glyphs, seed, "val", GENERATED_FIRST + i) for i in range(generated))
        larger = evaluate(detector, fresh)
        print(f"{generated} rendered: mAP50 {larger[0]:.4f}  mAP50-95 {larger[1]:.4f}")
    print(f"one call, 2 threads: {detector.milliseconds():.2f} ms (median)")
    return shipped


def main() -> None:
    """Parse the command line and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=HERE, help="folder with digits.onnx and val/")
    parser.add_argument("--generated", type=int, default=0, help="also this many fresh images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report(args.root, args.generated, args.seed)


if __name__ == "__main__":
    main()
