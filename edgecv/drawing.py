"""Draw a result on its image."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from edgecv.boxes import corners_of_rotated
from edgecv.keypoints import COCO_LIMBS, COCO_SIGMAS
from edgecv.masks import Masks
from edgecv.result import Result
from edgecv.results import label_of
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, Image, Int32

Color = tuple[int, int, int]
"""Blue, green, red, 0-255."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TINT = 0.45  # share of a class's colour in what its mask covers
_FAR = 30000
_TONES = ((200, 235), (235, 175), (130, 250))  # saturation and value

SEEN = 0.3
"""Keypoints that score less are not drawn."""

# BGR; even COCO keypoints but the nose are of the person's right side, odd ones of the left.
_LEFT, _RIGHT, _MIDDLE = (80, 200, 60), (40, 140, 255), (230, 200, 60)


def color_of(class_id: int) -> Color:
    """Return a saturated BGR colour; neighbouring class ids differ clearly in hue."""
    # Steps of the golden angle (137.5 degrees) spread hues evenly however many classes there are.
    hue = (class_id * 137.508) % 360 / 2
    # Hues come near each other again after 5, 8, 13... steps: such classes differ in lightness.
    pixel = np.array([[[hue, *_TONES[class_id % len(_TONES)]]]], np.uint8)
    b, g, r = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0]
    return int(b), int(g), int(r)


def draw(image: Image, result: Result) -> Image:
    """Return a copy of an image with its result, and the zones and lines it counts in, drawn on it.

    Args:
        image: (H, W, 3) uint8 BGR, the one that the result is about.
        result: in source pixels.
    """
    canvas = image.copy()
    if result.places is not None:
        from edgecv import zone_drawing

        zone_drawing.draw_places(canvas, result.places, result.counts or {})
    if isinstance(result.value, Detections):
        _draw_detections(canvas, result.value, result)
    elif isinstance(result.value, Classes):
        _draw_classes(canvas, result.value, result)
    else:
        from edgecv import map_drawing

        map_drawing.draw_map(canvas, result)
    return canvas


def scale_of(image: Image) -> tuple[float, int]:
    """Return the font scale and the line thickness that suit an image's size."""
    side = min(image.shape[:2])
    return max(0.38, side / 1000), max(1, round(side / 250))


def _draw_detections(canvas: Image, detections: Detections, result: Result) -> None:
    scale, thickness = scale_of(canvas)
    if isinstance(detections.masks, Masks):
        _draw_masks(canvas, detections.masks, detections.class_id, thickness)
    colors = [color_of(int(class_id)) for class_id in detections.class_id]
    # Worst first, so that the best lie on top.
    for i in range(len(detections) - 1, -1, -1):
        if detections.xywhr is None:
            x1, y1, x2, y2 = (round(float(v)) for v in detections.xyxy[i])
            cv2.rectangle(canvas, (x1, y1), (x2, y2), colors[i], thickness, cv2.LINE_AA)
        else:
            _draw_rotated(canvas, detections.xywhr[i], colors[i], thickness)
    if detections.keypoints is not None:
        draw_keypoints(canvas, detections.keypoints)
    # Labels last: no line of another object crosses one.
    texts = [_label(detections, i, result) for i in range(len(detections))]
    places = _label_places(canvas, detections, texts)
    for i in range(len(detections) - 1, -1, -1):
        write(canvas, texts[i], places[i], colors[i], scale, thickness)


def _label(detections: Detections, i: int, result: Result) -> str:
    text = f"{label_of(result.labels, int(detections.class_id[i]))} {detections.score[i]:.2f}"
    if detections.track_id is not None and detections.track_id[i]:
        text = f"#{detections.track_id[i]} {text}"
    return text


def _label_places(canvas: Image, detections: Detections, texts: list[str]) -> list[tuple[int, int]]:
    """Find the lower left corner of each label: where it covers no better one, if there is room.

    On the box, else inside of its upper edge, else below it; on it if all of these are taken.
    """
    scale, thickness = scale_of(canvas)
    taken = np.zeros((len(texts), 4), np.int64)
    places = []
    for i, text in enumerate(texts):
        x, top, _, bottom = np.clip(detections.xyxy[i], -_FAR, _FAR).round().astype(int).tolist()
        if detections.xywhr is not None:
            # The hull's corner may be far from the box; the highest corner of the box is not.
            corners = np.clip(corners_of_rotated(detections.xywhr[i : i + 1])[0], -_FAR, _FAR)
            x, top = corners[corners[:, 1].argmin()].round().astype(int).tolist()
        height = plate_of(canvas, text, (0, 0), scale, thickness)[3]
        choices = [(x, top), (x, top + height), (x, bottom + height)]
        plates = np.array([plate_of(canvas, text, place, scale, thickness) for place in choices])
        chosen = int(_covers_any(plates, taken[:i]).argmin())
        taken[i] = plates[chosen]
        places.append(choices[chosen])
    return places


def _covers_any(plates: Array, others: Array) -> Array:
    """Tell which of (N, 4) rectangles overlap any of (M, 4) others, x1, y1, x2, y2: (N,) bool."""
    low = np.maximum(plates[:, None, :2], others[:, :2])
    high = np.minimum(plates[:, None, 2:], others[:, 2:])
    covered = low < high
    return np.asarray((covered[..., 0] & covered[..., 1]).any(axis=1))


def _draw_masks(canvas: Image, masks: Masks, class_id: Int32, thickness: int) -> None:
    """Tint what masks cover, the worst first, and draw their outlines."""
    for i in range(len(masks) - 1, -1, -1):
        (x, y), crop = masks.offset_xy[i].tolist(), masks.crops[i]
        if not crop.size:
            continue
        color = color_of(int(class_id[i]))
        window = canvas[y : y + crop.shape[0], x : x + crop.shape[1]]
        tint = np.array(color, np.float32) * _TINT + window[crop] * (1 - _TINT)
        window[crop] = np.round(tint).astype(np.uint8)
        found, _ = cv2.findContours(
            crop.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y)
        )
        # Half as wide as boxes: thin parts of an object are not all outline.
        cv2.drawContours(canvas, found, -1, color, max(1, thickness // 2), cv2.LINE_AA)


def _draw_rotated(canvas: Image, xywhr: Float32, color: Color, thickness: int) -> None:
    """Draw one oriented box."""
    corners = corners_of_rotated(xywhr[None])[0]
    # Lines are drawn in 32-bit integers; what is far outside is not seen anyway.
    points = np.round(np.clip(corners, -_FAR, _FAR)).astype(np.int32)
    cv2.polylines(canvas, [points], True, color, thickness, cv2.LINE_AA)


def draw_keypoints(canvas: Image, keypoints: Float32, least: float = SEEN) -> None:
    """Draw skeletons where the keypoints are COCO's 17, else points.

    Args:
        canvas: (H, W, 3) uint8 BGR, drawn on.
        keypoints: (N, K, 3) x, y in pixels, score.
        least: a keypoint with this score is drawn, and a limb between two such.
    """
    _, thickness = scale_of(canvas)
    is_coco = keypoints.shape[1] == len(COCO_SIGMAS)
    for points in keypoints:
        seen = points[:, 2] >= least
        places = np.clip(points[:, :2], -_FAR, _FAR).round().astype(int).tolist()
        for a, b in COCO_LIMBS if is_coco else ():
            if seen[a] and seen[b]:
                color = _side(a) if _side(a) == _side(b) else _MIDDLE
                cv2.line(canvas, places[a], places[b], color, thickness, cv2.LINE_AA)
        for i in np.flatnonzero(seen):
            color = _side(int(i)) if is_coco else color_of(int(i))
            cv2.circle(canvas, places[i], 2 * thickness, color, cv2.FILLED, cv2.LINE_AA)


def _side(keypoint: int) -> Color:
    """Return the colour of a COCO keypoint's side."""
    if keypoint == 0:
        return _MIDDLE
    return _LEFT if keypoint % 2 else _RIGHT


def _draw_classes(canvas: Image, classes: Classes, result: Result) -> None:
    write_legend(
        canvas,
        [
            (f"{score:.2f} {label_of(result.labels, class_id)}", color_of(class_id))
            for class_id, score in classes
        ],
    )


def write_legend(canvas: Image, lines: Sequence[tuple[str, Color]]) -> None:
    """Write lines of text on plates of one width into the upper left corner, as many as fit.

    Args:
        canvas: (H, W, 3) uint8 BGR, drawn on.
        lines: text and BGR colour of its plate.
    """
    scale, thickness = scale_of(canvas)
    plates = [plate_of(canvas, text, (0, 0), scale, thickness) for text, _ in lines]
    width = max((plate[2] for plate in plates), default=0)
    height = max((plate[3] for plate in plates), default=1)
    for i, (text, color) in enumerate(lines[: max(1, len(canvas) // height)]):
        write(canvas, text, (0, (i + 1) * height), color, scale, thickness, width)


def write(
    canvas: Image,
    text: str,
    at: tuple[int, int],
    color: Color,
    scale: float,
    thickness: int,
    width: int = 0,
) -> None:
    """Write on a filled plate whose lower left corner is `at`, kept inside the image.

    Args:
        canvas: (H, W, 3) uint8 BGR, drawn on.
        text: one line; what the built-in font does not have becomes ``?``.
        at: x, y in pixels.
        color: BGR of the plate; the ink is black or white, what is read better.
        scale: of the font, as `scale_of` says.
        thickness: of lines, likewise; text is half as bold.
        width: the plate is at least so many pixels wide.
    """
    x1, y1, x2, y2 = plate_of(canvas, text, at, scale, thickness)
    base = _text_size(text, scale, thickness)[2]
    corner = (max(x2, x1 + width) - 1, y2 - 1)
    cv2.rectangle(canvas, (x1, y1), corner, color, cv2.FILLED)
    luma = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = (0, 0, 0) if luma > 110 else (255, 255, 255)
    start = (x1 + _margin(base), y2 - base)
    bold = max(1, thickness // 2)
    cv2.putText(canvas, _plain(text), start, _FONT, scale, ink, bold, cv2.LINE_AA)


def plate_of(
    canvas: Image, text: str, at: tuple[int, int], scale: float, thickness: int
) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom edge, in pixels, of the plate that `write` fills."""
    width, height, base = _text_size(text, scale, thickness)
    width, height = width + 2 * _margin(base), height + 2 * base
    x = max(0, min(at[0], canvas.shape[1] - width))
    bottom = max(height, min(at[1], canvas.shape[0]))
    return x, bottom - height, x + width, bottom


def _margin(base: int) -> int:
    """Return how many pixels of the plate are beside its text."""
    return max(2, base // 2 + 1)


@functools.lru_cache(maxsize=1024)
def _text_size(text: str, scale: float, thickness: int) -> tuple[int, int, int]:
    """Return width and height above the base line, and the depth below it, in pixels."""
    bold = max(1, thickness // 2)
    (width, _), _ = cv2.getTextSize(_plain(text), _FONT, scale, bold)
    # Of letters with both: plates of all texts are equally high.
    (_, height), base = cv2.getTextSize("Ag", _FONT, scale, bold)
    return width, height, base


def _plain(text: str) -> str:
    """Take off accents, and mark what is no ASCII then: the built-in font has no more."""
    parts = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in parts)
