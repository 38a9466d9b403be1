"""What a calibrator is; each is a module in ``calibrators/``."""

from __future__ import annotations

from typing import Protocol, cast

from edgecv import plugins
from edgecv.converters.statistics import Histogram


class Calibrator(Protocol):
    """What a module in ``calibrators/`` offers."""

    def choose(self, histogram: Histogram) -> tuple[float, float]:
        """Choose the range that 256 levels are laid over.

        Args:
            histogram: of the tensor, with at least one value.

        Returns:
            (low, high) in the tensor's unit, low < high, with 0 in between, not beyond the
            extremes except to reach 0. A tensor of zeros gets (0, 1).
        """


def load_calibrator(name: str) -> Calibrator:
    """Import a calibrator.

    Raises:
        UsageError: there is none of that name.
    """
    return cast(Calibrator, plugins.load("converters.calibrators", name))
