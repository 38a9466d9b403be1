"""The resizes that average: Pillow's, to the bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from edgecv import antialias
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import Array, TensorSpec

PILLOW = {"linear": Pillow.Resampling.BILINEAR, "cubic": Pillow.Resampling.BICUBIC}


def expected(image: Array, size_hw: tuple[int, int], filter: str) -> Array:
    """Columns, then rows: newer versions of Pillow sometimes take rows first."""
    rows, columns = size_hw
    across = Pillow.fromarray(image).resize((columns, image.shape[0]), PILLOW[filter])
    return np.asarray(across.resize((columns, rows), PILLOW[filter]))


side = st.integers(1, 70)


@settings(max_examples=150, deadline=None)
@given(side, side, side, side, st.sampled_from(antialias.FILTERS), st.integers(0, 2**32 - 1))
def test_pillow_to_the_bit_in_every_window(height, width, rows, columns, filter, seed):
    random = np.random.default_rng(seed)
    # Two levels only in some: there bicubic overshoots, and halves are common.
    levels = random.integers(0, 256, (height, width, 3))
    image = (levels if seed % 2 else levels // 128 * 255).astype(np.uint8)
    whole = expected(image, (rows, columns), filter)
    found = antialias.resize(image, (rows, columns), (0, 0, columns, rows), filter)
    np.testing.assert_array_equal(found, whole)
    left, top = int(random.integers(columns)), int(random.integers(rows))
    right = int(random.integers(left + 1, columns + 1))
    bottom = int(random.integers(top + 1, rows + 1))
    part = antialias.resize(image, (rows, columns), (left, top, right, bottom), filter)
    np.testing.assert_array_equal(part, whole[top:bottom, left:right])


def test_halving_by_hand():
    """A triangle of twice the width: weights 1, 3, 3, 1 of 8; at the border 3, 3, 1 of 7."""
    image = np.zeros((1, 8, 3), np.uint8)
    image[0, :, 0] = 0, 0, 0, 80, 0, 0, 0, 70
    found = antialias.resize(image, (1, 4), (0, 0, 4, 1), "linear")
    # Pixel 1 looks at 1 to 4, pixel 2 at 3 to 6, pixel 3 at 5 to 7.
    assert found[0, :, 0].tolist() == [0, 30, 10, 30]
    assert not found[..., 1:].any()


def test_half_is_rounded_up_and_overshoot_is_cut():
    image = np.zeros((1, 8, 3), np.uint8)
    image[0, 3] = 4
    assert antialias.resize(image, (1, 4), (1, 0, 3, 1), "linear")[0, :, 0].tolist() == [2, 1]
    image[0, 3:5] = 255
    wide = antialias.resize(image, (1, 16), (0, 0, 16, 1), "cubic")
    assert wide.min() == 0
    assert wide.max() == 255


def test_nothing_to_do_copies_nothing():
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    assert np.shares_memory(antialias.resize(image, (4, 5), (1, 1, 4, 3), "cubic"), image)


def spec(resize: str, size_hw: tuple[int, int], **more: object) -> tuple[Input, TensorSpec]:
    said = Input(size_hw=size_hw, resize=resize, interpolation="linear-antialias", **more)
    return said, TensorSpec("x", (1, *size_hw, 3), "uint8")


@pytest.mark.parametrize("source", [(60, 80), (80, 61), (17, 300), (5, 5)])
def test_a_centre_crop_is_that_of_torchvision(source):
    image = np.random.default_rng(0).integers(0, 256, (*source, 3)).astype(np.uint8)
    said, tensor = spec("crop", (28, 28), crop_ratio=0.875, color="bgr")
    found = Preprocessor(said, tensor, "NHWC").prepare(image)[0][0]
    height, width = source
    scale = 32 / min(source)
    rows, columns = int(height * scale + 1e-6), int(width * scale + 1e-6)
    top, left = round((rows - 28) / 2), round((columns - 28) / 2)
    whole = expected(image, (rows, columns), "linear")
    np.testing.assert_array_equal(found, whole[top : top + 28, left : left + 28])


def test_a_letterbox_keeps_its_border():
    image = np.full((20, 40, 3), 200, np.uint8)
    said, tensor = spec("letterbox", (16, 16), pad_value=7, color="bgr")
    found = Preprocessor(said, tensor, "NHWC").prepare(image)[0][0]
    assert (found[4:12] == 200).all()
    assert (found[:4] == 7).all()
    assert (found[12:] == 7).all()


def test_a_very_thin_image_costs_no_more_than_what_is_seen():
    image = np.full((1, 40_000, 3), 90, np.uint8)
    said, tensor = spec("crop", (224, 224), crop_ratio=0.875)
    assert (Preprocessor(said, tensor, "NHWC").prepare(image)[0] == 90).all()


def test_threads_do_not_share_what_they_compute_in() -> None:
    chance = np.random.default_rng(3)
    images = [chance.integers(0, 256, (150 + 40 * i, 210, 3), dtype=np.uint8) for i in range(4)]

    def done(image: np.ndarray) -> np.ndarray:
        return antialias.resize(image, (64, 64), (0, 0, 64, 64), "linear")

    alone = [done(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for turn in range(30):
            for got, wanted in zip(pool.map(done, images), alone, strict=True):
                assert np.array_equal(got, wanted), turn
