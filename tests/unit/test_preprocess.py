"""Preprocessing against a plain reference, on every resize, colour, layout and dtype."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import preprocess
from edgecv.errors import UsageError
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import Quantization, TensorSpec

SIZE = (48, 64)
MEAN, STD = (1.0, 2.5, 3.0), (4.0, 50.0, 60.0)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def reference(image: np.ndarray, spec: Input, resized_hw, offset_xy) -> np.ndarray:
    """Do it one pixel at a time, in float64; returns (H, W, 3) in the model's channel order."""
    height, width = spec.size_hw
    rows, columns = resized_hw
    resized = cv2.resize(image, (columns, rows))
    canvas = np.full((height, width, 3), spec.pad_value, np.float64)
    left, top = offset_xy
    for y in range(height):
        for x in range(width):
            if 0 <= y - top < rows and 0 <= x - left < columns:
                canvas[y, x] = resized[y - top, x - left]
    if spec.color == "rgb":
        canvas = canvas[..., ::-1]
    return (canvas - spec.mean) / spec.std


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox-topleft", "crop"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("dtype", "quantization", "tolerance"),
    [
        ("float32", None, 1e-5),
        ("float16", None, 0.05),
        ("uint8", Quantization(0.31, 7), 0),
        ("int8", Quantization(0.31, -20), 0),
    ],
)
def test_agrees_with_the_reference(
    resize: str,
    color: str,
    layout: str,
    dtype: str,
    quantization: Quantization | None,
    tolerance: float,
) -> None:
    spec = Input(
        size_hw=SIZE, resize=resize, color=color, mean=MEAN, std=STD, crop_ratio=0.8, pad_value=99
    )
    shape = (1, 3, *SIZE) if layout == "NCHW" else (1, *SIZE, 3)
    preprocessor = Preprocessor(spec, TensorSpec("x", shape, dtype, quantization), layout)
    for image in (picture(90, 70), picture(30, 200, 1), picture(*SIZE, 2), picture(1, 1, 3)):
        tensor, geometry = preprocessor.prepare(image)
        assert tensor.shape == shape
        assert tensor.dtype == dtype
        expected = reference(image, spec, geometry.resized_hw, geometry.offset_xy)
        if quantization:
            levels = np.rint(expected / quantization.scale + quantization.zero_point)
            expected = np.clip(levels, np.iinfo(dtype).min, np.iinfo(dtype).max)
        got = tensor[0].transpose(1, 2, 0) if layout == "NCHW" else tensor[0]
        assert np.abs(got.astype(np.float64) - expected).max() <= tolerance


def test_grey_model() -> None:
    spec = Input(size_hw=SIZE, resize="stretch", color="grey", mean=(10.0,) * 3, std=(2.0,) * 3)
    image = picture(*SIZE)
    tensor, _ = Preprocessor(spec, TensorSpec("x", (1, 1, *SIZE), "float32"), "NCHW").prepare(image)
    expected = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64) - 10) / 2
    np.testing.assert_allclose(tensor[0, 0], expected, atol=1e-5)


def test_steps_inside_the_graph_are_left_to_it() -> None:
    spec = Input(size_hw=SIZE, resize="stretch", color="rgb", mean=MEAN, std=STD)
    tensor = TensorSpec("x", (1, *SIZE, 3), "uint8")
    image = picture(*SIZE)
    done, _ = Preprocessor(spec, tensor, "NHWC", ["color", "normalize"]).prepare(image)
    np.testing.assert_array_equal(done[0], image)
    done, _ = Preprocessor(spec, tensor, "NHWC", ["normalize"]).prepare(image)
    np.testing.assert_array_equal(done[0], image[..., ::-1])


def test_buffers_are_used_again_and_borders_stay_clean() -> None:
    spec = Input(size_hw=SIZE, resize="letterbox", color="bgr", pad_value=0)
    preprocessor = Preprocessor(spec, TensorSpec("x", (1, 3, *SIZE), "float32"), "NCHW")
    tall, wide = np.full((100, 20, 3), 255, np.uint8), np.full((20, 100, 3), 255, np.uint8)
    first, _ = preprocessor.prepare(tall)
    again, geometry = preprocessor.prepare(wide)
    assert np.shares_memory(again, first)
    rows = geometry.resized_hw[0]
    assert again.sum() == 255 * 3 * rows * SIZE[1], "the tall image must not shine through"


def test_threads_do_not_share_buffers() -> None:
    spec = Input(size_hw=SIZE, resize="letterbox", color="rgb")
    preprocessor = Preprocessor(spec, TensorSpec("x", (1, 3, *SIZE), "float32"), "NCHW")
    images = [np.full((40 + i, 60, 3), i * 30, np.uint8) for i in range(8)]
    expected = [preprocessor.prepare(image)[0].copy() for image in images]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(preprocessor.prepare(images[i])[0], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_very_thin_image_is_cropped_without_a_huge_intermediate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = Input(size_hw=SIZE, resize="crop", crop_ratio=0.8, color="bgr")
    preprocessor = Preprocessor(spec, TensorSpec("x", (1, 3, *SIZE), "float32"), "NCHW")
    image = picture(120, 160)
    plain = preprocessor.prepare(image)[0].copy()
    monkeypatch.setattr(preprocess, "_MAX_RESIZED_PIXELS", 1)
    sampled = preprocessor.prepare(image)[0]
    assert np.abs(sampled - plain).max() <= 1, "both ways must see the same pixels"
    monkeypatch.undo()
    thin = np.zeros((1, 60_000, 3), np.uint8)
    thin[:, 30_000:] = 200
    tensor, geometry = preprocessor.prepare(thin)
    assert geometry.resized_hw[1] > 10**6
    assert set(np.unique(tensor)) <= set(range(201))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from(["stretch", "letterbox", "letterbox-topleft", "crop"]),
)
def test_any_size_is_accepted(height: int, width: int, resize: str) -> None:
    spec = Input(size_hw=SIZE, resize=resize, color="bgr", pad_value=7)
    preprocessor = Preprocessor(spec, TensorSpec("x", (1, 3, *SIZE), "float32"), "NCHW")
    image = np.full((height, width, 3), 7, np.uint8)
    assert np.all(preprocessor.prepare(image)[0] == 7)


@pytest.mark.parametrize("shape", [(1, 3, 48, 60), (1, 48, 64, 3), (3, 48, 64), (1, 1, 48, 64)])
def test_tensor_that_does_not_fit(shape: tuple[int, ...]) -> None:
    spec = Input(size_hw=SIZE, resize="stretch")
    with pytest.raises(UsageError, match=r"input x: .*expected \[N,3,48,64\] \(NCHW\); got x"):
        Preprocessor(spec, TensorSpec("x", shape, "float32"), "NCHW")


def test_a_normalisation_that_an_integer_input_cannot_hold() -> None:
    spec = Input(size_hw=SIZE, resize="stretch", std=(255.0, 255.0, 255.0))
    with pytest.raises(UsageError, match="leaves 2 of 256 grey levels"):
        Preprocessor(spec, TensorSpec("x", (1, *SIZE, 3), "uint8"), "NHWC")
