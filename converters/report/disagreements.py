"""Draw where the float model and the most reduced one in a bundle do not agree.

Nothing is run: the bundle's golden samples record what each variant said when it was made.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edgecv import boxes, codecs
from edgecv.bundle import Bundle
from edgecv.converters.report.document import Conversion
from edgecv.drawing import color_of, draw
from edgecv.errors import ImageError
from edgecv.manifest import Golden
from edgecv.page import printable
from edgecv.result import Result, Timings
from edgecv.results import label_of
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from edgecv.types import Array, Image
from edgecv.verification import result_type

MOST_PAIRS = 12
MAX_SIDE = 640
_JPEG_QUALITY = 80
_MOST_NAMES = 5
_THICK_PX, _THIN_PX = 4, 3
_SAME_IOU = 0.5
_ORDER = ("int8", "int8-weights", "fp16", "bf16", "fp32")


@dataclass(frozen=True, slots=True)
class Side:
    """One variant's picture of one image.

    Attributes:
        uri: the JPEG as a ``data:`` URI.
        alt: what it shows, in words.
        caption: how many it found, and how many of them alone; or its most likely classes.
        size_hw: (height, width) of the picture in pixels.
    """

    uri: str
    alt: str
    caption: str
    size_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same image twice.

    Attributes:
        image: member name of the golden image.
        left: by the float variant.
        right: by the reduced variant.
        apart: how much they differ: scores of what only one found, or the difference of a score,
            or the share of pixels.
    """

    image: str
    left: Side
    right: Side
    apart: float


@dataclass(frozen=True, slots=True)
class Disagreements:
    """What the page shows of a bundle's golden samples.

    Attributes:
        left: id of the float variant; empty where there is nothing to compare.
        right: id of the reduced variant.
        pairs: the most different first, at most `MOST_PAIRS`.
        images: golden samples that both variants have a result for.
        agreed: of these, how many show no disagreement.
        notes: why there is nothing, or what could not be drawn.
    """

    left: str = ""
    right: str = ""
    pairs: tuple[Pair, ...] = ()
    images: int = 0
    agreed: int = 0
    notes: tuple[str, ...] = ()


def find(bundle: Bundle, conversion: Conversion) -> Disagreements:
    """Compare the recorded results of two variants and draw the images on which they differ most.

    Raises:
        BundleError: the bundle was altered.
    """
    chosen = choose(bundle, conversion)
    if isinstance(chosen, str):
        return Disagreements(notes=(chosen,))
    left, right = chosen
    kind = result_type(bundle.manifest)
    both = [g for g in bundle.manifest.golden if left in g.expected and right in g.expected]
    notes: list[str] = []
    ranked: list[tuple[float, Golden, list[tuple[Any, Array | None]]]] = []
    for golden in both:
        try:
            a, b = (kind.from_json(golden.expected[name]) for name in (left, right))
            masks = alone(a, b) if isinstance(a, Detections) else (None, None)
            ranked.append((_apart(a, b), golden, list(zip((a, b), masks, strict=True))))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            notes.append(f"{golden.image.path}: no result of this task can be read: {error!r}")
    ranked.sort(key=lambda item: -item[0])
    pairs = []
    for apart, golden, found in ranked[:MOST_PAIRS]:
        if not apart:
            break
        data = bundle.read(golden.image)
        try:
            pixels = _fitted(codecs.decode(data, where=golden.image.path))
        except ImageError as error:
            notes.append(error.message)
            continue
        sides = [
            _side(*pixels, *one, bundle.manifest.labels, f"{golden.image.path} by {name}")
            for one, name in zip(found, (left, right), strict=True)
        ]
        pairs.append(Pair(golden.image.path, sides[0], sides[1], apart))
    agreed = sum(apart == 0 for apart, *_ in ranked)
    return Disagreements(left, right, tuple(pairs), len(both), agreed, tuple(notes))


def choose(bundle: Bundle, conversion: Conversion) -> tuple[str, str] | str:
    """Choose the float variant and the most reduced one, or say why there is nothing to compare."""
    manifest = bundle.manifest
    if not manifest.golden:
        return "The bundle has no golden samples."
    known = [
        variant
        for variant in manifest.variants
        if any(variant.id in golden.expected for golden in manifest.golden)
    ]
    floats = [variant.id for variant in known if variant.precision == "fp32"]
    if conversion.reference.variant in [variant.id for variant in known]:
        floats.insert(0, conversion.reference.variant)
    if not floats:
        return "No float variant is in the bundle."
    reduced = [v for v in known if v.precision != "fp32" and v.id != floats[0]]
    if not reduced:
        return "No variant of reduced precision is in the bundle."
    best = min(reduced, key=lambda variant: _ORDER.index(variant.precision))
    return floats[0], best.id


def alone(a: Detections, b: Detections) -> tuple[Array, Array]:
    """Find what only one of two results has.

    Pairs are formed as `Detections.difference` forms them: within a class, the best score of `a`
    first, with the detection of highest IoU, at least 0.5.

    Returns:
        (N,) and (M,) bool, true for what has no partner.
    """
    alone_a, alone_b = np.ones(len(a), bool), np.ones(len(b), bool)
    overlap = boxes.iou(a.xyxy, b.xyxy)
    for i in np.argsort(-a.score, kind="stable"):
        fits = alone_b & (b.class_id == a.class_id[i]) & (overlap[i] >= _SAME_IOU)
        if fits.any():
            alone_a[i] = False
            alone_b[int(np.argmax(np.where(fits, overlap[i], -1)))] = False
    return alone_a, alone_b


def _apart(a: Any, b: Any) -> float:
    if isinstance(a, Detections):
        only_a, only_b = alone(a, b)
        return float(a.score[only_a].sum() + b.score[only_b].sum())
    if isinstance(a, Classes) and list(a.class_id[:1]) == list(b.class_id[:1]):
        return 0.0
    difference = b.difference(a)
    return float(max(difference.score, difference.area))


def _fitted(image: Image) -> tuple[Image, float]:
    """Shrink an image to `MAX_SIDE`; return it with the factor."""
    factor = min(1.0, MAX_SIDE / max(image.shape[:2]))
    if factor == 1.0:
        return image, factor
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    resized: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return resized, factor


def _side(
    image: Image, factor: float, value: Any, only: Array | None, labels: Sequence[str], name: str
) -> Side:
    if isinstance(value, Detections) and only is not None:
        drawn = _draw_detections(image, factor, value, only, labels)
        said = _said(value, only, labels)
    else:
        drawn, said = draw(image, _result(value, image, labels)), ""
        if isinstance(value, Classes):
            best = list(value)[:3]
            said = ", ".join(f"{label_of(labels, i)} {score:.2f}" for i, score in best)
    data = base64.b64encode(codecs.encode(drawn, ".jpg", _JPEG_QUALITY)).decode()
    said = printable(said or "nothing found")
    height, width = drawn.shape[:2]
    return Side(f"data:image/jpeg;base64,{data}", f"{name}: {said}", said, (height, width))


def _said(found: Detections, only: Array, labels: Sequence[str]) -> str:
    if not len(found):
        return ""
    names = [f"{label_of(labels, class_id)} {score:.2f}" for _, score, class_id in found[only]]
    more = ["..."] if len(names) > _MOST_NAMES else []
    names = names[:_MOST_NAMES] + more
    return f"{len(found)} found, {int(only.sum())} here alone{': ' * bool(names)}{', '.join(names)}"


def _draw_detections(
    image: Image, factor: float, found: Detections, only: Array, labels: Sequence[str]
) -> Image:
    """Draw what both found in grey on the image in grey, and what this one found alone in colour.

    A saturated colour stands out from grey whatever its hue, so classes keep theirs.
    """
    scaled = found.replace(xyxy=found.xyxy * np.float32(factor))
    canvas = image.copy()
    _outline(canvas, scaled[~only], (255, 255, 255))
    canvas = draw(canvas, _result(scaled[~only], image, labels))
    grey: Any = cv2.cvtColor(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    _outline(grey, scaled[only], None)
    return draw(grey, _result(scaled[only], image, labels))


def _outline(canvas: Image, found: Detections, color: tuple[int, int, int] | None) -> None:
    """Draw thick boxes, in the colours of their classes or in one (BGR)."""
    for xyxy, _, class_id in found:
        x1, y1, x2, y2 = (round(float(v)) for v in xyxy)
        thickness = _THICK_PX if color is None else _THIN_PX
        chosen = color or color_of(class_id)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), chosen, thickness, cv2.LINE_AA)


def _result(value: Any, image: Image, labels: Sequence[str]) -> Result:
    height, width = image.shape[:2]
    return Result(value, "", (height, width), labels, Timings(0, 0, 0, 0, 0))
