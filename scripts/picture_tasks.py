"""Pictures of results that are true of a rendered scene: they show the drawing, not a model."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from edgecv.boxes import hull_of_rotated
from edgecv.drawing import color_of, draw, scale_of, write
from edgecv.gallery import Gallery
from edgecv.head import HeadResult
from edgecv.lines import Lines
from edgecv.masks import Masks
from edgecv.prompting import Prompted
from edgecv.result import Result, Timings
from edgecv.results.anomaly import AnomalyMap
from edgecv.results.classes import Classes
from edgecv.results.depth import DepthMap
from edgecv.results.detections import Detections
from edgecv.results.semantic import SemanticMap
from edgecv.tracker import create_tracker
from edgecv.types import Float32, Image
from edgecv.zone_config import ZoneConfig
from edgecv.zone_drawing import draw_zones
from edgecv.zones import Zones
from scripts import picture_scenes as scenes

THINGS = (
    ("red mug", "mug", (60, 60, 200)), ("blue mug", "mug", (190, 110, 50)),
    ("green bottle", "bottle", (80, 140, 70)), ("brown bottle", "bottle", (50, 85, 130)),
    ("orange ball", "ball", (50, 130, 235)), ("green book", "book", (90, 130, 60)),
)  # fmt: skip
YARD = ZoneConfig.parse({
    "zones": [{"name": "crossing", "points": [[250, 255], [420, 255], [500, 398], [190, 398]]}],
    "lines": [{"name": "kerb", "start": [40, 322], "end": [180, 322], "margin": 0.05}],
})  # fmt: skip


def _result(value: HeadResult, image: Image, labels: tuple[str, ...] = scenes.LABELS) -> Result:
    return Result(value, "", image.shape[:2], labels, Timings(0, 0, 0, 0, 0))


def segment() -> Image:
    """Draw the masks of cars and people."""
    scene, numbers = scenes.busy_street()
    found = scene.detections(numbers, (0.93, 0.91, 0.9, 0.88, 0.86))
    return draw(scene.image, _result(found, scene.image))


def pose() -> Image:
    """Draw the skeletons of three people."""
    scene, numbers = scenes.busy_street()
    found = scene.detections(numbers[2:], (0.94, 0.91, 0.9)).replace(masks=None)
    return draw(scene.image, _result(found, scene.image))


def semantic() -> Image:
    """Draw the class of each pixel."""
    scene, _ = scenes.busy_street()
    return draw(scene.image, _result(SemanticMap(scene.class_map()), scene.image))


def depth() -> Image:
    """Draw the scene's own distances."""
    scene, _ = scenes.busy_street()
    value = DepthMap(scene.depth(scenes.HORIZON), "metric")
    return draw(scene.image, _result(value, scene.image))


def obb() -> Image:
    """Draw oriented boxes around parts on a belt."""
    image, xywhr, class_id = scenes.belt()
    found = Detections(
        hull_of_rotated(xywhr),
        np.linspace(0.95, 0.85, len(xywhr), dtype=np.float32),
        np.array(class_id, np.int32),
        xywhr=xywhr,
    )
    return draw(image, _result(found, image, ("plate", "bolt")))


def anomaly() -> Image:
    """Draw heat where a panel is damaged."""
    image, heat = scenes.panel()
    return draw(image, _result(AnomalyMap(float(heat.max()), heat, 0.5), image))


def classify() -> Image:
    """Draw the likeliest classes of three things."""
    labels = ("mug", "bottle", "ball", "book")
    parts = [
        ((0, 0.91), (1, 0.05), (3, 0.02)), ((1, 0.88), (0, 0.07), (2, 0.03)),
        ((2, 0.96), (0, 0.02), (3, 0.01)),
    ]  # fmt: skip
    shown = []
    for (_, kind, color), rows in zip(THINGS[0::2], parts, strict=True):
        big = cv2.resize(scenes.thing(kind, color), (213, 213), interpolation=cv2.INTER_CUBIC)
        ids, scores = zip(*rows, strict=True)
        value = Classes(np.array(ids, np.int32), np.array(scores, np.float32))
        shown.append(draw(big, _result(value, big, labels)))
    return np.hstack(shown)


def prompt() -> Image:
    """Draw the mask that answers a point on a person and a point beside, and one of a box."""
    scene, numbers = scenes.busy_street()
    image = scene.image
    wanted = [numbers[3], numbers[1]]
    masks = Masks.from_full(np.stack([scene.owner == i for i in wanted]))
    answer = Prompted(masks, np.array([0.97, 0.95], np.float32), np.zeros((2, 0, 0), np.float32))
    found = Detections(masks.xyxy(), answer.score, np.arange(2, dtype=np.int32), masks=answer.masks)
    drawn = draw(image, _result(found, image, ("point", "box")))
    _, thickness = scale_of(image)
    for at, color in (((345, 250), (60, 200, 60)), ((392, 320), (40, 40, 220))):
        cv2.circle(drawn, at, 3 * thickness + 2, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(drawn, at, 3 * thickness, color, cv2.FILLED, cv2.LINE_AA)
    return drawn


def descriptor(image: Image) -> Float32:
    """Describe a thing by its silhouette and a little by its colours: no model does this."""
    apart = image.astype(np.float32) - scenes.thing("nothing", (0, 0, 0))
    shape = np.abs(apart).max(axis=2) > 40
    parts = np.dstack([150 * shape.astype(np.float32), apart / 2])
    return cv2.resize(parts, (12, 12), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def embed() -> Image:
    """Search a gallery of six things for a seventh, and show the best three."""
    pictures = {name: scenes.thing(kind, color) for name, kind, color in THINGS}
    query = scenes.thing("mug", (70, 60, 175), shift=6)
    vectors = {name: descriptor(picture) for name, picture in pictures.items()}
    key = hashlib.sha256(b"silhouettes").hexdigest()
    gallery = Gallery(descriptor(query).size, key, "silhouettes")
    for name, vector in vectors.items():
        gallery.add(name, vector)
    shown = [(query, "query", (60, 60, 60))]
    for i, match in enumerate(gallery.search(descriptor(query), top_k=3)):
        shown.append((pictures[match.name], f"{match.score:.2f} {match.name}", color_of(i)))
    gap = np.full((160, 4, 3), 255, np.uint8)
    row = []
    for picture, text, color in shown:
        small = cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA)
        scale, thickness = scale_of(small)
        write(small, text, (0, 0), color, max(scale, 0.42), thickness)
        row += [small, gap]
    return np.hstack(row[:-1])


def zones() -> Image:
    """Follow people over a zone and a line; show the last frame."""
    tracker = create_tracker("bytetrack")
    watched, lines = Zones(YARD.zones), Lines(YARD.lines)
    for frame in range(50):
        scene, t = scenes.street(), frame / 25
        numbers = [
            scenes.person(scene, 110, 270 + 2 * frame, 90 + 2 * frame, "walk", (60, 140, 220)),
            scenes.person(scene, 560 - 4 * frame, 330, 150, "walk", (90, 150, 70)),
            scenes.person(scene, 300 + frame, 385, 190, "stand", (150, 90, 60)),
        ]
        found = scene.detections(numbers, (0.93, 0.9, 0.88)).replace(masks=None, keypoints=None)
        found = tracker.update(found, t)
        watched.update(found, t)
        lines.update(found, t)
    return draw(draw_zones(scene.image, watched, lines), _result(found, scene.image))
