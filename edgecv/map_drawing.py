"""Draw class maps, depth maps and anomaly maps over their image."""

from __future__ import annotations

import cv2
import numpy as np

from edgecv.drawing import color_of, plate_of, scale_of, write, write_legend
from edgecv.result import Result
from edgecv.results import label_of
from edgecv.results.anomaly import AnomalyMap
from edgecv.results.depth import DepthMap
from edgecv.results.semantic import SemanticMap
from edgecv.types import Array, Float32, Image

_OPACITY = 0.55
_COOL = 0.15  # opacity of the heat where there is none: the image is seen through it
_PLATE = (40, 40, 40)
# No colour of the heat is white or black: it is seen on all of them.
_OUTLINE, _EDGE = (255, 255, 255), (0, 0, 0)
_FARTHEST = 1000  # in metres the darkest colour is at most so many times as far as the lightest
# What a name of it says is everything else; it is left as it is.
_BACKGROUND = ("background", "unlabeled", "unlabelled", "void")


def draw_map(canvas: Image, result: Result) -> None:
    """Draw a result that is a map onto an image; does nothing for other results.

    Args:
        canvas: (H, W, 3) uint8 BGR, of the size of the map or scaled; drawn on.
        result: in source pixels. Of one that was read from JSON the coarse grid is drawn.
    """
    value = result.value
    if isinstance(value, SemanticMap):
        _draw_semantic(canvas, value, result)
    elif isinstance(value, DepthMap) and len(value):
        _draw_depth(canvas, value)
    elif isinstance(value, AnomalyMap) and len(value):
        _draw_anomaly(canvas, value)


def _fitted(values: Array, canvas: Image, kind: int = cv2.INTER_LINEAR) -> Array:
    """Bring a map (h, w) to the size of the canvas."""
    if values.shape == canvas.shape[:2]:
        return values
    return np.asarray(cv2.resize(values, canvas.shape[1::-1], interpolation=kind))


def _draw_semantic(canvas: Image, found: SemanticMap, result: Result) -> None:
    """Tint each class but the background, and list the names, largest area first."""
    areas = found.areas()
    if not areas:
        return
    colors = np.zeros((max(areas) + 2, 3), np.uint8)  # the last one is for unseen pixels
    tinted = np.zeros(len(colors), bool)
    shown = [c for c in areas if not _is_background(c, result, len(areas))]
    for shown_id in shown:
        colors[shown_id], tinted[shown_id] = color_of(shown_id), True
    class_id = _fitted(found.class_id, canvas, cv2.INTER_NEAREST)
    # A row block at a time: no second image beside it.
    for start in range(0, len(canvas), 256):
        rows = slice(start, start + 256)
        where = tinted[class_id[rows]]
        mixed = cv2.addWeighted(canvas[rows], 1 - _OPACITY, colors[class_id[rows]], _OPACITY, 0)
        np.copyto(canvas[rows], mixed, where=where[..., None])
    listed = sorted(shown, key=lambda c: -areas[c])
    write_legend(
        canvas,
        [
            (f"{label_of(result.labels, c)} {areas[c] / found.class_id.size:.0%}", color_of(c))
            for c in listed
        ],
    )


def _is_background(class_id: int, result: Result, classes: int) -> bool:
    """Tell whether a class is everything else; without names, class 0 of a binary map is."""
    name = label_of(result.labels, class_id).casefold()
    return name in _BACKGROUND or (not result.labels and class_id == 0 and classes <= 2)


def _draw_depth(canvas: Image, found: DepthMap) -> None:
    """Replace the image by the depth in colours, near in warm ones, with a scale of its numbers."""
    depth = _fitted(found.depth if found.depth.size else found.summary.cells(), canvas)
    ends = [found.summary.low, found.summary.high]
    if found.kind == "metric" and depth.max() > 0:
        # By ratios, as a metre means more near by than far away; 0 is not known.
        known = depth[depth > 0]
        low = max(float(known.min()), float(known.max()) / _FARTHEST)
        near = -np.log(np.maximum(depth, low))
        near[depth <= 0] = near.min()
        ends[0] = ends[0] if ends[0] > 0 else float(known.min())
    else:
        near = depth if found.kind == "inverse" else -depth
    canvas[:] = _colored(near, float(near.min()), float(near.max()), cv2.COLORMAP_INFERNO)
    unit = " m" if found.kind == "metric" else ""
    first, last = (f"{v:.3g}{unit}" for v in (ends[::-1] if found.kind == "inverse" else ends))
    scale, thickness = scale_of(canvas)
    text = f"{found.kind} depth: near {first}"
    *_, right, high = plate_of(canvas, text, (0, 0), scale, thickness)
    ramp = np.linspace(255, 0, 6 * high).astype(np.uint8)[None]
    bar = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)
    strip = canvas[:high, right : right + bar.shape[1]]
    strip[:] = bar[:, : strip.shape[1]]
    write(canvas, text, (0, 0), _PLATE, scale, thickness)
    end = (right + bar.shape[1], 0)
    if plate_of(canvas, f"{last} far", end, scale, thickness)[0] < end[0]:
        end = (0, 2 * high)  # a small image has no room beside the bar
    write(canvas, f"{last} far", end, _PLATE, scale, thickness)


def _draw_anomaly(canvas: Image, found: AnomalyMap) -> None:
    """Lay the heat over the image, outline what reaches the threshold, and write the score."""
    values = _fitted(found.heat if found.heat.size else found.summary.cells(), canvas)
    low, high = float(values.min()), float(values.max())
    if found.threshold is not None:
        # The threshold lies in the middle of the colours, so that normal images look cool.
        low, high = min(low, 0.0), max(high, 2 * found.threshold)
    # A row block at a time, as above. The stranger a place is, the more it is covered.
    for start in range(0, len(canvas), 256):
        rows = slice(start, start + 256)
        heat = _colored(values[rows], low, high, cv2.COLORMAP_TURBO)
        part = np.clip((values[rows] - low) / max(high - low, 1e-9), 0, 1)[..., None]
        cover = (_COOL + (_OPACITY - _COOL) * np.sqrt(part)).astype(np.float32)
        canvas[rows] = np.round(canvas[rows] * (1 - cover) + heat * cover).astype(np.uint8)
    scale, thickness = scale_of(canvas)
    mask = found.mask
    if mask is not None and mask.any():
        outlined = _fitted(mask.astype(np.uint8), canvas, cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(outlined, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(canvas, contours, -1, _EDGE, thickness + 2, cv2.LINE_AA)
        cv2.drawContours(canvas, contours, -1, _OUTLINE, thickness)
    verdict = {None: "", True: " anomalous", False: " normal"}[found.anomalous]
    text = f"score {found.score:.3g}{verdict}"
    write(canvas, text, (0, 0), _PLATE, scale, thickness)


def _colored(values: Float32, low: float, high: float, colors: int) -> Image:
    """Paint (H, W) numbers between `low` and `high` as (H, W, 3) uint8 BGR."""
    span = high - low
    scaled: Array = (values - low) * (255 / span) if span > 0 else np.zeros_like(values)
    painted: Image = cv2.applyColorMap(np.clip(scaled, 0, 255).astype(np.uint8), colors)
    return painted
