"""Pictures that tests draw themselves."""

from __future__ import annotations

import cv2
import numpy as np


def structured() -> np.ndarray:
    """Draw something with large and small structure, (120, 200, 3)."""
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (5, 8, 3)).astype(np.uint8)
    drawn = cv2.resize(coarse, (200, 120), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        x, y = random.integers(0, (180, 100)).tolist()
        color = random.integers(0, 256, 3).tolist()
        cv2.rectangle(drawn, (x, y), (x + 20, y + 16), color, -1)
        cv2.circle(drawn, (y + 60, x // 2), 7, color[::-1], 2)
    return drawn
