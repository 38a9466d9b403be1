"""Raw outputs that cannot be right are flagged, and healthy ones are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.head import load_head
from edgecv.loading import load
from edgecv.output_check import (
    Flag,
    check_model,
    check_outputs,
    dequantize,
    lattice_step,
)
from edgecv.score_parts import score_part
from edgecv.types import Array, Quantization, TensorSpec
from tests import models

HW = (320, 320)
ANCHORS = 40 * 40 + 20 * 20 + 10 * 10


def options(head: str, **said: Any) -> Any:
    return load_head(head).Options(**{"input_hw": HW, **said})


def yolo(seed: int, classes: int = 5, anchors: int = ANCHORS) -> Array:
    """Draw outputs [1, 4 + classes, A] of a healthy model: mostly background, a few objects."""
    random = np.random.default_rng(seed)
    box = np.concatenate(
        [random.uniform(0, 320, (2, anchors)), random.uniform(4, 200, (2, anchors))]
    )
    score = random.beta(0.3, 12, (classes, anchors)) ** 2
    score[0, :5] = random.uniform(0.6, 0.9, 5)
    return np.concatenate([box, score])[None].astype(np.float32)


def rounded(values: Array, step: float) -> Array:
    """Round as a graph does that quantizes and dequantizes."""
    return (np.round(values / np.float32(step)) * np.float32(step)).astype(np.float32)


def spec_of(array: Array, quantization: Quantization | None = None) -> TensorSpec:
    return TensorSpec("y", array.shape, array.dtype.name, quantization)


def check(head: str, arrays: Sequence[Array], **more: Any) -> tuple[Flag, ...]:
    spec = spec_of(arrays[0], more.pop("quantization", None))
    again = more.pop("again", None)
    return check_outputs(
        head,
        options(head, **more),
        [spec],
        [{"y": array} for array in arrays],
        again=None if again is None else {"y": again},
    )


def codes(flags: Sequence[Flag]) -> list[tuple[str, str]]:
    return [(flag.code, flag.severity) for flag in flags]


HEALTHY = [yolo(seed) for seed in range(3)]
SCALE = 320 / 255


def test_a_healthy_float_model_has_no_flags() -> None:
    assert check("yolo", HEALTHY) == ()
    assert check("yolo", HEALTHY[:1]) == ()
    assert check("yolo", [array.transpose(0, 2, 1) for array in HEALTHY]) == ()


def test_pixels_and_scores_on_one_integer_scale_are_refused() -> None:
    arrays = [np.round(a / SCALE).clip(0, 255).astype(np.uint8) for a in HEALTHY]
    flags = check("yolo", arrays, quantization=Quantization(SCALE, 0))
    assert codes(flags)[0] == ("shared-scale", "refuse")
    assert "class scores share an output scale with box coordinates" in flags[0].message
    assert "1.25 apart" in flags[0].message


def test_the_same_in_a_graph_that_puts_out_floats() -> None:
    flags = check("yolo", [rounded(a, SCALE) for a in HEALTHY])
    assert ("shared-scale", "refuse") in codes(flags)
    blind = [a.copy() for a in HEALTHY]
    for a in blind:
        a[:, 4:] *= 0.5  # all below half a step
    flags = check("yolo", [rounded(a, SCALE) for a in blind])
    assert codes(flags) == [("shared-scale", "refuse")]
    assert "all scores are 0" in flags[0].message


@pytest.mark.parametrize("step", [1 / 256, 0.0098])
def test_a_fine_shared_scale_is_healthy(step: float) -> None:
    """Boxes in 0-1 in 8 bits, and pixels in 16."""
    parts = [a.copy() for a in HEALTHY]
    for a in parts:
        a[:, :4] /= 320 if step < 0.005 else 1
    assert check("yolo", [rounded(a, step) for a in parts]) == ()


def test_a_scale_in_between_is_a_warning() -> None:
    flags = check("yolo", [rounded(a / np.float32(40), 0.03) for a in HEALTHY], normalized=False)
    assert codes(flags) == [("shared-scale", "warn")]


def test_scores_with_a_scale_of_their_own_are_healthy() -> None:
    """Boxes on a coarse lattice do no harm where scores are on a fine one."""
    arrays = [
        np.concatenate([rounded(a[:, :4], SCALE), rounded(a[:, 4:], 1 / 256)], axis=1)
        for a in HEALTHY
    ]
    assert check("yolo", arrays) == ()


@pytest.mark.parametrize("bits", [7, 10])
def test_short_float_types_are_no_lattice(bits: int) -> None:
    """bfloat16 and float16 have coarse steps at large values, and fine ones at small values."""

    def shortened(values: Array) -> Array:
        mantissa, exponent = np.frexp(values)
        return np.ldexp(np.round(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent)

    assert check("yolo", [shortened(a) for a in HEALTHY]) == ()
    empty = [a.copy() for a in HEALTHY]
    for a in empty:
        a[:, :4] = np.maximum(a[:, :4], 5)
        a[:, 4:] = 1e-5  # nothing in sight, so that only the boxes can tell
        a[:, 4:, 0] = 2e-5
    flags = check("yolo", [shortened(a) for a in empty])
    assert "shared-scale" not in [flag.code for flag in flags]


def rows(seed: int, columns: int, count: int = 3 * ANCHORS) -> Array:
    random = np.random.default_rng(seed)
    box = random.uniform(1, 320, (count, 4))
    score = random.beta(0.3, 12, (count, columns - 4))
    return np.concatenate([box, score], axis=1)[None].astype(np.float32)


def end2end(seed: int, count: int = 300) -> Array:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 200, (count, 2))
    score = np.sort(random.beta(0.3, 3, count))[::-1]
    class_id = random.integers(0, 80, count)
    made = np.column_stack([low, low + random.uniform(5, 100, (count, 2)), score, class_id])
    return made[None].astype(np.float32)


def ssd(seed: int) -> Array:
    found = end2end(seed)[0]
    made = np.column_stack([np.zeros(300), found[:, 5], found[:, 4], found[:, :4] / 320])
    return made[None, None].astype(np.float32)


def fastestdet(seed: int) -> Array:
    random = np.random.default_rng(seed)
    made = random.beta(0.3, 12, (1, 15, 20, 20))
    made[:, 1:5] = random.normal(0, 3, (1, 4, 20, 20))
    return made.astype(np.float32)


MIXED = {
    "yolov5": (lambda seed: rows(seed, 15), SCALE),
    "yolox": (lambda seed: np.log(rows(seed, 15, ANCHORS)), 0.06),
    "end2end": (end2end, SCALE),
    "ssd": (ssd, 80 / 255),
    "fastestdet": (fastestdet, 0.09),
}


@pytest.mark.parametrize("head", MIXED)
def test_every_head_with_one_tensor(head: str) -> None:
    make, step = MIXED[head]
    arrays = [make(seed) for seed in range(3)]
    if head == "yolox":  # only the boxes are logarithms
        arrays = [np.concatenate([a[..., :4], np.exp(a[..., 4:])], axis=2) for a in arrays]
    assert check(head, arrays) == ()
    flags = check(head, [rounded(a, step) for a in arrays])
    assert ("shared-scale", "refuse") in codes(flags)


def test_the_scores_of_each_layout() -> None:
    array = HEALTHY[0]
    expected = array[0, 4:]
    np.testing.assert_array_equal(score_part("yolo", options("yolo"), array), expected)
    swapped = array.transpose(0, 2, 1)
    np.testing.assert_array_equal(score_part("yolo", options("yolo"), swapped), expected.T)
    few = yolo(0, classes=5, anchors=6)
    found = score_part("yolo", options("yolo", num_classes=5), few)
    np.testing.assert_array_equal(found, few[0, 4:])
    found = score_part("yolo", options("yolo", transposed=True), few)
    np.testing.assert_array_equal(found, few[0, :, 4:])
    maps = fastestdet(0)
    found = score_part("fastestdet", options("fastestdet"), maps)
    assert found is not None
    np.testing.assert_array_equal(found[:, 0], maps[:, 0])
    np.testing.assert_array_equal(found[:, 1:], maps[:, 5:])
    assert score_part("softmax", options("softmax"), array) is None


def test_what_is_not_finite_is_refused() -> None:
    broken = [a.copy() for a in HEALTHY]
    broken[1][0, 5, :7] = np.nan
    broken[2][0, 0, 0] = np.inf
    flags = check("yolo", broken)
    assert codes(flags) == [("not-finite", "refuse")]
    assert "8 of 56,700 values" in flags[0].message


def test_one_answer_for_every_image_is_refused() -> None:
    flags = check("yolo", [HEALTHY[0]] * 3)
    assert codes(flags) == [("constant-output", "refuse")]
    assert "the same for 3 different images" in flags[0].message
    dead = np.full((1, 10), 0.1, np.float32)
    assert codes(check("softmax", [dead, dead])) == [("constant-output", "refuse")]
    zero = np.zeros((1, 9, ANCHORS), np.float32)
    assert ("constant-output", "refuse") in codes(check("yolo", [zero, zero]))


def test_answers_that_may_well_be_the_same_are_a_warning() -> None:
    sure = np.eye(1, 10, 3, dtype=np.float32)
    assert codes(check("softmax", [sure, sure])) == [("constant-output", "warn")]
    coarse = np.array([[0, 255, 0]], np.uint8)
    flags = check("softmax", [coarse, coarse], quantization=Quantization(1 / 255, 0))
    assert codes(flags) == [("constant-output", "warn")]
    nothing = np.zeros((1, 300, 6), np.float32)
    flags = check("end2end", [nothing, nothing])
    assert {flag.severity for flag in flags} == {"warn"}
    assert check("end2end", [np.zeros((1, 0, 6), np.float32)]) == ()


def test_scores_of_one_value() -> None:
    stuck = [a.copy() for a in HEALTHY]
    for a in stuck:
        a[:, 4:] = 0.5
    assert codes(check("yolo", stuck)) == [("constant-scores", "refuse")]
    for a in stuck:
        a[:, 4:] = 0
    flags = check("yolo", stuck)
    assert codes(flags) == [("constant-scores", "warn")]
    assert "try images that show" in flags[0].message


def test_saturated_integers() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 60, (2, 1, 1000))
    q = Quantization(0.1, 0)
    healthy = [np.clip(np.round(v), -128, 127).astype(np.int8) for v in logits / 2]
    assert check("softmax", healthy, quantization=q) == ()
    cut = [np.clip(np.round(v * 3), -128, 127).astype(np.int8) for v in logits]
    flags = check("softmax", cut, quantization=q)
    assert codes(flags) == [("saturated", "warn")] * 2
    assert "cut off at -12.8, the end of its int8" in flags[0].message
    gone = [np.where(v > -30, 127, -5).astype(np.int8) for v in logits]
    assert ("saturated", "refuse") in codes(check("softmax", gone, quantization=q))


def test_probabilities_and_zeros_may_lie_at_the_end() -> None:
    random = np.random.default_rng(0)
    sure = [np.where(random.random((1, 1000)) < 0.5, 255, 0).astype(np.uint8) for _ in range(2)]
    assert check("softmax", sure, quantization=Quantization(1 / 255, 0)) == ()
    many = [random.integers(-200, 200, (1, 1000)).clip(0, 255).astype(np.uint8) for _ in range(2)]
    assert check("softmax", many, quantization=Quantization(0.1, 0)) == ()


def test_a_second_run_that_differs_is_a_warning() -> None:
    other = HEALTHY[0].copy()
    other[0, 0, 3] += 0.5
    assert check("yolo", HEALTHY, again=HEALTHY[0].copy()) == ()
    flags = check("yolo", HEALTHY, again=other)
    assert codes(flags) == [("nondeterministic", "warn")]
    assert "differs by up to 0.5" in flags[0].message


def test_what_the_head_cannot_decode_is_refused() -> None:
    logits = [a.copy() for a in HEALTHY]
    for a in logits:
        a[:, 4:] *= 20
    flags = check("yolo", logits)
    assert codes(flags) == [("undecodable", "refuse")]
    assert "no probabilities" in flags[0].message


def test_dequantize() -> None:
    array = np.array([0, 128, 255], np.uint8)
    spec = spec_of(array, Quantization(0.5, 128))
    np.testing.assert_array_equal(dequantize(spec, array), [-64, 0, 63.5])
    assert dequantize(spec_of(array), array) is array


@pytest.mark.parametrize("step", [0.3, 1.2549, 2.5098])
def test_the_step_of_a_lattice(step: float) -> None:
    random = np.random.default_rng(1)
    values = rounded(random.uniform(-50, 640, 5000).astype(np.float32), step)
    assert lattice_step([values]) == pytest.approx(step, rel=1e-3)


def test_what_is_no_lattice() -> None:
    random = np.random.default_rng(1)
    assert lattice_step([random.uniform(0, 640, 5000)]) is None
    assert lattice_step([random.uniform(0, 640, 40)]) is None
    assert lattice_step([np.arange(10.0)]) is None, "too few values to tell"
    sparse = np.cumsum(random.integers(20, 60, 50)).astype(float)
    assert lattice_step([sparse]) is None, "whole numbers, most of them not taken"
    assert lattice_step([np.full(100, np.nan)]) is None


def test_a_model_is_run_and_judged(tmp_path: Path) -> None:
    images = [models.image(seed) for seed in range(3)]
    path = models.onnx_detector(tmp_path / "d.onnx")
    with load(path, head="yolo", trusted=True) as model:
        assert check_model(model, images) == ()
        assert check_model(model, []) == ()
        # The same picture thrice is one input: nothing can be said of it.
        assert check_model(model, [images[0]] * 3) == ()
        dark = check_model(model, [models.image(color=0)])
        assert codes(dark) == [("constant-scores", "warn")]
    with load(
        models.null_detector(tmp_path / "n.null.json"), head="end2end", trusted=True
    ) as model:
        assert codes(check_model(model, images)) == [("constant-output", "warn")]


def test_the_scores_of_rows_with_more_behind_them() -> None:
    rng = np.random.default_rng(0)
    for head, extras in (("yolo_seg", 32), ("yolo_obb", 1)):
        free = rng.random((1, 4 + 3 + extras, 500)).astype(np.float32)
        given = load_head(head).Options(input_hw=(160, 160))
        np.testing.assert_array_equal(score_part(head, given, free), free[0, 4:7])
        turned = free.transpose(0, 2, 1)
        np.testing.assert_array_equal(score_part(head, given, turned), free[0, 4:7].T)
        final = rng.random((1, 300, 6 + extras)).astype(np.float32)
        np.testing.assert_array_equal(score_part(head, given, final), final[..., 4])
    given = load_head("yolo_seg").Options(input_hw=(160, 160))
    objects = rng.random((1, 3 * 525, 5 + 2 + 32)).astype(np.float32)
    np.testing.assert_array_equal(score_part("yolo_seg", given, objects), objects[..., 4:7])
    assert score_part("yolo_seg", given, np.zeros((1, 32, 40, 40), np.float32)) is None
