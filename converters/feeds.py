"""What a model is fed with while it is calibrated or compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from edgecv.types import Array


class Feeds(Protocol):
    """Inputs of one artifact, made anew each time they are iterated; never all in memory."""

    @property
    def digest(self) -> str:
        """Sha256 over the images and how they are prepared."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        """Yield input name -> array of exactly the artifact's dtype, shape and layout.

        The arrays are the caller's own.
        """
