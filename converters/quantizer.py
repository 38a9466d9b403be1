"""What a quantizer is; each is a module in ``quantizers/``, named after the backend it is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from edgecv import plugins
from edgecv.converters.artifact import Artifact
from edgecv.converters.feeds import Feeds
from edgecv.converters.layers import Layer
from edgecv.converters.recipe import Recipe


class Quantizer(Protocol):
    """What a module in ``quantizers/`` offers."""

    TOOLS: tuple[str, ...]
    """Distributions that it uses; their versions are part of what a result depends on."""

    def refuses(self, artifact: Artifact, recipe: Recipe) -> str | None:
        """Say why this recipe cannot be made of this artifact here; None where it can.

        A recipe that would do nothing is refused, too, such as smoothing without matrix products.
        """

    def quantize(
        self,
        artifact: Artifact,
        recipe: Recipe,
        feeds: Feeds | None,
        folder: Path,
        *,
        float_layers: Sequence[Layer] = (),
    ) -> Artifact:
        """Write the lowered model into `folder`.

        Args:
            artifact: a float graph in the backend's format; it is not changed.
            recipe: what is asked for.
            feeds: calibration inputs of `artifact`; None only where the recipe needs none.
            folder: an empty folder.
            float_layers: the layers that `recipe.float_layers` names, with their fingerprints.

        Raises:
            StepError: the tool failed.
            DependencyMissingError: the tool is not installed.
        """


def load_quantizer(backend: str) -> Quantizer:
    """Import the quantizer for a backend."""
    return cast(Quantizer, plugins.load("converters.quantizers", backend))
