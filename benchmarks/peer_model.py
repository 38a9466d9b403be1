"""The model of `peers.py`: a YOLO11n of Ultralytics with random weights, as two of its own exports.

Weights cannot be had offline, and speed does not depend on them but for the number of boxes: so the
last layers are scaled until they tell things apart, and the threshold and the images are chosen so
that each has 5 to 50 boxes. Run as a program, in an environment with ultralytics, this makes
the exports: ``python peer_model.py SIDE OPERATOR,... IMAGE...``
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAME = "yolo11n"
IOU = 0.7
"""The default of Ultralytics and of Model API."""
FEWEST, MOST = 5, 50
"""Boxes of an image."""
_SEED = 7
_SETTLING = 20


@dataclass(frozen=True, slots=True)
class PeerModel:
    """One network in the files that the peers read.

    Attributes:
        files: engine -> peer -> what that peer opens.
        confidence: threshold that leaves 5 to 50 boxes of each image.
        images: these images.
        sha256: of the ONNX file.
    """

    files: Mapping[str, Mapping[str, Path]]
    confidence: float
    images: Sequence[Path]
    sha256: str


def ready(
    exports: Path,
    scratch: Path,
    images: Sequence[Path],
    wanted: int,
    side: int,
    python: Path,
    operators: Sequence[str],
    variables: Mapping[str, str],
) -> PeerModel:
    """Make the exports, unless they are there, and from them what each peer opens.

    Args:
        exports: folder that keeps them.
        scratch: empty folder for bundles, and the copy with Model API's metadata.
        images: to choose from; the statistics of the first few settle the network.
        wanted: number of images.
        side: of the square input, a multiple of 32.
        python: interpreter with ultralytics.
        operators: of torchvision, that cannot be loaded there.
        variables: environment variables for it.
    """
    from edgecv.interchange import export_metadata
    from edgecv.packing import pack

    onnx = exports / f"{NAME}.onnx"
    folder = exports / f"{NAME}_openvino_model"
    if not (onnx.exists() and folder.exists()):
        exports.mkdir(parents=True, exist_ok=True)
        command = [python, Path(__file__).resolve(), side, ",".join(operators)]
        command += [image.resolve() for image in images[:_SETTLING]]
        done = subprocess.run(
            [*map(str, command)], env=variables, capture_output=True, text=True, cwd=exports
        )
        if done.returncode:
            sys.exit(f"no model: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    ir = folder / f"{NAME}.xml"
    bundles = {
        engine: pack([path], scratch / f"{engine}.edgecv", backends=[engine], trusted=True)
        for engine, path in (("onnxruntime", onnx), ("openvino", ir))
    }
    told = export_metadata(bundles["openvino"], "model_api", scratch / "model-api").path
    files = {
        "onnxruntime": {
            "edgecv": bundles["onnxruntime"], "hand-written": onnx, "ultralytics": onnx,
        },
        "openvino": {
            "edgecv": bundles["openvino"], "hand-written": ir, "ultralytics": folder,
            "model-api": told,
        },
    }  # fmt: skip
    sha256 = hashlib.sha256(onnx.read_bytes()).hexdigest()
    return PeerModel(files, *fitting(onnx, images, wanted), sha256)


def fitting(model: Path, images: Sequence[Path], wanted: int) -> tuple[float, list[Path]]:
    """Find a threshold, and so many images in which it leaves some boxes and not too many.

    Suppression goes from the best box down, so a threshold cuts its result like its candidates.
    """
    import edgecv

    with edgecv.load(model, confidence=0.001, iou=IOU, trusted=True) as opened:
        scores = [opened(image).detections.score for image in images]
    confidence, chosen = choose(scores, wanted)
    return confidence, [images[i] for i in chosen]


def choose(scores: Sequence[np.ndarray], wanted: int) -> tuple[float, list[int]]:
    """Choose a threshold and images; see `fitting`.

    Engines differ in the last digits: a threshold between two scores that are close together would
    make them differ in the number of boxes. So it lies in the widest gap nearby.

    Args:
        scores: of each image, from high to low.
        wanted: number of images.

    Raises:
        ValueError: there are not so many with `FEWEST` to `MOST` boxes.
    """
    typical = [float(one[FEWEST * 4 - 1]) for one in scores if len(one) >= FEWEST * 4]
    best: list[int] = []
    threshold = 0.0
    for one in typical:
        counts = [int(np.count_nonzero(s >= one)) for s in scores]
        fit = [i for i, count in enumerate(counts) if FEWEST < count < MOST]
        if len(fit) > len(best):
            best, threshold = fit, one
    if len(best) < wanted:
        raise ValueError(f"{len(best)} of {len(scores)} images have {FEWEST} to {MOST} boxes")
    best = best[:wanted]
    ordered = np.sort(np.concatenate([scores[i] for i in best])).astype(np.float64)
    place = int(np.searchsorted(ordered, threshold))
    first, last = max(0, place - wanted), min(len(ordered) - 1, place + wanted)
    widest = first + int(np.argmax(np.diff(ordered[first : last + 1])))
    return float((ordered[widest] + ordered[widest + 1]) / 2), best


def spread_outputs(
    net: Any, pixels: Any, mean: float, deviation: float = 2.0, *, is_detr: bool = False
) -> None:
    """Let random layers pass their signals on, and the last ones tell things apart.

    Logits of the 80 classes get this mean and deviation, distances of box sides (4 or 64 channels;
    none in DETR) mean 3 and deviation 0.7, so that no box ends before it begins.

    Args:
        net: a detector, a ``torch.nn.Module``; changed in place.
        pixels: (N, 3, side, side) tensor in 0-1, N at least 2; the statistics of it are taken.
        mean: of the logits; the higher, the more boxes.
        deviation: of the logits; where it is large, the best scores are all 1.
        is_detr: it tells boxes by themselves, not by distances.
    """
    import torch

    net.eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.train()
            layer.momentum = 1.0
    wanted = {80: (mean, deviation)}
    if not is_detr:
        wanted |= {4: (3.0, 0.7), 64: (3.0, 0.7)}
    with torch.no_grad():
        net(pixels)
    last = {
        layer: wanted[size]
        for layer in net.eval().modules()
        if getattr(layer, "bias", None) is not None
        and (size := getattr(layer, "out_channels", getattr(layer, "out_features", 0))) in wanted
    }
    seen: dict[Any, Any] = {}
    hooks = [layer.register_forward_hook(lambda m, i, o: seen.__setitem__(m, o)) for layer in last]
    with torch.no_grad():
        net(pixels)
        for layer, output in seen.items():
            middle, spread = last[layer]
            factor = spread / output.std()
            layer.weight.mul_(factor)
            layer.bias.copy_((layer.bias - output.mean()) * factor + middle)
    for hook in hooks:
        hook.remove()


def main() -> None:
    """Export into the working folder, in an environment with ultralytics."""
    side, operators, *images = sys.argv[1:]
    import cv2
    import torch
    from peer_worker import stand_in

    if operators:
        stand_in(operators.split(","))
    from ultralytics import YOLO

    torch.manual_seed(_SEED)
    model = YOLO(f"{NAME}.yaml")
    pixels = np.full((len(images), int(side), int(side), 3), 114, np.uint8)
    for canvas, path in zip(pixels, images, strict=True):
        # With a border as in use, or the statistics would not be those of use.
        image = cv2.imread(path)
        ratio = int(side) / max(image.shape[:2])
        image = cv2.resize(image, None, fx=ratio, fy=ratio)
        top, left = (int(side) - image.shape[0]) // 2, (int(side) - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    tensor = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2)))
    spread_outputs(model.model, tensor.float() / 255, mean=-7.0, deviation=0.8)
    for kind in ("onnx", "openvino"):
        options = {"opset": 17, "simplify": False} if kind == "onnx" else {}
        model.export(format=kind, imgsz=int(side), verbose=False, **options)


if __name__ == "__main__":
    main()
