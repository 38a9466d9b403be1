"""Draw the pictures of the documentation: ``python -m scripts.pictures [NAME...]`` in a checkout.

Those of `picture_digits` show what a model finds; those of `picture_tasks` what is true of a
rendered scene.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from edgecv import codecs
from edgecv.types import Image
from scripts import picture_digits, picture_tasks

FOLDER = Path(__file__).parents[1] / "docs/pictures"
QUALITY = 85
PICTURES: dict[str, Callable[[], Image]] = {
    draw.__name__: draw
    for draw in (
        picture_digits.digits, picture_digits.tiles, picture_digits.tracking, picture_digits.detect,
        picture_tasks.segment, picture_tasks.obb, picture_tasks.pose, picture_tasks.semantic,
        picture_tasks.depth, picture_tasks.anomaly, picture_tasks.classify, picture_tasks.prompt,
        picture_tasks.embed, picture_tasks.zones,
    )
}  # fmt: skip


def main() -> None:
    """Draw the pictures that are named, or all."""
    for name in sys.argv[1:] or PICTURES:
        codecs.write(FOLDER / f"{name}.jpg", PICTURES[name](), quality=QUALITY)


if __name__ == "__main__":
    main()
