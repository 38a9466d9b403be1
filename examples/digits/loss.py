"""Training loss: task-aligned assignment, binary cross-entropy and complete IoU.

* Assignment follows TOOD (Feng et al., "TOOD: Task-aligned One-stage Object Detection", ICCV
  2021): each object takes the cells whose own prediction fits it best, by
  ``score ** ALPHA * iou ** BETA``, and the class target is that fit, normalised, so that the
  score learns to tell how good the box is.
* The box loss is CIoU (Zheng et al., "Distance-IoU Loss", AAAI 2020, section "Complete IoU").

Boxes are float32 corners x1, y1, x2, y2 in pixels of the network input throughout.
B: images, M: most objects in an image (shorter lists are padded), A: cells, C: classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

ALPHA: Final = 0.5
BETA: Final = 6.0
TOP_K: Final = 8
"""Most cells that one object may take."""
BOX_GAIN: Final = 5.0
"""Weight of the box loss against the class loss."""
EPS: Final = 1e-7


@dataclass(frozen=True)
class Assignment:
    """Which cells stand for which object.

    scores: float32 [B, A, C] class targets 0..1; boxes: float32 [B, A, 4]; positive: bool [B, A].
    """

    scores: Tensor
    boxes: Tensor
    positive: Tensor


def detection_loss(
    boxes: Tensor, logits: Tensor, targets: Tensor, anchors: Tensor, strides: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the loss of a batch.

    Args:
        boxes: predicted boxes, [B, A, 4].
        logits: class logits, [B, A, C].
        targets: class and box of each object, [B, M, 5]; padding has the class -1.
        anchors: centres of the cells, [2, A], input pixels.
        strides: stride of each cell, [1, A], input pixels.

    Returns:
        The class and the box loss, both scalars, already weighted; their sum is the loss.
    """
    with torch.no_grad():
        found = assign(boxes.detach(), logits.detach().sigmoid(), targets, anchors, strides)
    total = found.scores.sum().clamp(min=1.0)
    class_loss = nn.functional.binary_cross_entropy_with_logits(
        logits, found.scores, reduction="sum"
    )
    weight = found.scores.sum(2)[found.positive]
    fit = complete_iou(boxes[found.positive], found.boxes[found.positive])
    box_loss = ((1.0 - fit) * weight).sum()
    return class_loss / total, BOX_GAIN * box_loss / total


def assign(
    boxes: Tensor, scores: Tensor, targets: Tensor, anchors: Tensor, strides: Tensor
) -> Assignment:
    """Assign cells to objects; arguments as for ``detection_loss``, scores after the sigmoid."""
    batch, cells, classes = scores.shape
    objects = targets.shape[1]
    if objects == 0:
        return Assignment(
            torch.zeros_like(scores),
            torch.zeros_like(boxes),
            torch.zeros(batch, cells, dtype=torch.bool, device=boxes.device),
        )
    real = targets[..., 0] >= 0
    labels = targets[..., 0].clamp(min=0).long()
    truth = targets[..., 1:]

    # A cell is a candidate if its centre is in the box, grown to one cell where it is thinner.
    centre = (truth[..., :2] + truth[..., 2:]) * 0.5
    half = (truth[..., 2:] - truth[..., :2]) * 0.5
    away = (anchors.T[None, None] - centre[:, :, None]).abs()
    reach = torch.maximum(half[:, :, None], strides.T[None, None] * 0.5)
    candidate = (away <= reach).all(-1) & real[..., None]  # [B, M, A]

    overlap = iou(truth[:, :, None], boxes[:, None]) * candidate  # [B, M, A]
    index = labels[..., None].expand(-1, -1, cells)
    score = scores.transpose(1, 2).gather(1, index)
    metric = score**ALPHA * overlap**BETA * candidate

    best, where = metric.topk(min(TOP_K, cells), dim=2)
    chosen = torch.zeros_like(candidate).scatter(2, where, best > 0)
    # A cell wanted by several objects goes to the one that it overlaps most.
    owner = (overlap * chosen).argmax(1)  # [B, A]
    chosen &= nn.functional.one_hot(owner, objects).transpose(1, 2).bool()
    positive = chosen.any(1)

    metric = metric * chosen
    peak = metric.amax(2, keepdim=True)
    fit = (overlap * chosen).amax(2, keepdim=True)
    quality = (metric / (peak + EPS**2) * fit).amax(1)  # [B, A]
    class_targets = nn.functional.one_hot(labels.gather(1, owner), classes) * quality[..., None]
    box_targets = truth.gather(1, owner[..., None].expand(-1, -1, 4))
    return Assignment(class_targets.to(scores.dtype), box_targets, positive)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of broadcastable boxes [..., 4], 0..1."""
    corner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    intersection = corner.clamp(min=0).prod(-1)
    size_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    size_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    return intersection / (size_a + size_b - intersection + EPS)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of paired boxes [N, 4] and [N, 4]: float32 [N], at most 1."""
    plain = iou(a, b)
    size_a = (a[:, 2:] - a[:, :2]).clamp(min=EPS)
    size_b = (b[:, 2:] - b[:, :2]).clamp(min=EPS)
    enclosing = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    diagonal = enclosing.square().sum(-1) + EPS
    offset = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) * 0.5).square().sum(-1)
    turn = torch.atan(size_a[:, 0] / size_a[:, 1]) - torch.atan(size_b[:, 0] / size_b[:, 1])
    shape = 4.0 / math.pi**2 * turn.square()
    with torch.no_grad():
        weight = shape / (1.0 - plain + shape + EPS)
    return plain - offset / diagonal - weight * shape
