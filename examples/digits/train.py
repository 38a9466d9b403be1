"""Train the digit detector on the CPU and write everything that this folder ships.

    python train.py                 # data, training, export and figures: about a quarter of an hour
    python train.py --steps 0       # only render val/, calib/, data.yaml and labels.txt

Needs the ``train`` extra of edgecv (torch, scikit-learn, onnx, onnxscript, onnxslim).
"""

from __future__ import annotations

import argparse
import copy
import math
import shutil
import time
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from dataset import CLASS_NAMES, Scene, Stream, letterbox, load_glyphs, render
from evaluate import HERE, report
from export import export_onnx
from loss import detection_loss
from model import INPUT_SIZE, DigitDetector
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SHIPPED: Final[dict[Stream, int]] = {"val": 64, "calib": 48}
"""Images written for each stream."""
JPEG_QUALITY: Final = 90
PEAK_RATE: Final = 3e-3
WEIGHT_DECAY: Final = 0.02
EMA_STEPS: Final = 150
"""Time constant of the running mean of the weights, in steps."""
DATA_YAML: Final = """\
# Handwritten digits on drawn backgrounds; see README.md.
path: .
train: calib/images
val: val/images
names:
"""


class TrainingImages(Dataset[tuple[Tensor, Tensor]]):
    """Freshly rendered training images: uint8 RGB [3, S, S] and targets float32 [M, 5].

    A target is class, x1, y1, x2, y2, in pixels of the network input. No image is seen twice.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.glyphs = load_glyphs()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        scene = render(self.glyphs, self.seed, "train", index)
        square, scale, (left, top) = letterbox(scene.image, INPUT_SIZE)
        boxes = scene.boxes * scale + np.array((left, top, left, top), np.float32)
        targets = np.column_stack((scene.labels, boxes)).astype(np.float32)
        pixels = np.ascontiguousarray(square.transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.from_numpy(targets)


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Batch samples: images uint8 [B, 3, S, S] and targets [B, M, 5] padded with the class -1."""
    images, targets = zip(*samples, strict=True)
    padded = nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=-1.0)
    return torch.stack(images), padded


def one_thread(_: int) -> None:
    """Keep a rendering process on one thread."""
    cv2.setNumThreads(1)


def learning_rate(step: int, steps: int) -> float:
    """Fraction of the peak rate: a short linear warm-up, then half a cosine down to 1 %."""
    warm = min(200, max(1, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, step: int) -> None:
    """Move the averaged weights and statistics towards the model's, more in the first steps."""
    share = 1.0 / min(step, EMA_STEPS)
    current = model.state_dict()
    for name, mean in averaged.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(current[name], share)
        else:
            mean.copy_(current[name])


def train(steps: int, batch: int, seed: int, threads: int) -> dict[str, Tensor]:
    """Train from scratch and return the state dict of the averaged weights (EMA)."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    model = DigitDetector().to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(model).eval()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=PEAK_RATE,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: learning_rate(s, steps))
    loader = DataLoader(
        TrainingImages(steps * batch, seed),
        batch_size=batch,
        num_workers=1,
        prefetch_factor=8,
        collate_fn=collate,
        worker_init_fn=one_thread,
        multiprocessing_context="spawn",  # a forked OpenCV can hang on its parent's threads
    )
    model.train()
    start, sums = time.perf_counter(), np.zeros(2)
    for step, (pixels, targets) in enumerate(loader, start=1):
        images = pixels.to(memory_format=torch.channels_last).float() / 255.0
        boxes, logits = model.decode(model(images))
        class_loss, box_loss = detection_loss(
            boxes, logits, targets, model.anchors, model.cell_strides
        )
        optimiser.zero_grad(set_to_none=True)
        (class_loss + box_loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        update_average(averaged, model, step)
        sums += (float(class_loss.detach()), float(box_loss.detach()))
        if step % 100 == 0:
            seconds = time.perf_counter() - start
            print(
                f"step {step}/{steps}  class {sums[0] / 100:.3f}  box {sums[1] / 100:.3f}  "
                f"{seconds:.0f} s",
                flush=True,
            )
            sums[:] = 0
    return {name: value.contiguous() for name, value in averaged.state_dict().items()}


def write_stream(root: Path, stream: Stream, count: int, seed: int) -> None:
    """Render ``count`` images of a stream to ``root/stream`` as JPEG with YOLO labels."""
    glyphs = load_glyphs()
    folders = [root / stream / kind for kind in ("images", "labels")]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for index in range(count):
        scene = render(glyphs, seed, stream, index)
        stem = f"{stream}_{index:03d}"
        bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
        path = folders[0] / f"{stem}.jpg"
        cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (folders[1] / f"{stem}.txt").write_text(yolo_labels(scene), encoding="utf-8")


def yolo_labels(scene: Scene) -> str:
    """YOLO text of a scene: class, then cx, cy, w, h as fractions of the image, one box a line."""
    height, width = scene.image.shape[:2]
    lines = []
    for label, (x1, y1, x2, y2) in zip(scene.labels, scene.boxes, strict=True):
        values = (
            (x1 + x2) / 2 / width,
            (y1 + y2) / 2 / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        )
        lines.append(f"{label} " + " ".join(f"{value:.6f}" for value in values) + "\n")
    return "".join(lines)


def write_data(root: Path, seed: int) -> None:
    """Write val/, calib/, data.yaml and labels.txt."""
    for stream, count in SHIPPED.items():
        write_stream(root, stream, count, seed)
    names = "".join(f'  {index}: "{name}"\n' for index, name in enumerate(CLASS_NAMES))
    (root / "data.yaml").write_text(DATA_YAML + names, encoding="utf-8")
    (root / "labels.txt").write_text("\n".join(CLASS_NAMES) + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line and run all the stages."""
    parser = argparse.ArgumentParser(description="Train the digit detector.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--steps", type=int, default=1300, help="0: only write the data")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; rendering takes another"
    )
    parser.add_argument("--generated", type=int, default=1000, help="fresh images to measure on")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write_data(args.out, args.seed)
    if args.steps <= 0:
        return
    start = time.perf_counter()
    state = train(args.steps, args.batch, args.seed, args.threads)
    print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    torch.save(state, args.out / "digits.pt")
    export_onnx(state, args.out / "digits.onnx")
    weights = sum(p.numel() for p in DigitDetector().parameters())
    size = (args.out / "digits.onnx").stat().st_size
    print(f"{weights} parameters, {size / 1e6:.2f} MB of ONNX")
    report(args.out, args.generated, args.seed)


if __name__ == "__main__":
    main()
