"""The motion gate: still frames are skipped, whatever else the camera does; motion never is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgecv.errors import UsageError
from edgecv.motion_gate import MotionGate, MotionGateOptions

FPS = 25


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """(240, 320, 3) uint8, a soft pattern with all levels from 20 to 230."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 9)
    return cv2.normalize(soft, None, 20, 230, cv2.NORM_MINMAX)


class Camera:
    """Adds noise that is the same in every run."""

    def __init__(self, sigma: float) -> None:
        self.sigma, self.random = sigma, np.random.default_rng(1)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        noise = self.random.normal(0, self.sigma, picture.shape)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)


def run(gate: MotionGate, pictures: list[np.ndarray]) -> list[bool]:
    return [gate.update(picture, k / FPS) for k, picture in enumerate(pictures)]


@pytest.mark.parametrize("sigma", [0, 2, 8, 20])
def test_noise_is_not_motion(scene: np.ndarray, sigma: float) -> None:
    camera, gate = Camera(sigma), MotionGate()
    counted = run(gate, [camera(scene) for _ in range(100)])
    assert counted[:26] == [True] * 26, "the first frame is a change, and is held for a second"
    # Strong noise takes ten frames to be known as such; until then it is motion, and held.
    known = 26 if sigma < 5 else 36
    assert not any(counted[known:])
    assert (gate.seen, gate.skipped) == (100, counted.count(False))
    # A shrunk pixel is the mean of four, its grey level a weighted mean of three colours; levels
    # are whole numbers, whose differences tell noise in steps of 1.05.
    assert gate.noise == pytest.approx(sigma / 2 * 0.67, abs=0.53)


def test_a_frame_counts_now_and_then_whatever_is_seen(scene: np.ndarray) -> None:
    gate = MotionGate(MotionGateOptions(refresh_s=2, hold_s=0))
    counted = [gate.update(scene, k * 0.5) for k in range(17)]
    assert [k for k, value in enumerate(counted) if value] == [0, 4, 8, 12, 16]


def test_slow_light_is_not_motion(scene: np.ndarray) -> None:
    camera, gate = Camera(2), MotionGate(MotionGateOptions(refresh_s=1000))
    counted = run(gate, [camera(scene * (1 - 0.4 * k / 150)) for k in range(150)])
    assert not any(counted[26:])


def test_slow_light_in_a_part_of_the_picture_is_not_motion(scene: np.ndarray) -> None:
    """A cloud's shadow over one half: 20 levels in 20 seconds, absorbed by the refreshes."""
    camera, gate = Camera(2), MotionGate(MotionGateOptions(hold_s=0))
    picture = scene.astype(float)
    counted = []
    for k in range(100):
        picture[:, 160:] -= 20 / 100
        counted.append(gate.update(camera(np.maximum(picture, 0)), k / 5))
    assert sum(counted) <= 1 + 20 / 5


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.3])
def test_a_flash_is_not_motion(scene: np.ndarray, factor: float) -> None:
    camera, gate = Camera(2), MotionGate()
    pictures = [camera(scene * (factor if 40 <= k < 43 else 1)) for k in range(60)]
    assert not any(run(gate, pictures)[26:])


@pytest.mark.parametrize("size", [5, 8, 20])
@pytest.mark.parametrize("factor", [1.0, 0.7])
def test_a_small_object_is_motion_in_any_light(scene: np.ndarray, size: int, factor: float) -> None:
    """1/64 of the picture's width, 80 levels darker or lighter than what is behind."""
    camera, gate = Camera(2), MotionGate()
    pictures = []
    for k in range(60):
        picture = scene * (factor if k >= 40 else 1.0)
        if k >= 45:
            x = 20 + 4 * k
            patch = picture[100 : 100 + size, x : x + size]
            picture[100 : 100 + size, x : x + size] = np.where(patch < 120, patch + 80, patch - 80)
        pictures.append(camera(picture))
    counted = run(gate, pictures)
    assert not any(counted[26:45])
    assert all(counted[45:])


def test_something_slow_is_seen_once_it_has_moved_far_enough(scene: np.ndarray) -> None:
    camera, gate = Camera(1), MotionGate(MotionGateOptions(refresh_s=1000))
    pictures = []
    for k in range(150):
        picture = scene.astype(float)
        x = 100 + k / 5
        cv2.circle(picture, (round(x * 16), 100 * 16), 30 * 16, (250, 250, 250), -1, cv2.LINE_AA, 4)
        pictures.append(camera(picture))
    assert any(run(gate, pictures)[30:])


def test_another_scene_and_another_size_are_changes(scene: np.ndarray) -> None:
    gate = MotionGate(MotionGateOptions(hold_s=0, refresh_s=1000))
    other = cv2.flip(scene, 1)
    assert run(gate, [scene, scene, other, other]) == [True, False, True, False]
    assert gate.update(other[:120], 1.0)


def test_a_new_scene_is_not_taken_for_noise(scene: np.ndarray) -> None:
    camera, gate = Camera(1), MotionGate(MotionGateOptions(hold_s=0, refresh_s=1000))
    other = cv2.flip(scene, 1)
    faint = other.astype(float)
    faint[100:120, 100:120] += 15
    pictures = [camera(picture) for picture in (scene, scene, other, faint)]
    assert run(gate, pictures) == [True, False, True, True]


def test_tiny_dark_and_flat_pictures() -> None:
    for picture in (np.zeros((1, 1, 3)), np.zeros((50, 3, 3)), np.full((99, 99, 3), 255)):
        gate = MotionGate(MotionGateOptions(hold_s=0))
        assert run(gate, [picture.astype(np.uint8)] * 3) == [True, False, False]


def test_time_options_and_reset(scene: np.ndarray) -> None:
    gate = MotionGate(MotionGateOptions(hold_s=0))
    assert gate.update(scene, 5.0)
    with pytest.raises(UsageError, match="goes backwards"):
        gate.update(scene, 4.0)
    gate.reset()
    assert gate.update(scene, 1.0)
    assert (gate.seen, gate.skipped) == (2, 0)
    with pytest.raises(UsageError, match="motion gate option width: expected 16 to 1920; got 2"):
        MotionGateOptions(width=2)
