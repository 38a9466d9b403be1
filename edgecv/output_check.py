"""Look at a model's raw outputs for what no metric is needed to see: files that cannot be right.

Quantized exports fail in a few well-known ways. The commonest: boxes in pixels and scores in 0-1
share one tensor, which has one scale; a step of 2.5 pixels does a box no harm, but leaves a score
with nothing but 0. Nothing here needs labels, or knows an engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from edgecv.errors import HeadError
from edgecv.head import load_head
from edgecv.model import ImageLike, Model
from edgecv.record import Record
from edgecv.score_parts import score_part
from edgecv.types import Array, TensorSpec

Severity = Literal["refuse", "warn"]

COARSE_STEP, HOPELESS_STEP = 0.02, 0.05
"""Steps of a score in 0-1: above the first it has fewer than 50 levels, above the second 20."""

_MIN_LEVELS = 16  # fewer different values say nothing about a lattice
_MAX_LEVELS = 65536
_OFF_PLACE = 0.1  # of a step, by which a value may miss its place on a lattice
_SPARSE = 8  # places of a lattice for each one that is taken; more are none
_FINISHED = ("end2end", "ssd", "tflite_ssd")
"""Heads whose rows are detections already."""
_SATURATED, _CUT_OFF = 0.1, 0.5  # shares of a tensor's values at one end of its integer type
_NOISE = 2e-7  # of a tensor's largest value: two units in the last place of a float32


class Flag(Record):
    """Something about a model's outputs that should not be.

    Attributes:
        code: for programs: ``not-finite``, ``constant-output``, ``shared-scale``,
            ``constant-scores``, ``saturated``, ``undecodable`` or ``nondeterministic``.
        severity: ``refuse`` where the file cannot do its task, ``warn`` where it may.
        message: one sentence for people.
    """

    code: str
    severity: Severity
    message: str


def dequantize(spec: TensorSpec, array: Array) -> Array:
    """Turn an engine's output into real values; one without quantization stays as it is."""
    q = spec.quantization
    if q is None:
        return array
    # float32 first: the zero point may not fit the tensor's own type.
    return (array.astype(np.float32) - q.zero_point) * np.float32(q.scale)


def check_outputs(
    head: str,
    options: Any,
    specs: Sequence[TensorSpec],
    runs: Sequence[Mapping[str, Array]],
    *,
    again: Mapping[str, Array] | None = None,
) -> tuple[Flag, ...]:
    """Judge the outputs that a model gave for a few different images.

    Args:
        head: name of the head that decodes them.
        options: of that head.
        specs: the model's outputs, as the engine reports them.
        runs: output name -> array in the tensor's own dtype, for each image.
        again: the outputs of a second run on the first image.
    """
    flags: list[Flag] = []
    for spec in specs:
        arrays = [run[spec.name] for run in runs]
        reals = [dequantize(spec, array) for array in arrays]
        if not_finite := _not_finite(spec, reals):
            flags += not_finite
            continue
        flags += _constant(head, spec, arrays)
        flags += _scores(head, options, spec, reals)
        flags += _saturated(spec, arrays)
        if again is not None and arrays:
            flags += _changed(spec, reals[0], dequantize(spec, again[spec.name]))
    if not any(flag.code == "not-finite" for flag in flags):
        flags += _undecodable(head, options, specs, runs)
    return tuple(flags)


def check_model(model: Model, images: Sequence[ImageLike]) -> tuple[Flag, ...]:
    """Run a model on a few images, and judge its raw outputs; see `check_outputs`.

    Args:
        model: as loaded.
        images: of any of the kinds that a model takes. Those that make the same input count once.

    Raises:
        ImageError: one is not a usable image.
        InferenceError: the engine failed.
    """
    inputs: list[Array] = []
    runs: list[dict[str, Array]] = []
    for image in images:
        tensor = model.prepare(image)
        if not any(np.array_equal(tensor, other) for other in inputs):
            inputs.append(tensor)
            runs.append(model.infer(tensor))
    if not runs:
        return ()
    again = model.infer(inputs[0])
    return check_outputs(model.head, model.options, model.outputs, runs, again=again)


def _not_finite(spec: TensorSpec, reals: Sequence[Array]) -> list[Flag]:
    lost = sum(int(np.count_nonzero(~np.isfinite(real))) for real in reals)
    if not lost:
        return []
    total = sum(real.size for real in reals)
    text = f"output {spec.name}: {lost:,} of {total:,} values are NaN or infinite"
    return [Flag("not-finite", "refuse", text)]


def _constant(head: str, spec: TensorSpec, arrays: Sequence[Array]) -> list[Flag]:
    """Flag a tensor that does not depend on the image."""
    first = arrays[0] if arrays else np.zeros(0)
    same = len(arrays) > 1 and all(np.array_equal(first, a, equal_nan=True) for a in arrays[1:])
    if not same:
        return []
    # Two images in which there is nothing can give the same integers (classes, rounded scores) and
    # the same finished detections, and a sure classifier the same zeros and a one.
    whole = bool((np.abs(first - np.rint(first)) < 0.01).all()) and bool(np.any(first))
    innocent = first.dtype.kind in "iub" or head in _FINISHED or whole or not first.size
    return [
        Flag(
            "constant-output",
            "warn" if innocent else "refuse",
            f"output {spec.name} is the same for {len(arrays)} different images",
        )
    ]


def _scores(head: str, options: Any, spec: TensorSpec, reals: Sequence[Array]) -> list[Flag]:
    """Flag scores that share a coarse scale with boxes, or that are all one value."""
    parts = [part for real in reals if (part := score_part(head, options, real)) is not None]
    if not parts:
        return []
    step = spec.quantization.scale if spec.quantization is not None else lattice_step(reals)
    if step is not None and step > COARSE_STEP:
        high = max((float(part.max(initial=0)) for part in parts), default=0.0)
        reached = "all scores are 0" if high == 0 else f"the highest score is {high:.3g}"
        return [
            Flag(
                "shared-scale",
                "refuse" if step > HOPELESS_STEP else "warn",
                f"output {spec.name}: class scores share an output scale with box coordinates: "
                f"its values are {step:.3g} apart, which leaves a score in 0-1 "
                f"{int(1 / step) + 1} level(s); {reached} on these images",
            )
        ]
    values = np.concatenate([part.ravel() for part in parts])
    if values.size < _MIN_LEVELS or not (values == values[0]).all():
        return []
    # All zero can be true of a rounded score where there is nothing to see.
    empty = values[0] == 0
    return [
        Flag(
            "constant-scores",
            "warn" if empty or head in _FINISHED else "refuse",
            f"output {spec.name}: every score is {values[0]:.3g} on {len(parts)} image(s)"
            + ("; try images that show what the model looks for" if empty else ""),
        )
    ]


def lattice_step(arrays: Sequence[Array]) -> float | None:
    """Find the step of the lattice that all values lie on; None where there is none.

    A graph that was quantized and puts out floats betrays its scale by this: any two neighbouring
    values are whole multiples of one distance apart, and many of its places are taken. Values of
    a short float type are multiples of something, too, but leave most places of it empty.

    Args:
        arrays: floats; what is not finite is left out.
    """
    values = np.unique(np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays]))
    values = values[np.isfinite(values)]
    if not _MIN_LEVELS <= values.size <= _MAX_LEVELS:
        return None
    gaps = np.diff(values)
    # Rounding in float32 makes two of what is one value.
    gaps = gaps[gaps > _NOISE * np.abs(values).max()]
    if gaps.size < _MIN_LEVELS - 1:
        return None
    # The smallest gap is known to a few digits only; all small ones together are known better.
    small = gaps[gaps < 10 * gaps.min()]
    step = float(small.sum() / np.rint(small / gaps.min()).sum())
    steps = gaps / step
    places = np.rint(steps)
    if (np.abs(steps - places) > _OFF_PLACE).any() or places.sum() > _SPARSE * gaps.size:
        return None
    return step


def _saturated(spec: TensorSpec, arrays: Sequence[Array]) -> list[Flag]:
    """Flag an integer tensor of which much lies at an end of its type."""
    q = spec.quantization
    if q is None or np.dtype(spec.dtype).kind not in "iu" or not arrays:
        return []
    limits = np.iinfo(spec.dtype)
    ends = [(int(end), (end - q.zero_point) * q.scale) for end in (limits.min, limits.max)]
    if all(abs(real) <= 1.01 for _, real in ends):
        return []  # probabilities and the like do reach their ends
    total = sum(array.size for array in arrays)
    flags = []
    for end, real in ends:
        share = sum(int(np.count_nonzero(array == end)) for array in arrays) / max(total, 1)
        if share < _SATURATED or abs(real) < q.scale / 2:  # 0 is the end of what cannot be less
            continue
        flags.append(
            Flag(
                "saturated",
                "refuse" if share >= _CUT_OFF else "warn",
                f"output {spec.name}: {share:.0%} of the values are cut off at {real:.4g}, "
                f"the end of its {spec.dtype}",
            )
        )
    return flags


def _changed(spec: TensorSpec, first: Array, second: Array) -> list[Flag]:
    if np.array_equal(first, second, equal_nan=True):
        return []
    if first.shape != second.shape:
        text = f"output {spec.name}: a second run on the same image gives {list(second.shape)}"
        return [Flag("nondeterministic", "warn", f"{text}, not {list(first.shape)}")]
    off = float(np.nanmax(np.abs(first.astype(np.float64) - second.astype(np.float64))))
    text = f"output {spec.name}: a second run on the same image differs by up to {off:.3g}"
    return [Flag("nondeterministic", "warn", text)]


def _undecodable(
    head: str, options: Any, specs: Sequence[TensorSpec], runs: Sequence[Mapping[str, Array]]
) -> list[Flag]:
    module = load_head(head)
    for run in runs:
        try:
            module.decode({s.name: dequantize(s, run[s.name]) for s in specs}, options)
        except HeadError as error:
            return [Flag("undecodable", "refuse", error.message)]
    return []
