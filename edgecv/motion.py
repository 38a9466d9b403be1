"""How boxes move: a Kalman filter over real seconds, for many boxes at once.

The state of a box is its centre, width and height, each with a velocity. All noise is independent
between the four, as in SORT (Bewley et al. 2016, section 3.2) and DeepSORT (Wojke et al. 2017,
section 2.1), so the 8 x 8 filter falls apart into four filters of two numbers, whose equations are
written out here and work on all boxes in one go. Width and height take the place of SORT's area and
ratio, as in BoT-SORT (Aharon et al. 2022, section 3.1).

Noise grows with time, not with frames. Acceleration is continuous white noise (Bar-Shalom, Li,
Kirubarajan, Estimation with Applications to Tracking and Navigation, section 6.2.2), and position a
random walk besides. Both have the property that one prediction over t + u seconds is exactly a
prediction over t and one over u: a frame that never came changes nothing.

All noise is relative to a box's size, sqrt(width * height), so that the scale of an image and the
distance of an object do not matter.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from edgecv import boxes
from edgecv.types import Array, Float32

# Standard deviations in box sizes, for (centre x, centre y, width, height). DeepSORT's are per
# frame of video: 1/20 of the height for a measurement, 1/160 for the change of a velocity. At 30
# frames a second, with a size of 0.6 heights (a person), that gives these orders of magnitude.
_MEASURED = np.array([0.07, 0.07, 0.1, 0.1])
_WALK = np.array([0.15, 0.15, 0.15, 0.15])  # per square root of a second
_ACCELERATION = np.array([1.5, 1.5, 0.3, 0.3])  # sizes a second, per square root of a second
_FIRST_VELOCITY = np.array([2.0, 2.0, 0.3, 0.3])  # sizes a second
_GROWTH = 2.0


class Motion:
    """The motion of T boxes; T may be 0.

    Attributes:
        place: (T, 4) float64 centre x, centre y, width, height in pixels.
        velocity: (T, 4) float64 the same, pixels a second.
        var: (T, 3, 4) float64 variance of the place, covariance of place and velocity, variance
            of the velocity.
        seen: (T, 4) float64 the last measurement, as `place`.
    """

    def __init__(self, place: Array, velocity: Array, var: Array, seen: Array) -> None:
        self.place, self.velocity, self.var, self.seen = place, velocity, var, seen

    @classmethod
    def of(cls, xyxy: Float32) -> Self:
        """Start the motion of (N, 4) boxes, in pixels, of unknown velocity."""
        seen = _measure(xyxy)
        size = _size(seen)
        var = np.zeros((len(seen), 3, 4))
        var[:, 0] = (size * _MEASURED) ** 2
        var[:, 2] = (size * _FIRST_VELOCITY) ** 2
        return cls(seen.copy(), np.zeros_like(seen), var, seen)

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: Array) -> Self:
        """Copy some, by mask or indices."""
        return type(self)(
            self.place[index], self.velocity[index], self.var[index], self.seen[index]
        )

    def put(self, rows: Array, other: Motion) -> None:
        """Overwrite (K,) rows with the K of `other`."""
        self.place[rows], self.velocity[rows] = other.place, other.velocity
        self.var[rows], self.seen[rows] = other.var, other.seen

    def extended(self, other: Motion) -> Self:
        """Return these and those of `other` behind them."""
        pairs = (
            (self.place, other.place),
            (self.velocity, other.velocity),
            (self.var, other.var),
            (self.seen, other.seen),
        )
        return type(self)(*(np.concatenate(pair) for pair in pairs))

    def predict(self, seconds: float | Array) -> None:
        """Move on by a time, one for all or (T,), at least 0."""
        t = np.asarray(seconds, np.float64)
        t = t[:, None] if t.ndim else t
        size2 = _size(self.seen) ** 2
        jerk = size2 * _ACCELERATION**2
        p, pv, v = self.var[:, 0], self.var[:, 1], self.var[:, 2]
        self.place = self.place + self.velocity * t
        grown = np.empty_like(self.var)
        walk = size2 * _WALK**2
        grown[:, 0] = p + 2 * t * pv + t**2 * v + walk * t + jerk * t**3 / 3
        grown[:, 1] = pv + t * v + jerk * t**2 / 2
        grown[:, 2] = v + jerk * t
        self.var = grown

    def correct(self, rows: Array, xyxy: Float32) -> None:
        """Take (K, 4) measured boxes, in pixels, into (K,) rows, none twice."""
        seen = _measure(xyxy)
        p, pv, v = (self.var[rows, k] for k in range(3))
        total = p + (_size(seen) * _MEASURED) ** 2
        gain, velocity_gain = p / total, pv / total
        off = seen - self.place[rows]
        self.place[rows] += gain * off
        self.velocity[rows] += velocity_gain * off
        self.var[rows, 0] = (1 - gain) * p
        self.var[rows, 1] = (1 - gain) * pv
        self.var[rows, 2] = v - velocity_gain * pv
        self.seen[rows] = seen

    def xyxy(self) -> Float32:
        """Return the boxes (T, 4) in pixels; at most twice, at least half as large as last seen.

        A size that was changing when an object went out of sight is not to grow without end.
        """
        size = np.clip(self.place[:, 2:], self.seen[:, 2:] / _GROWTH, self.seen[:, 2:] * _GROWTH)
        half = size / 2
        corners = [self.place[:, :2] - half, self.place[:, :2] + half]
        return np.concatenate(corners, axis=1).astype(np.float32)

    def distance(self, rows: Array, xyxy: Float32) -> Array:
        """Compute squared Mahalanobis distances (K, N) of the centres of N boxes from (K,) rows.

        Source: DeepSORT, section 2.2, equation 1, for the centre alone.
        """
        seen = _measure(xyxy)[None, :, :2]
        noise = (_size(_measure(xyxy)) * _MEASURED[:2]) ** 2
        off = seen - self.place[rows, None, :2]
        return np.asarray((off**2 / (self.var[rows, 0, None, :2] + noise[None])).sum(axis=2))


def _measure(xyxy: Float32) -> Array:
    """Return centre and sides of (N, 4) boxes in float64; a side is at least a hundredth pixel."""
    place = boxes.to_cxcywh(np.asarray(xyxy, np.float64))
    place[:, 2:] = np.maximum(place[:, 2:], 0.01)
    return place


def _size(place: Array) -> Array:
    """Return sqrt(width * height) of (N, 4) places as (N, 1)."""
    return np.asarray(np.sqrt(place[:, 2:3] * place[:, 3:4]))
