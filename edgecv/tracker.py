"""What a tracker is, and how one is made.

A tracker is a module in ``trackers/`` with ``Options``, a record, and ``create(options)``. It gives
the detections of each frame the ids of the objects that they belong to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from edgecv import plugins
from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.results.detections import Detections

if TYPE_CHECKING:
    from edgecv.types import Float32

DEFAULT = "bytetrack"


class TrackerOptions(Record, kw_only=True):
    """Options that every tracker has; a tracker's own ``Options`` extends it.

    Scores are the detections' own, 0-1. Nothing counts frames but `confirm_hits`.

    Attributes:
        high_score: detections that score it or more find their tracks first.
        new_score: only detections that score it or more begin a track.
        min_iou: a detection continues a track where it overlaps the place that is predicted for
            it by this IoU or more.
        confirm_hits: a track gets its id with so many detections in a row; tracks that begin in
            the first frame get it at once. 1 gives ids at once always.
        max_lost_s: a track that is out of sight longer has ended.
        max_gap_s: where no frame comes for longer than this, and than `max_lost_s`, all end.
        across_classes: let a track go on with a detection of another class. By default an id
            never changes its class.
        appearance_weight: share of the embeddings in the cost of a pair, where there are any.
        appearance_distance: up to this cosine distance (1 - cosine) an object that was out of
            sight is taken for the same: where it is expected, and else wherever its motion makes
            it possible.
        max_tracks: more are not kept; those unseen for longest go first.
    """

    high_score: float = 0.5
    new_score: float = 0.6
    min_iou: float = 0.2
    confirm_hits: int = 2
    max_lost_s: float = 1.0
    max_gap_s: float = 10.0
    across_classes: bool = False
    appearance_weight: float = 0.5
    appearance_distance: float = 0.25
    max_tracks: int = 1000

    def __post_init__(self) -> None:
        shares = ("high_score", "new_score", "min_iou", "appearance_weight")
        for name, low, high in (
            *((share, 0.0, 1.0) for share in shares),
            ("confirm_hits", 1, 1000),
            ("max_lost_s", 0.0, 1e6),
            ("max_gap_s", 0.0, 1e6),
            ("appearance_distance", 0.0, 2.0),
            ("max_tracks", 1, 100_000),
        ):
            check_range(self, name, low, high)


def check_range(options: Record, name: str, low: float, high: float) -> None:
    """Raise UsageError where an option lies outside a range."""
    value = getattr(options, name)
    if not low <= value <= high:
        raise UsageError(
            "", where=f"tracker option {name}", expected=f"{low:g} to {high:g}", got=repr(value)
        )


class Tracker(Protocol):
    """Follows the objects of one stream; every stream needs its own."""

    @property
    def min_score(self) -> float:
        """The lowest score that it makes use of: what to set the model's ``confidence`` to."""

    def update(
        self,
        detections: Detections,
        timestamp_s: float,
        embeddings: Float32 | None = None,
    ) -> Detections:
        """Take the detections of the next frame.

        Oriented boxes and masks are followed by their upright hull, `Detections.xyxy`.

        Args:
            detections: of one frame, N of them in any order; may be none.
            timestamp_s: when the frame was taken, in seconds on the stream's clock. The same time
                as before is taken as another look at the same moment.
            embeddings: (N, D) what each looks like, of any length but 0, with the same D in every
                frame; or None.

        Returns:
            The same detections in the same order, with `track_id` filled in: ids from 1 that this
            tracker gives to one object only, 0 for what is not followed (yet).

        Raises:
            UsageError: the time is not finite or lies before that of the last frame, or the
                embeddings do not fit. The tracker is as it was.
        """

    def lost(self) -> Detections:
        """Return the objects that are followed, but were not seen in the last frame.

        Boxes are where they are expected now, scores and classes the last ones seen.
        """

    def reset(self) -> None:
        """Forget all tracks and the time, as for a new epoch of a stream; ids go on counting."""


class TrackerModule(Protocol):
    """What a module in ``trackers/`` offers."""

    Options: type[TrackerOptions]
    """Its options, all with defaults."""

    def create(self, options: Any) -> Tracker:
        """Make a tracker that has seen nothing.

        Raises:
            DependencyMissingError: the assignment solver is not installed.
        """


def create_tracker(name: str = DEFAULT, **options: Any) -> Tracker:
    """Make a tracker by name.

    Args:
        name: a plug-in in ``trackers/``.
        **options: fields of its ``Options``.

    Raises:
        UsageError: no such tracker or option, or a value that it cannot have.
        DependencyMissingError: the assignment solver is not installed.
    """
    from edgecv import schema

    module = cast(TrackerModule, plugins.load("trackers", name))
    where = f"tracker {name}"
    for option in options:
        if option not in module.Options.record_fields:
            known = ", ".join(module.Options.record_fields)
            raise UsageError(
                "unknown option", where=where, expected=f"one of {known}", got=repr(option)
            )
    return module.create(schema.validate(module.Options, options, where, UsageError))


def unit_embeddings(detections: Detections, embeddings: Float32 | None) -> Float32 | None:
    """Check the embeddings of a frame and scale them to length 1.

    Returns:
        (N, D) float32, or None.

    Raises:
        UsageError: not one vector a detection, or one without a direction.
    """
    if embeddings is None:
        return None
    vectors = np.asarray(embeddings, np.float32)
    n = len(detections)
    if vectors.ndim != 2 or len(vectors) != n:
        raise UsageError("", where="embeddings", expected=f"shape ({n}, D)", got=str(vectors.shape))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise UsageError(
            "a vector without a direction", where="embeddings", expected="finite and not all 0"
        )
    return np.asarray(vectors / length, np.float32)
