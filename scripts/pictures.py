"""Draw the pictures of the documentation: ``python scripts/pictures.py`` in a checkout."""

from pathlib import Path

import cv2
import numpy as np

import edgecv
from edgecv import codecs
from edgecv.drawing import draw

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples/digits"
TILE_HW = (300, 400)
SHOWN = (1, 4, 5, 6, 7, 11)


def main() -> None:
    """Run the digit detector on six validation images and tile what it finds."""
    labels = (DIGITS / "labels.txt").read_text().split()
    tiles = []
    with edgecv.load(DIGITS / "digits.onnx", head="yolo", labels=labels, trusted=True) as model:
        for index in SHOWN:
            image = codecs.read(DIGITS / f"val/images/val_{index:03d}.jpg")
            # Enlarged first, so that the labels are drawn sharp.
            scale = max(TILE_HW[0] / image.shape[0], TILE_HW[1] / image.shape[1])
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            drawn = draw(image, model(image))
            top, left = ((a - b) // 2 for a, b in zip(drawn.shape[:2], TILE_HW, strict=True))
            tiles.append(drawn[top : top + TILE_HW[0], left : left + TILE_HW[1]])
    rows = [np.hstack(tiles[i : i + 3]) for i in (0, 3)]
    codecs.write(ROOT / "docs/pictures/digits.jpg", np.vstack(rows), quality=88)


def draw_tiles() -> None:
    """Read a mosaic of twelve validation images at once and in tiles, and draw both."""
    labels = (DIGITS / "labels.txt").read_text().split()
    images = [codecs.read(DIGITS / f"val/images/val_{i:03d}.jpg") for i in range(12)]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    mosaic = np.full((3 * height, 4 * width, 3), 114, np.uint8)
    for i, image in enumerate(images):
        y, x = i // 4 * height, i % 4 * width
        mosaic[y : y + image.shape[0], x : x + image.shape[1]] = image
    with edgecv.load(DIGITS / "digits.onnx", head="yolo", labels=labels, trusted=True) as model:
        drawn = [draw(mosaic, model(mosaic)), draw(mosaic, edgecv.tiled(model, mosaic))]
    size = (mosaic.shape[1] // 2, mosaic.shape[0] // 2)
    halves = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in drawn]
    codecs.write(ROOT / "docs/pictures/tiles.jpg", np.hstack(halves), quality=85)


if __name__ == "__main__":
    main()
    draw_tiles()
