"""The filter: against the same one written as 8 x 8 matrices, and time that may be cut anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import motion as module
from edgecv.motion import Motion


class Matrices:
    """The textbook filter of one box, with full matrices."""

    def __init__(self, z: np.ndarray) -> None:
        self.size = float(np.sqrt(z[2] * z[3]))
        self.x = np.concatenate([z, np.zeros(4)])
        first = np.concatenate([module._MEASURED, module._FIRST_VELOCITY])
        self.p = np.diag((self.size * first) ** 2)

    def predict(self, t: float) -> None:
        f = np.eye(8)
        f[:4, 4:] = t * np.eye(4)
        a = np.diag((self.size * module._ACCELERATION) ** 2)
        w = np.diag((self.size * module._WALK) ** 2)
        q = np.block([[a * t**3 / 3 + w * t, a * t**2 / 2], [a * t**2 / 2, a * t]])
        self.x, self.p = f @ self.x, f @ self.p @ f.T + q

    def correct(self, z: np.ndarray) -> None:
        self.size = float(np.sqrt(z[2] * z[3]))
        h = np.eye(4, 8)
        s = h @ self.p @ h.T + np.diag((self.size * module._MEASURED) ** 2)
        k = self.p @ h.T @ np.linalg.inv(s)
        self.x = self.x + k @ (z - h @ self.x)
        self.p = (np.eye(8) - k @ h) @ self.p


def xyxy(z: np.ndarray) -> np.ndarray:
    return np.concatenate([z[:2] - z[2:] / 2, z[:2] + z[2:] / 2])[None].astype(np.float32)


def test_it_is_the_textbook_filter() -> None:
    random = np.random.default_rng(0)
    z = np.array([100.0, 60, 40, 80])
    one, other = Motion.of(xyxy(z)), Matrices(z)
    for _ in range(20):
        t = float(random.uniform(0, 0.5))
        one.predict(t)
        other.predict(t)
        z = z + random.normal(0, 4, 4)
        one.correct(np.array([0]), xyxy(z))
        other.correct(z)
        assert one.place[0] == pytest.approx(other.x[:4], rel=1e-5)
        assert one.velocity[0] == pytest.approx(other.x[4:], rel=1e-4, abs=1e-3)
        assert one.var[0, 0] == pytest.approx(np.diag(other.p)[:4], rel=1e-5)
        assert one.var[0, 1] == pytest.approx(np.diag(other.p, 4), rel=1e-5)
        assert one.var[0, 2] == pytest.approx(np.diag(other.p)[4:], rel=1e-5)


@given(parts=st.lists(st.floats(0, 2), min_size=1, max_size=6))
def test_time_may_be_cut_anywhere(parts: list[float]) -> None:
    one, other = Motion.of(np.array([[0, 0, 40, 80]], np.float32)), None
    one.predict(0.1)
    one.correct(np.array([0]), np.array([[8, 2, 48, 82]], np.float32))
    other = one[np.array([0])]
    one.predict(sum(parts))
    for part in parts:
        other.predict(part)
    assert one.place == pytest.approx(other.place, rel=1e-9)
    assert one.var == pytest.approx(other.var, rel=1e-9)


@settings(max_examples=30)
@given(rate=st.sampled_from([5.0, 25.0, 100.0]), speed=st.floats(-200, 200))
def test_a_steady_velocity_is_learned_at_any_rate(rate: float, speed: float) -> None:
    motion = Motion.of(np.array([[0, 0, 40, 80]], np.float32))
    for k in range(1, round(3 * rate)):
        motion.predict(1 / rate)
        x = speed * k / rate
        motion.correct(np.array([0]), np.array([[x, 0, x + 40, 80]], np.float32))
    assert motion.velocity[0, 0] == pytest.approx(speed, abs=1 + 0.02 * abs(speed))


def test_a_size_does_not_grow_without_end() -> None:
    motion = Motion.of(np.array([[0, 0, 40, 80]], np.float32))
    motion.velocity[:, 2:] = 100, -100
    motion.predict(10)
    left, top, right, bottom = motion.xyxy()[0]
    assert (right - left, bottom - top) == (80, 40)


def test_rows_of_different_times_and_none_at_all() -> None:
    motion = Motion.of(np.array([[0, 0, 10, 10]] * 2, np.float32))
    motion.velocity[:, 0] = 7
    motion.predict(np.array([1.0, 3.0]))
    assert motion.place[:, 0].tolist() == [12, 26]
    empty = Motion.of(np.zeros((0, 4), np.float32))
    empty.predict(1)
    assert empty.xyxy().shape == (0, 4)
    assert len(empty.extended(motion)) == 2


def test_distance_is_in_standard_deviations() -> None:
    motion = Motion.of(np.array([[0, 0, 10, 10]], np.float32))
    sigma = np.sqrt(2) * 0.07 * 10  # of the place and of the measurement
    near = np.array([[sigma, 0, 10 + sigma, 10], [0, 2 * sigma, 10, 10 + 2 * sigma]], np.float32)
    assert motion.distance(np.array([0]), near)[0] == pytest.approx([1, 4], rel=1e-5)
