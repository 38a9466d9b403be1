"""Skip frames in which nothing moved, at a small part of what inference costs."""

from __future__ import annotations

import cv2
import numpy as np

from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.types import Array, Image
from edgecv.zones import check_time

_SHARE_MOVED = 0.3  # of the picture: more is another scene, a turned camera, a light switched on
_FULL = 4 / 9  # of a pixel's 3 x 3 neighbours that changed with it
_SPREAD = 1.4826  # from the median absolute deviation to a standard deviation
_LEARNED = 0.1  # of the noise at each frame; more of the first ones
_BURNT = 248.0
_RELIT_GAIN, _RELIT_OFFSET = 0.08, 8.0  # what counts as another light


class MotionGateOptions(Record, kw_only=True):
    """When a frame is worth a look.

    Attributes:
        width: pixels that the picture is shrunk to. An object of less than two of them is not
            seen: at 160, about 1/80 of the picture's width.
        min_level: a pixel that changes by less, in 0-255, has not changed.
        noise_factor: nor has one that changes by less than this many standard deviations of the
            noise, which is measured all the time.
        hold_s: after a change, every frame counts for so long: what came to rest is still looked
            at, and a tracker gets its detections in a row.
        refresh_s: a frame counts at the latest after this time, whatever is seen.
    """

    width: int = 160
    min_level: float = 8.0
    noise_factor: float = 6.0
    hold_s: float = 1.0
    refresh_s: float = 5.0

    def __post_init__(self) -> None:
        limits = {
            "width": (16, 1920),
            "min_level": (0, 255),
            "noise_factor": (0, 1000),
            "hold_s": (0, 1e6),
            "refresh_s": (0, 1e6),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(
                    "",
                    where=f"motion gate option {name}",
                    expected=f"{low:g} to {high:g}",
                    got=repr(value),
                )


class MotionGate:
    """Decides for each frame of one stream whether to run inference.

    A frame is compared with the last one that counted, so that something slow is seen once it has
    moved far enough. Brightness and contrast of the whole picture are first made equal to those of
    that frame, by a straight line through the pixels that most agree, so that clouds, exposure
    control and a flash do not look like motion; a light that changes only a part of the picture
    does. What changed must hold together: at least four of nine neighbouring pixels.

    Attributes:
        seen: frames so far.
        skipped: how many of them did not count.
    """

    def __init__(self, options: MotionGateOptions | None = None) -> None:
        self.options = options or MotionGateOptions()
        self.seen = self.skipped = 0
        self.reset()

    def reset(self) -> None:
        """Forget the picture, the noise and the time; the counts stay."""
        self._reference: _Small | None = None
        self._previous: _Small | None = None
        self._noise, self._learned = 0.0, 0
        self._now_s: float | None = None
        self._moved_s = self._counted_s = float("-inf")

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of a shrunk pixel, in 0-255; 0 before it is known."""
        return self._noise

    def update(self, image: Image, timestamp_s: float) -> bool:
        """Tell whether to run inference on the next frame.

        Args:
            image: (H, W, 3) uint8 BGR; another size than before counts as a change.
            timestamp_s: when it was taken; not before the last one.

        Raises:
            UsageError: the time is not finite or goes backwards.
        """
        self._now_s = check_time(self._now_s, timestamp_s)
        small = _Small(image, self.options.width)
        self.seen += 1
        moved = self._changed(small)
        self._measure_noise(small)
        if moved:
            self._moved_s = timestamp_s
        counts = (
            moved
            or timestamp_s - self._moved_s <= self.options.hold_s
            or timestamp_s - self._counted_s >= self.options.refresh_s
        )
        self._previous = small
        if counts:
            self._reference, self._counted_s = small, timestamp_s
        else:
            self.skipped += 1
        return counts

    def _changed(self, now: _Small) -> bool:
        before = self._reference
        if before is None or before.grey.shape != now.grey.shape:
            return True
        limit = max(self.options.min_level, self.options.noise_factor * self._noise)
        expected, same_light = _relit(before, now)
        changed = np.abs(now.grey - expected) > limit
        if not same_light:
            changed &= ~(before.burnt | now.burnt)
        mask = changed.astype(np.float32)
        if mask.mean() > _SHARE_MOVED:
            return True
        around = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_CONSTANT)
        return bool((around[changed] > _FULL - 0.01).any())

    def _measure_noise(self, now: _Small) -> None:
        """Learn from two frames in a row: most pixels of most pairs show no motion.

        One pair never more than doubles the noise, so that a new scene is not taken for it.
        """
        before = self._previous
        if before is None or before.grey.shape != now.grey.shape:
            return
        difference = np.abs(now.grey - _relit(before, now)[0])
        # The difference of two frames has the noise of both.
        sigma = _SPREAD * float(np.median(difference)) / 2**0.5
        self._learned += 1
        rate = max(_LEARNED, 1 / self._learned)
        self._noise += rate * (min(sigma, 2 * self._noise + 1) - self._noise)


class _Small:
    """A shrunk picture: (h, w) float32 grey levels, and bool where a colour is at its end."""

    def __init__(self, image: Image, width: int) -> None:
        factor = min(1.0, width / image.shape[1])
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        self.grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        self.burnt = small.max(axis=2) > _BURNT


def _relit(before: _Small, after: _Small) -> tuple[Array, bool]:
    """Return the grey levels of an earlier picture in the light of a later one.

    The line after = gain * before + offset is fitted by least squares, three times, each time
    without the pixels that are farthest from it, which may be what moves. Where a colour is burnt
    out, levels are no longer in proportion to light.

    Returns:
        (h, w) float32, cut at 0 and 255 as a camera does, and whether the light is the same.
    """
    use = ~(before.burnt | after.burnt) & (before.grey > 4) & (after.grey > 4)
    gain, offset = 1.0, 0.0
    if use.sum() >= max(16, use.size // 20):
        x, y = before.grey[use], after.grey[use]
        off = np.abs(y - x - np.median(y - x))
        for _ in range(3):
            close = off <= max(2.0, 3 * _SPREAD * float(np.median(off)))
            gain, offset = _line(x[close], y[close])
            off = np.abs(y - gain * x - offset)
    same = abs(gain - 1) <= _RELIT_GAIN and abs(offset) <= _RELIT_OFFSET
    return np.clip(gain * before.grey + offset, 0, 255), same


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Fit y = gain * x + offset; a picture without contrast has gain 1."""
    mean_x, mean_y = float(x.mean()), float(y.mean())
    spread = float(((x - mean_x) ** 2).mean())
    if spread < 4:
        return 1.0, mean_y - mean_x
    gain = float(((x - mean_x) * (y - mean_y)).mean()) / spread
    # No shutter changes a picture by more in a moment that is not a new picture.
    gain = min(4.0, max(0.25, gain))
    return gain, mean_y - gain * mean_x
