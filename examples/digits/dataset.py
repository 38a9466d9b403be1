"""Rendering of detection images from real handwritten digits.

The glyphs are the 1797 8x8 digits of scikit-learn's ``load_digits``. They are split once, by
glyph, into a training and a validation part, upscaled, warped and painted on drawn backgrounds.
Every image is a pure function of (seed, stream, index), so nothing needs to be stored to be
repeated. Images are uint8 RGB [H, W, 3]; boxes are float32 [N, 4], corners x1, y1, x2, y2 in
pixels of the image at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from backgrounds import draw_background
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Split = Literal["train", "val"]
Stream = Literal["train", "calib", "val"]

CLASS_NAMES: Final = tuple("0123456789")
SPLIT_SEED: Final = 20240501
VAL_FRACTION: Final = 0.2
STREAMS: Final[dict[Stream, tuple[int, Split]]] = {
    "train": (0, "train"),
    "calib": (1, "train"),
    "val": (2, "val"),
}
"""Each stream's number, which enters the random seed, and the glyphs that it draws from."""
SIZES: Final = (
    (240, 320),
    (320, 240),
    (256, 256),
    (200, 320),
    (216, 288),
    (300, 220),
    (180, 320),
    (224, 224),
)
"""Image sizes (height, width) before a random change of up to 8 %."""
INK_LEVEL: Final = 0.4
"""Opacity from which a pixel counts as ink when a box is measured."""
PAD_VALUE: Final = 114
"""Grey level of the letterbox padding."""


@dataclass(frozen=True)
class Glyphs:
    """One part of the digits: images float32 [N, 8, 8] 0..1, labels int64 [N], ids int64 [N]."""

    images: Floats
    labels: Ints
    ids: Ints


@dataclass(frozen=True)
class Scene:
    """A rendered image, uint8 RGB [H, W, 3], with its boxes [N, 4] in pixels and labels [N]."""

    image: Image
    boxes: Floats
    labels: Ints


def load_glyphs() -> dict[Split, Glyphs]:
    """Load the digits and split them by glyph, stratified by class, with a fixed seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    rng = np.random.default_rng(SPLIT_SEED)
    val_ids: list[int] = []
    for label in range(len(CLASS_NAMES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        val_ids.extend(members[: round(len(members) * VAL_FRACTION)].tolist())
    is_val = np.zeros(len(labels), bool)
    is_val[val_ids] = True
    parts: dict[Split, Glyphs] = {}
    for split, mask in (("train", ~is_val), ("val", is_val)):
        ids = np.flatnonzero(mask).astype(np.int64)
        parts[split] = Glyphs(images[ids], labels[ids], ids)
    assert_disjoint(parts["train"], parts["val"])
    return parts


def assert_disjoint(train: Glyphs, val: Glyphs) -> None:
    """Raise if a glyph is in both parts, by its index or by its pixels."""
    if set(train.ids.tolist()) & set(val.ids.tolist()):
        raise AssertionError("a digit sample is in both the training and the validation part")
    if {glyph.tobytes() for glyph in train.images} & {glyph.tobytes() for glyph in val.images}:
        raise AssertionError("two identical glyphs are on both sides of the split")


def render(glyphs: dict[Split, Glyphs], seed: int, stream: Stream, index: int) -> Scene:
    """Render image ``index`` of a stream; equal arguments give equal images."""
    number, split = STREAMS[stream]
    rng = np.random.default_rng((seed, number, index))
    part = glyphs[split]
    height, width = SIZES[rng.integers(len(SIZES))]
    zoom = rng.uniform(0.92, 1.08)
    height, width = round(height * zoom), round(width * zoom)
    canvas = draw_background(rng, height, width)
    boxes: list[list[int]] = []
    labels: list[int] = []
    if rng.random() > 0.03:
        if rng.random() < 0.35:
            _paint_row(canvas, rng, part, boxes, labels)
        for _ in range(int(rng.integers(1, 8))):
            _paint_single(canvas, rng, part, boxes, labels)
    return Scene(
        _degrade(canvas, rng),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
    )


def letterbox(image: Image, size: int) -> tuple[Image, float, tuple[int, int]]:
    """Fit an image into a square, centred on grey.

    Args:
        image: uint8 [H, W, 3].
        size: side of the square, in pixels.

    Returns:
        The uint8 [size, size, 3] image, the scale, and the (left, top) padding in pixels: a point
        of the image times the scale, plus the padding, is that point in the square.
    """
    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    new_width, new_height = round(width * scale), round(height * scale)
    if (new_width, new_height) != (width, height):
        image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left = round((size - new_width) / 2 - 0.1)
    top = round((size - new_height) / 2 - 0.1)
    square = np.full((size, size, 3), PAD_VALUE, np.uint8)
    square[top : top + new_height, left : left + new_width] = image
    return square, scale, (left, top)


def _paint_single(
    canvas: Floats,
    rng: np.random.Generator,
    part: Glyphs,
    boxes: list[list[int]],
    labels: list[int],
) -> None:
    """Paint one digit at a free place of the canvas, in place; gives up if there is none."""
    height = float(np.exp(rng.uniform(np.log(22), np.log(105))))
    index, alpha = _draw_glyph(rng, part, height, max_degrees=16.0)
    for _ in range(12):
        x = int(rng.integers(0, max(1, canvas.shape[1] - alpha.shape[1])))
        y = int(rng.integers(0, max(1, canvas.shape[0] - alpha.shape[0])))
        if _place(canvas, rng, alpha, (x, y), boxes, None):
            labels.append(int(part.labels[index]))
            return


def _paint_row(
    canvas: Floats,
    rng: np.random.Generator,
    part: Glyphs,
    boxes: list[list[int]],
    labels: list[int],
) -> None:
    """Paint two to six digits side by side, in place, as on a meter or a number plate."""
    height = float(rng.uniform(24, 60))
    drawn = [
        _draw_glyph(rng, part, height * rng.uniform(0.92, 1.08), max_degrees=5.0)
        for _ in range(int(rng.integers(2, 7)))
    ]
    gap = round(height * rng.uniform(0.05, 0.4))
    total = sum(alpha.shape[1] + gap for _, alpha in drawn) + gap
    tall = max(alpha.shape[0] for _, alpha in drawn)
    if total >= canvas.shape[1] or tall + 2 * gap >= canvas.shape[0]:
        return
    x = int(rng.integers(0, canvas.shape[1] - total))
    y = int(rng.integers(gap, canvas.shape[0] - tall - gap))
    ink = None
    if rng.random() < 0.6:  # a plate under the row
        plate = canvas[y - gap : y + tall + gap, x : x + total]
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        plate[:] = plate * 0.1 + colour * 0.9
    if rng.random() < 0.7:  # one ink for the whole row
        ink = _pick_ink(rng, canvas[y : y + tall, x : x + total].mean((0, 1)))
    x += gap
    for index, alpha in drawn:
        top = y + (tall - alpha.shape[0]) // 2
        if _place(canvas, rng, alpha, (x, top), boxes, ink):
            labels.append(int(part.labels[index]))
        x += alpha.shape[1] + gap


def _draw_glyph(
    rng: np.random.Generator, part: Glyphs, height: float, max_degrees: float
) -> tuple[int, Floats]:
    """Draw a random digit about ``height`` pixels tall.

    Returns:
        The index into ``part`` and the opacity, float32 [h, w] 0..1, cropped to the visible ink
        with a margin of one pixel.
    """
    label = int(rng.integers(len(CLASS_NAMES)))
    index = int(rng.choice(np.flatnonzero(part.labels == label)))
    grid = np.pad(part.images[index], 2)
    smooth = cv2.resize(grid, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 2.5)
    middle, softness = rng.uniform(0.32, 0.48), rng.uniform(0.12, 0.35)
    ink = np.clip((smooth - middle) / softness + 0.5, 0, 1).astype(np.float32)
    rows, cols = np.flatnonzero(ink.max(1) > INK_LEVEL), np.flatnonzero(ink.max(0) > INK_LEVEL)
    centre = np.array(((cols[0] + cols[-1]) / 2, (rows[0] + rows[-1]) / 2))
    scale = height / (rows[-1] - rows[0] + 1)
    angle = np.deg2rad(rng.uniform(-max_degrees, max_degrees))
    shear, aspect = rng.uniform(-0.2, 0.2), np.exp(rng.uniform(-0.2, 0.2))
    turn = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    matrix = scale * turn @ np.array(((aspect, shear), (0.0, 1.0)))
    side = int(np.ceil(scale * 96 * 1.5))
    shift = side / 2 - matrix @ centre
    warp = np.column_stack((matrix, shift)).astype(np.float32)
    alpha = cv2.warpAffine(ink, warp, (side, side), flags=cv2.INTER_LINEAR)
    x1, y1, x2, y2 = _ink_bounds(alpha)
    return index, alpha[y1 - 1 : y2 + 1, x1 - 1 : x2 + 1]


def _ink_bounds(alpha: Floats) -> tuple[int, int, int, int]:
    """Tight bounds x1, y1, x2, y2 (ends exclusive) of the opaque pixels of float32 [h, w]."""
    rows, cols = np.flatnonzero(alpha.max(1) > INK_LEVEL), np.flatnonzero(alpha.max(0) > INK_LEVEL)
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def _place(
    canvas: Floats,
    rng: np.random.Generator,
    alpha: Floats,
    corner: tuple[int, int],
    boxes: list[list[int]],
    ink: Floats | None,
) -> bool:
    """Blend a glyph into the canvas at (x, y) unless it covers another; True if it was painted."""
    (x, y), (height, width) = corner, alpha.shape
    if x + width > canvas.shape[1] or y + height > canvas.shape[0]:
        return False
    x1, y1, x2, y2 = _ink_bounds(alpha)
    box = [x + x1, y + y1, x + x2, y + y2]
    area = (box[2] - box[0]) * (box[3] - box[1])
    for other in boxes:
        wide = min(box[2], other[2]) - max(box[0], other[0])
        high = min(box[3], other[3]) - max(box[1], other[1])
        smaller = min(area, (other[2] - other[0]) * (other[3] - other[1]))
        if wide > 0 and high > 0 and wide * high > 0.06 * smaller:
            return False
    region = canvas[y : y + height, x : x + width]
    colour = _pick_ink(rng, region.mean((0, 1))) if ink is None else ink
    weight = (alpha * rng.uniform(0.85, 1.0))[..., None]
    region += (colour - region) * weight
    boxes.append(box)
    return True


def _pick_ink(rng: np.random.Generator, behind: Floats) -> Floats:
    """Choose a colour, float32 [3] 0..255, that stands out from the mean colour behind it."""
    luma = np.array((0.299, 0.587, 0.114), np.float32)
    contrast = rng.uniform(65, 150)
    colour = rng.uniform(0, 255, 3).astype(np.float32)
    for _ in range(20):
        if abs(float((colour - behind) @ luma)) >= contrast:
            return colour
        colour = rng.uniform(0, 255, 3).astype(np.float32)
    return np.full(3, 235.0 if float(behind @ luma) < 128 else 20.0, np.float32)


def _degrade(canvas: Floats, rng: np.random.Generator) -> Image:
    """Apply blur, a change of exposure, noise and JPEG artefacts; returns uint8 [H, W, 3]."""
    if rng.random() < 0.5:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.3))
    gain, offset = rng.uniform(0.75, 1.15), rng.uniform(-20, 20)
    canvas = canvas * np.float32(gain) + np.float32(offset)
    if rng.random() < 0.5:
        noise = rng.standard_normal(canvas.shape, np.float32)
        canvas += noise * np.float32(rng.uniform(1, 9))
    image: Image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(35, 95))
        _, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR).astype(np.uint8)
    return image
