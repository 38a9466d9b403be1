"""Draw a result on its image."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np

from edgecv.boxes import corners_of_rotated
from edgecv.keypoints import COCO_LIMBS, COCO_SIGMAS
from edgecv.masks import Masks
from edgecv.result import Result
from edgecv.results import label_of
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from edgecv.types import Float32, Image, Int32

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TINT = 0.45  # share of a class's colour in what its mask covers
_FAR = 30000

SEEN = 0.3
"""Keypoints that score less are not drawn."""

# BGR; even COCO keypoints but the nose are of the person's right side, odd ones of the left.
_LEFT, _RIGHT, _MIDDLE = (80, 200, 60), (40, 140, 255), (230, 200, 60)


def color_of(class_id: int) -> tuple[int, int, int]:
    """Return a saturated BGR colour; neighbouring class ids differ clearly in hue."""
    # Steps of the golden angle (137.5 degrees) spread hues evenly however many classes there are.
    hue = (class_id * 137.508) % 360 / 2
    pixel = np.array([[[hue, 200, 235]]], np.uint8)
    b, g, r = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0]
    return int(b), int(g), int(r)


def draw(image: Image, result: Result) -> Image:
    """Return a copy of an image with its result, and the zones and lines it counts in, drawn on it.

    Args:
        image: (H, W, 3) uint8 BGR, the one that the result is about.
        result: in source pixels.
    """
    canvas = image.copy()
    if isinstance(result.value, Detections):
        _draw_detections(canvas, result.value, result)
        if result.value.keypoints is not None:
            draw_keypoints(canvas, result.value.keypoints)
    elif isinstance(result.value, Classes):
        _draw_classes(canvas, result.value, result)
    else:
        from edgecv import map_drawing

        map_drawing.draw_map(canvas, result)
    if result.places is not None:
        from edgecv import zone_drawing

        zone_drawing.draw_places(canvas, result.places, result.counts or {})
    return canvas


def _scale(image: Image) -> tuple[float, int]:
    """Return the font scale and the line thickness that suit an image's size."""
    side = min(image.shape[:2])
    return max(0.35, side / 1000), max(1, round(side / 400))


def _draw_detections(canvas: Image, detections: Detections, result: Result) -> None:
    scale, thickness = _scale(canvas)
    if isinstance(detections.masks, Masks):
        _draw_masks(canvas, detections.masks, detections.class_id, thickness)
    # Worst first, so that the best lie on top.
    for i in range(len(detections) - 1, -1, -1):
        x1, y1, x2, y2 = (round(float(v)) for v in detections.xyxy[i])
        class_id = int(detections.class_id[i])
        color = color_of(class_id)
        if detections.xywhr is None:
            cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness, cv2.LINE_AA)
        else:
            _draw_rotated(canvas, detections.xywhr[i], color, thickness)
        text = f"{label_of(result.labels, class_id)} {detections.score[i]:.2f}"
        if detections.track_id is not None and detections.track_id[i]:
            text = f"#{detections.track_id[i]} {text}"
        _write(canvas, text, (x1, y1), color, scale, thickness)


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
        cv2.drawContours(canvas, found, -1, color, thickness, cv2.LINE_AA)


def _draw_rotated(
    canvas: Image, xywhr: Float32, color: tuple[int, int, int], thickness: int
) -> None:
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
    _, thickness = _scale(canvas)
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


def _side(keypoint: int) -> tuple[int, int, int]:
    """Return the colour of a COCO keypoint's side."""
    if keypoint == 0:
        return _MIDDLE
    return _LEFT if keypoint % 2 else _RIGHT


def _draw_classes(canvas: Image, classes: Classes, result: Result) -> None:
    scale, thickness = _scale(canvas)
    (_, height), base = cv2.getTextSize("Ag", _FONT, scale, thickness)
    for line, (class_id, score) in enumerate(classes):
        y = (line + 1) * (height + 2 * base)
        text = f"{score:.2f} {label_of(result.labels, class_id)}"
        _write(canvas, text, (0, y), color_of(class_id), scale, thickness)


def _write(
    canvas: Image,
    text: str,
    at: tuple[int, int],
    color: tuple[int, int, int],
    scale: float,
    thickness: int,
) -> None:
    """Write on a filled plate whose lower left corner is `at`, kept inside the image."""
    thickness = max(1, thickness // 2)
    # The built-in font draws ASCII only: accents are taken off, and what remains is marked.
    plain = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = "".join(c if " " <= c <= "~" else "?" for c in plain)
    (width, height), base = cv2.getTextSize(text, _FONT, scale, thickness)
    x = max(0, min(at[0], canvas.shape[1] - width))
    y = max(height + base, min(at[1], canvas.shape[0]))
    cv2.rectangle(canvas, (x, y - height - base), (x + width, y), color, cv2.FILLED)
    luma = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = (0, 0, 0) if luma > 110 else (255, 255, 255)
    cv2.putText(canvas, text, (x, y - base // 2), _FONT, scale, ink, thickness, cv2.LINE_AA)


scale_of, write = _scale, _write
"""For whoever draws more onto the same image."""
