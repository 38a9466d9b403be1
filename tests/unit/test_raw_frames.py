"""Frames that are converted when somebody looks, and not before."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgecv import codecs
from edgecv.manifest import Input
from edgecv.model import read_pixels
from edgecv.planes import as_planes
from edgecv.preprocess import Preprocessor
from edgecv.raw_frames import RawFrame, pixels_of, same_pixels
from edgecv.types import Frame, TensorSpec


class Counting:
    """Raw pixels that count what is asked of them."""

    shape = (4, 6, 3)

    def __init__(self, value: int = 7) -> None:
        self.value, self.conversions, self.resizes = value, 0, 0

    def to_bgr(self) -> np.ndarray:
        self.conversions += 1
        return np.full(self.shape, self.value, np.uint8)

    def resized(self, size_hw, interpolation):
        self.resizes += 1
        return np.full((*size_hw, 3), self.value + 1, np.uint8)

    def same(self, other) -> bool:
        return isinstance(other, Counting) and self.value == other.value


def test_the_image_is_converted_once_when_looked_at() -> None:
    raw = Counting()
    frame = RawFrame.of(raw, index=3, timestamp_s=0.5, stream="door")
    assert isinstance(frame, Frame)
    assert not frame.converted
    assert (frame.index, frame.timestamp_s, frame.stream, frame.epoch) == (3, 0.5, "door", 0)
    assert raw.conversions == 0
    assert frame.image.shape == (4, 6, 3)
    assert frame.image is frame.image
    assert frame.converted
    assert raw.conversions == 1


def test_a_changed_copy_stays_unconverted() -> None:
    raw = Counting()
    frame = RawFrame.of(raw).replace(index=9, epoch=2)
    assert (frame.index, frame.epoch, frame.converted, raw.conversions) == (9, 2, False, 0)
    drawn = frame.replace(image=np.zeros((4, 6, 3), np.uint8))
    assert drawn.converted
    assert drawn.image.max() == 0
    assert raw.conversions == 0


def test_it_is_a_record_like_any_other() -> None:
    frame = RawFrame.of(Counting(), index=1)
    assert frame == frame.replace()
    assert frame != frame.replace(index=2)
    assert frame.to_fields()["image"].shape == (4, 6, 3)
    with pytest.raises(AttributeError, match="replace"):
        frame.index = 4
    with pytest.raises(AttributeError, match="nothing"):
        frame.nothing  # noqa: B018


def test_pixels_of() -> None:
    raw = Counting()
    frame = RawFrame.of(raw)
    assert pixels_of(frame) is raw
    image = frame.image
    assert pixels_of(frame) is image
    assert pixels_of(Frame(image)) is image


def test_same_pixels() -> None:
    a, b = np.zeros((20, 6, 3), np.uint8), np.zeros((20, 6, 3), np.uint8)
    assert same_pixels(Frame(a), Frame(b))
    b[19, 5, 2] = 1
    assert not same_pixels(Frame(a), Frame(b))
    assert not same_pixels(Frame(a), Frame(a[:10]))
    one, two = RawFrame.of(Counting(1)), RawFrame.of(Counting(2))
    assert same_pixels(one, one.replace(index=5))
    assert not same_pixels(one, two)
    assert one.raw.conversions == two.raw.conversions == 0
    assert same_pixels(one, Frame(np.full((4, 6, 3), 1, np.uint8)))


def preprocessor(size: tuple[int, int], resize: str = "letterbox") -> Preprocessor:
    spec = Input(size_hw=size, resize=resize, color="bgr", mean=(0, 0, 0), std=(1, 1, 1))
    return Preprocessor(spec, TensorSpec("x", (1, *size, 3), "uint8"), "NHWC")


def test_a_model_converts_at_the_size_that_it_needs() -> None:
    raw = Counting()
    tensor, geometry = preprocessor((3, 3)).prepare(raw)
    assert (raw.conversions, raw.resizes) == (0, 1)
    assert geometry.source_hw == (4, 6)
    assert (tensor == raw.value + 1).any()


def test_a_model_takes_a_looked_at_frame_as_it_is() -> None:
    frame = RawFrame.of(Counting(), source="camera")
    image = frame.image
    pixels, source = read_pixels(frame, None)
    assert pixels is image
    assert source == "camera"


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop", "letterbox-topleft"])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (120, 200), (97, 61)])
def test_planes_give_a_tensor_as_good_as_that_of_the_image(
    resize: str, size: tuple[int, int]
) -> None:
    blobs = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    true = cv2.resize(blobs, (160, 120), interpolation=cv2.INTER_CUBIC)
    planes = as_planes(cv2.cvtColor(true, cv2.COLOR_BGR2YUV_I420), "i420")
    prepare = preprocessor(size, resize).prepare
    (early, geometry), (late, wanted) = (
        (tensor.copy(), fit) for tensor, fit in (prepare(planes), prepare(planes.to_bgr()))
    )
    assert geometry == wanted
    # Converted first or resized first: what counts is the picture before its colours were halved.
    best = prepare(true)[0].astype(int)
    assert np.abs(early - best).mean() <= np.abs(late - best).mean() + 0.05


def test_codecs_and_models_take_raw_pixels() -> None:
    assert codecs.as_image(Counting()).shape == (4, 6, 3)
    planes = as_planes(np.full((4, 6), 9, np.uint8), "grey")
    np.testing.assert_array_equal(codecs.as_image(planes), np.full((4, 6, 3), 9, np.uint8))
    pixels, source = read_pixels(RawFrame.of(planes, source="here"), None)
    assert pixels is planes
    assert source == "here"
