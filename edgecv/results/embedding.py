"""The vector that stands for an image: near to those of images that show the like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.record import Record, field
from edgecv.results import Difference
from edgecv.types import Float32

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgecv.geometry import Geometry

TASKS = ("embed",)

_FURTHEST = 2.0
_DIGITS = 6  # what float32 holds of any decimal number, there and back


class Embedding(Record):
    """One vector of D numbers; D may be 0.

    Attributes:
        vector: (D,) float32; of length 1 unless the head was told otherwise.
    """

    vector: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError(f"Embedding.vector: expected shape (D,); got {self.vector.shape}")

    def __len__(self) -> int:
        return len(self.vector)

    def __iter__(self) -> Iterator[float]:
        """Yield the numbers."""
        yield from self.vector.tolist()

    def cosine(self, other: Embedding) -> float:
        """Compute the cosine of the angle between both, -1 to 1.

        A vector of zeros has no direction: it is at a right angle to any other, and equal to its
        like.

        Raises:
            ValueError: they have not as many numbers.
        """
        if len(self) != len(other):
            raise ValueError(f"Embedding.cosine: expected {len(self)} numbers; got {len(other)}")
        a, b = self._direction(), other._direction()
        if a is None or b is None:
            return 1.0 if a is b else 0.0
        # Half the squared distance of unit vectors is 1 - cosine, and exactly 0 for equal ones.
        return 1 - float(((a - b) ** 2).sum()) / 2

    def _direction(self) -> npt.NDArray[np.float64] | None:
        """Scale to length 1; None for a vector of zeros."""
        wide = self.vector.astype(np.float64)
        length = float(np.linalg.norm(wide))
        return wide / length if length > 0 else None

    def to_source(self, geometry: Geometry) -> Embedding:
        """Return itself: a vector has no place in the image."""
        del geometry
        return self

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"embedding": [numbers with six significant digits]}``.

        Six digits move a vector of any size by an angle below 1e-6, and any program reads them.
        """
        del labels
        return {"embedding": [float(f"{value:.{_DIGITS}g}") for value in self.vector.tolist()]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Embedding:
        """Read what `to_json` wrote; numbers come back as rounded there."""
        return cls(np.array(data["embedding"], np.float32))

    def difference(self, expected: Embedding) -> Difference:
        """Compare with a recorded result of the same image.

        The score is the cosine distance, 1 - cosine, 0 to 2. Vectors of two lengths are as far
        apart as any can be.
        """
        if len(self) != len(expected):
            return Difference(score=_FURTHEST)
        return Difference(score=1 - self.cosine(expected))


RESULT = Embedding
