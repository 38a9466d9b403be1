"""Scenes that the pictures of the documentation show: rendered, so that what is true is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from edgecv.masks import Masks
from edgecv.results.detections import Detections
from edgecv.types import Float32, Image

STREET_HW, HORIZON = (400, 640), 215
LABELS = ("sky", "building", "road", "pavement", "tree", "car", "person")
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PERSON = range(len(LABELS))
Color = tuple[int, int, int]

# x to the person's left and y up from the feet, in parts of the person's height; COCO's order.
_BODY = np.array([
    (0, 0.90), (0.02, 0.93), (-0.02, 0.93), (0.045, 0.915), (-0.045, 0.915), (0.10, 0.79),
    (-0.10, 0.79), (0.14, 0.64), (-0.14, 0.64), (0.13, 0.50), (-0.13, 0.50), (0.06, 0.50),
    (-0.06, 0.50), (0.07, 0.27), (-0.07, 0.27), (0.08, 0.04), (-0.08, 0.04),
])  # fmt: skip
_POSES: dict[str, dict[int, tuple[float, float]]] = {
    "stand": {},
    "wave": {7: (0.21, 0.88), 9: (0.25, 1.03), 10: (-0.17, 0.49)},
    "walk": {
        7: (0.16, 0.66), 9: (0.25, 0.57), 8: (-0.17, 0.66), 10: (-0.11, 0.54),
        13: (0.12, 0.29), 15: (0.19, 0.07), 14: (-0.07, 0.27), 16: (-0.17, 0.05),
    },
    "reach": {7: (0.22, 0.74), 9: (0.33, 0.80), 8: (-0.20, 0.72), 10: (-0.28, 0.62)},
}  # fmt: skip


class Scene:
    """A canvas that remembers what each pixel shows.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        owner: (H, W) int16, the number of the object that a pixel shows.
        classes: class id of each object, by number.
        distance: of each object in metres; 0 for the ground, which has another at each row.
        keypoints: (17, 3) of the objects that have some.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.image: Image = np.zeros((*size_hw, 3), np.uint8)
        self.owner = np.zeros(size_hw, np.int16)
        self.classes: list[int] = []
        self.distance: list[float] = []
        self.keypoints: dict[int, Float32] = {}

    def begin(self, class_id: int, distance: float = 0.0) -> int:
        """Begin an object: what is painted from now on belongs to it. Returns its number."""
        self.classes.append(class_id)
        self.distance.append(distance)
        return len(self.classes) - 1

    def polygon(self, points: Any, color: Color) -> None:
        """Paint a filled polygon of (N, 2) corners x, y."""
        corners = np.round(np.asarray(points, float)).astype(np.int32)
        cv2.fillPoly(self.image, [corners], color, cv2.LINE_AA)
        cv2.fillPoly(self.owner, [corners], len(self.classes) - 1)

    def box(self, x1: float, y1: float, x2: float, y2: float, color: Color) -> None:
        """Paint a filled rectangle; the right and lower edge belong to it."""
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], color)

    def ellipse(self, center: Any, axes: Any, color: Color) -> None:
        """Paint a filled ellipse with half axes (a, b)."""
        at = tuple(round(float(v)) for v in center)
        half = tuple(max(1, round(float(v))) for v in axes)
        cv2.ellipse(self.image, at, half, 0, 0, 360, color, cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(self.owner, at, half, 0, 0, 360, len(self.classes) - 1, cv2.FILLED)

    def stroke(self, points: Any, color: Color, width: float) -> None:
        """Paint a thick open line through (N, 2) points."""
        corners = [np.round(np.asarray(points, float)).astype(np.int32)]
        thick = max(1, round(width))
        cv2.polylines(self.image, corners, False, color, thick, cv2.LINE_AA)
        cv2.polylines(self.owner, corners, False, len(self.classes) - 1, thick)

    def detections(self, objects: Sequence[int], scores: Sequence[float]) -> Detections:
        """Make the true detections of some objects, with masks, and keypoints if all have some."""
        masks = Masks.from_full(np.stack([self.owner == i for i in objects]))
        known = all(i in self.keypoints for i in objects)
        return Detections(
            masks.xyxy(),
            np.array(scores, np.float32),
            np.array([self.classes[i] for i in objects], np.int32),
            masks=masks,
            keypoints=np.stack([self.keypoints[i] for i in objects]) if known else None,
        )

    def class_map(self) -> Any:
        """Return the class of each pixel, (H, W) int16."""
        return np.array(self.classes, np.int16)[self.owner]

    def depth(self, horizon: int, eye: float = 700.0, farthest: float = 40.0) -> Float32:
        """Return the distance of each pixel in metres, of ground that ends at a horizon."""
        rows = np.arange(len(self.owner))[:, None] + 0.5
        ground = np.minimum(farthest, eye / np.maximum(rows - horizon, 1))
        own = np.array(self.distance)[self.owner]
        return np.where(own > 0, own, ground).astype(np.float32)


def person(scene: Scene, x: float, feet: float, height: float, pose: str, shirt: Color) -> int:
    """Paint a person who looks at the camera, with the feet at (x, feet). Returns the number."""
    number = scene.begin(PERSON, 700 / max(1, feet - HORIZON))
    shape = _BODY.copy()
    for joint, place in _POSES[pose].items():
        shape[joint] = place
    points = np.array([x, feet]) + shape * [height, -height]
    skin, trousers, shoe = (150, 180, 225), (92, 66, 48), (40, 40, 45)
    for hip, knee, ankle in ((11, 13, 15), (12, 14, 16)):
        scene.stroke(points[[hip, knee, ankle]], trousers, 0.075 * height)
        scene.ellipse(points[ankle] + [0, 0.02 * height], (0.05 * height, 0.025 * height), shoe)
    for shoulder, elbow, wrist in ((5, 7, 9), (6, 8, 10)):
        scene.stroke(points[[shoulder, elbow, wrist]], skin, 0.05 * height)
        scene.stroke(points[[shoulder, elbow]], shirt, 0.065 * height)
    scene.polygon(points[[5, 6, 12, 11]] + [(0, -4), (0, -4), (-3, 0), (3, 0)], shirt)
    scene.stroke([points[0], points[[5, 6]].mean(axis=0)], skin, 0.05 * height)
    scene.ellipse(points[0], (0.05 * height, 0.065 * height), skin)
    crown = points[0] - [0, 0.045 * height]
    scene.ellipse(crown, (0.05 * height, 0.03 * height), (45, 60, 85))
    scene.keypoints[number] = np.column_stack([points, np.full(17, 0.9)]).astype(np.float32)
    return number


def car(scene: Scene, x: float, floor: float, length: float, color: Color) -> int:
    """Paint a car seen from its side, from x to the right. Returns the number."""
    number = scene.begin(CAR, 700 / max(1, floor - HORIZON))
    at = np.array([x, floor - 0.08 * length])
    cabin = at + np.array([(0.18, -0.2), (0.32, -0.37), (0.66, -0.37), (0.84, -0.2)]) * length
    body = np.array([(0, 0), (0.02, -0.18), (0.2, -0.21), (0.95, -0.2), (1, 0)])
    scene.polygon(cabin, color)
    scene.polygon(at + body * length, color)
    glass = cabin.mean(axis=0) + (cabin - cabin.mean(axis=0)) * 0.78
    scene.polygon(glass, (205, 190, 170))
    for part in (0.22, 0.78):
        wheel = (x + part * length, floor - 0.09 * length)
        scene.ellipse(wheel, (0.09 * length, 0.09 * length), (35, 35, 35))
        scene.ellipse(wheel, (0.045 * length, 0.045 * length), (170, 170, 170))
    return number


def street() -> Scene:
    """Paint a street without anybody in it."""
    height, width = STREET_HW
    scene = Scene(STREET_HW)
    scene.begin(SKY, 60)
    for y in range(0, HORIZON + 20, 5):
        part = y / (HORIZON + 20)
        scene.box(0, y, width, y + 5, (235, round(190 + 35 * part), round(150 + 60 * part)))
    for x1, x2, top, color in ((0, 150, 40, (120, 140, 175)), (150, 285, 80, (140, 150, 160)),
                               (460, 640, 55, (105, 125, 150))):  # fmt: skip
        scene.begin(BUILDING, 30)
        scene.box(x1, top, x2, HORIZON + 20, color)
        for y in range(top + 16, HORIZON - 20, 38):
            for x in range(x1 + 14, x2 - 22, 32):
                scene.box(x, y, x + 15, y + 20, (95, 85, 70))
    scene.begin(PAVEMENT)
    scene.box(0, HORIZON + 20, width, height, (170, 175, 178))
    scene.begin(ROAD)
    scene.box(0, HORIZON + 40, width, HORIZON + 105, (98, 95, 92))
    for x in range(10, width, 80):
        scene.box(x, HORIZON + 70, x + 40, HORIZON + 73, (215, 215, 215))
    for x, size in ((330, 1.0), (410, 0.8)):
        scene.begin(TREE, 25)
        scene.box(x - 5 * size, 150, x + 5 * size, HORIZON + 24, (60, 85, 110))
        for dx, dy, radius in ((-20, 145, 26), (20, 148, 25), (0, 120, 34)):
            scene.ellipse((x + dx * size, dy), (radius * size, radius * size), (70, 125, 70))
    return scene


def busy_street() -> tuple[Scene, list[int]]:
    """Paint a street with two cars and three people. Returns the numbers of these objects."""
    scene = street()
    numbers = [
        car(scene, 45, HORIZON + 78, 185, (60, 60, 190)),
        car(scene, 440, HORIZON + 70, 160, (165, 120, 50)),
        person(scene, 230, 385, 205, "wave", (60, 140, 220)),
        person(scene, 345, 375, 190, "walk", (150, 90, 60)),
        person(scene, 555, 390, 220, "reach", (90, 150, 70)),
    ]
    return scene, numbers


def belt() -> tuple[Image, Float32, list[int]]:
    """Paint parts on a belt, seen from above.

    Returns:
        (400, 640, 3) BGR; (N, 5) oriented boxes xywhr; class ids: 0 plate, 1 bolt.
    """
    image: Image = np.full((400, 640, 3), (64, 68, 66), np.uint8)
    image[:40] = image[-40:] = (140, 145, 150)
    for x in range(0, 640, 64):
        cv2.line(image, (x, 40), (x, 359), (54, 58, 56), 2)
    parts = [
        (120, 130, 150, 70, 0.5, 0), (330, 115, 120, 26, -0.7, 1), (500, 150, 160, 80, 2.6, 0),
        (180, 285, 120, 26, 0.15, 1), (355, 270, 150, 70, 1.2, 0), (530, 300, 120, 26, 1.05, 1),
    ]  # fmt: skip
    for x, y, w, h, angle, kind in parts:
        turned = ((x, y), (w, h), np.degrees(angle))
        along = np.array([np.cos(angle), np.sin(angle)])
        if kind == 0:
            corners = np.round(cv2.boxPoints(turned)).astype(np.int32)
            cv2.fillPoly(image, [corners], (178, 172, 165), cv2.LINE_AA)
            for part in (-0.32, 0.32):
                hole = np.array([x, y]) + along * part * w
                cv2.circle(image, hole.astype(int).tolist(), h // 6, (64, 68, 66), -1, cv2.LINE_AA)
        else:
            start, end = (np.array([x, y]) + along * s * w / 2 for s in (-1, 1))
            marks = (start + along * 11, start + along * 16, end - along * 6)
            ends = [np.round(p).astype(int).tolist() for p in marks]
            cv2.line(image, ends[1], ends[2], (120, 150, 170), 12, cv2.LINE_AA)
            cv2.line(image, ends[0], ends[1], (90, 120, 145), 22, cv2.LINE_AA)
    rows = np.array([part[:5] for part in parts], np.float32)
    return image, rows, [part[5] for part in parts]


def panel() -> tuple[Image, Float32]:
    """Paint a perforated panel with a scratch and a stain.

    Returns:
        (400, 640, 3) BGR; (400, 640) float32 in 0-1, how strange each place is.
    """
    image: Image = np.full((400, 640, 3), (178, 182, 180), np.uint8)
    for y in range(30, 400, 48):
        for x in range(30, 640, 48):
            cv2.circle(image, (x, y), 11, (105, 108, 106), -1, cv2.LINE_AA)
    strange = np.zeros((400, 640), np.uint8)
    scratch = np.array([(388, 92), (430, 128), (462, 170), (520, 205)], np.int32)
    cv2.polylines(image, [scratch], False, (235, 238, 236), 3, cv2.LINE_AA)
    cv2.polylines(strange, [scratch], False, 255, 22)
    cv2.ellipse(image, (150, 290), (38, 24), 20, 0, 360, (95, 120, 150), -1, cv2.LINE_AA)
    cv2.ellipse(strange, (150, 290), (40, 26), 20, 0, 360, 255, -1)
    heat = cv2.GaussianBlur(strange, (0, 0), 13).astype(np.float32) / 255
    y, x = np.mgrid[:400, :640]
    waves = 0.05 * (1 + np.sin(x / 45.0) * np.cos(y / 38.0))
    return image, np.clip(waves + heat, 0, 1).astype(np.float32)


def thing(kind: str, color: Color, shift: int = 0) -> Image:
    """Paint one thing on a table, (192, 192, 3) BGR: a mug, bottle, ball or book, or nothing."""
    image: Image = np.full((192, 192, 3), (214, 220, 224), np.uint8)
    image[140:] = (150, 172, 190)
    x = 96 + shift
    if kind == "mug":
        cv2.ellipse(image, (x + 38, 112), (22, 26), 0, 0, 360, color, 9, cv2.LINE_AA)
        cv2.rectangle(image, (x - 38, 72), (x + 36, 158), color, -1)
        cv2.ellipse(image, (x - 1, 72), (37, 9), 0, 0, 360, (70, 80, 90), -1, cv2.LINE_AA)
    elif kind == "bottle":
        cv2.rectangle(image, (x - 24, 76), (x + 24, 164), color, -1)
        cv2.ellipse(image, (x, 78), (24, 22), 0, 180, 360, color, -1, cv2.LINE_AA)
        cv2.rectangle(image, (x - 9, 28), (x + 9, 66), color, -1)
        cv2.rectangle(image, (x - 24, 98), (x + 24, 134), (235, 240, 242), -1)
    elif kind == "ball":
        cv2.circle(image, (x, 112), 48, color, -1, cv2.LINE_AA)
        cv2.ellipse(image, (x, 112), (20, 48), 0, 0, 360, (240, 240, 240), 3, cv2.LINE_AA)
    elif kind == "book":
        cv2.rectangle(image, (x - 60, 92), (x + 60, 160), color, -1)
        cv2.rectangle(image, (x - 60, 148), (x + 60, 158), (235, 240, 242), -1)
    return image
