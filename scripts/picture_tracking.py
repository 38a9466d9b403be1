"""Draw the picture of docs/tracking.md: ``python scripts/picture_tracking.py`` in a checkout."""

from pathlib import Path

import cv2
import numpy as np

import edgecv
from edgecv import codecs
from edgecv.drawing import draw
from edgecv.lines import Lines
from edgecv.tracker import create_tracker
from edgecv.zone_config import ZoneConfig
from edgecv.zone_drawing import draw_zones
from edgecv.zones import Zones

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples/digits"
SCALE = 2.2
FRAMES, SHOWN = 40, (3, 21, 39)
CONFIG = ZoneConfig.parse({
    "zones": [{
        "name": "yard", "anchor": "center", "units": "fractions",
        "points": [[0.05, 0.45], [0.5, 0.55], [0.45, 0.95], [0.05, 0.9]],
    }],
    "lines": [{
        "name": "gate", "anchor": "center", "units": "fractions", "margin": 0.05,
        "start": [0.8, 0.52], "end": [0.38, 0.52],
    }],
})  # fmt: skip


def main() -> None:
    """Follow digits under a camera that moves over a validation image; tile three frames."""
    labels = (DIGITS / "labels.txt").read_text().split()
    picture = codecs.read(DIGITS / "val/images/val_011.jpg")
    size_hw = (round(192 * SCALE), round(192 * SCALE))
    tracker = create_tracker("bytetrack")
    zones, lines = Zones(CONFIG.zones, size_hw), Lines(CONFIG.lines, size_hw)
    tiles = []
    options = {"head": "yolo", "labels": labels, "confidence": tracker.min_score}
    with edgecv.load(DIGITS / "digits.onnx", trusted=True, **options) as model:
        for frame in range(FRAMES):
            t, part = frame / 25, frame / (FRAMES - 1)
            y, x = (part * (side - 192) for side in picture.shape[:2])
            way = np.array([[SCALE, 0, -SCALE * x], [0, SCALE, -SCALE * y]])
            image = cv2.warpAffine(picture, way, size_hw[::-1], flags=cv2.INTER_CUBIC)
            result = model(image)
            found = tracker.update(result.detections, t)
            found = found[found.track_id > 0]
            zones.update(found, t)
            lines.update(found, t)
            if frame in SHOWN:
                drawn = draw(image, result.replace(value=found))
                tiles.append(draw_zones(drawn, zones, lines))
    codecs.write(ROOT / "docs/pictures/tracking.jpg", np.hstack(tiles), quality=85)


if __name__ == "__main__":
    main()
