"""Give the FakeQuantize operations of an OpenVINO model ranges of our own choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from edgecv.converters import openvino_graph
from edgecv.converters.calibrator import Calibrator
from edgecv.converters.feeds import Feeds
from edgecv.converters.statistics import Histogram, collect
from edgecv.types import Array

LEVELS = 256

Measured = dict[str, list[Histogram]]
"""Tensor -> one histogram, or one for each of its channels."""


def recalibrate(quantized: Any, measured: Mapping[str, list[Histogram]], by: Calibrator) -> int:
    """Set the range of each activation that `measured` knows.

    The tool gives activations that meet in one operation one range, so that they can be computed
    with one scale; so they get one here: the smallest that holds the range of each.

    Args:
        quantized: with FakeQuantize operations, of `LEVELS` levels; changed in place.
        measured: what `measure` returned.
        by: chooses the ranges.

    Returns:
        The number of operations that were changed.
    """
    groups: dict[tuple[bytes, ...], list[Any]] = defaultdict(list)
    for op in activations(quantized):
        if _source(op) in measured and op.get_levels() == LEVELS:
            groups[tuple(_limit(op, i).tobytes() for i in (1, 2))].append(op)
    for ops in groups.values():
        shape = _limit(ops[0], 1).shape
        chosen = [
            [by.choose(histogram) for histogram in measured[_source(op)]]
            for op in ops
            if len(measured[_source(op)]) == _limit(ops[0], 1).size
        ]
        if len(chosen) == len(ops):
            ranges = np.array(chosen, np.float64)  # (operations, channels, 2)
            low, high = aligned(ranges[..., 0].min(axis=0), ranges[..., 1].max(axis=0))
            for op in ops:
                _set(op, low.reshape(shape), high.reshape(shape))
    return sum(len(ops) for ops in groups.values())


def measure(model: Any, quantized: Any, feeds: Feeds, known: Measured) -> Measured:
    """Gather the histograms of the activations that a quantized model rounds.

    Args:
        model: the float model; tensors are found in it by the names of operations.
        quantized: made of it.
        feeds: calibration inputs.
        known: what was measured before with the same model and feeds.

    Returns:
        `known` and what it lacked.

    Raises:
        ConversionError: a value is not finite.
    """
    present = {op.get_friendly_name() for op in model.get_ops()}
    channels: dict[str, int | None] = {}
    for op in activations(quantized):
        name, limit = _source(op), _limit(op, 1)
        if name in present and len(known.get(name, ())) != limit.size:
            channels[name] = int(np.argmax(limit.shape)) if limit.size > 1 else None
    runs = openvino_graph.runs(model, feeds, list(channels))
    found: dict[str, list[Histogram]] = {name: [] for name in channels}
    # Parts of one tensor come in order.
    for key, histogram in collect(_split(runs, channels)).items():
        found[key.rpartition("\n")[0]].append(histogram)
    return known | found


def activations(quantized: Any) -> Iterator[Any]:
    """Yield the FakeQuantize operations on computed tensors."""
    for op in quantized.get_ordered_ops():
        rounds = op.get_type_name() == "FakeQuantize"
        if rounds and openvino_graph.constant(op.input_value(0)) is None:
            yield op


def aligned(low: Array, high: Array) -> tuple[Array, Array]:
    """Shift ranges by at most half a step, so that 0 is one of the `LEVELS` levels.

    Args:
        low: (N,) float64, at most 0.
        high: (N,) float64, at least 0 and above low.

    Returns:
        low and high, (N,) float32.
    """
    step = (high - low) / (LEVELS - 1)
    zero = np.rint(-low / step)
    return (-zero * step).astype(np.float32), ((LEVELS - 1 - zero) * step).astype(np.float32)


def _split(
    runs: Iterable[Mapping[str, Array]], channels: Mapping[str, int | None]
) -> Iterator[Mapping[str, Array]]:
    """Take tensors apart that have a range for each channel."""
    for run in runs:
        parts: dict[str, Array] = {}
        for name, value in run.items():
            axis = channels[name]
            pieces = [value] if axis is None else np.moveaxis(value, axis, 0)
            parts |= {f"{name}\n{i}": piece for i, piece in enumerate(pieces)}
        yield parts


def _source(op: Any) -> str:
    return str(op.input_value(0).get_node().get_friendly_name())


def _limit(op: Any, position: int) -> Array:
    return np.asarray(op.input_value(position).get_node().data, np.float32)


def _set(op: Any, low: Array, high: Array) -> None:
    opset = openvino_graph.require().opset13
    for position, value in enumerate((low, high, low, high), 1):
        op.input(position).replace_source_output(opset.constant(value).output(0))
