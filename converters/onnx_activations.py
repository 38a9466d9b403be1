"""The distribution of every activation of an ONNX graph, gathered image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit
from edgecv.converters.feeds import Feeds
from edgecv.converters.statistics import Histogram, collect
from edgecv.errors import StepError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

BUDGET_BYTES = 1 << 30
"""Activations of one image that are held at once; a graph with more runs more than once."""


def histograms(
    model: onnx.ModelProto,
    feeds: Feeds,
    tensors: Sequence[str],
    *,
    budget_bytes: int = BUDGET_BYTES,
) -> dict[str, Histogram]:
    """Gather the histograms of tensors over all feeds.

    Args:
        model: with fixed shapes; not changed.
        feeds: its calibration inputs.
        tensors: names of inputs and computed tensors; those that are no floats are left out of the
            result.
        budget_bytes: see `BUDGET_BYTES`.

    Raises:
        StepError: there are no feeds, or ONNX Runtime cannot run the graph.
        ConversionError: a value is not finite.
    """
    inputs = {value.name for value in onnx_edit.Graph(model).inputs}
    inner = [name for name in dict.fromkeys(tensors) if name not in inputs]
    fed = [name for name in dict.fromkeys(tensors) if name in inputs]
    found: dict[str, Histogram] = {}
    for group in _groups(model, inner, budget_bytes):
        found |= collect(_runs(model, feeds, group, fed))
        fed = []
    if not found and tensors:
        raise StepError(
            "nothing to measure activations on",
            expected="calibration images, and activations of floats",
            got=f"{len(feeds)} images, {len(tensors)} tensors",
        )
    return found


def _runs(
    model: onnx.ModelProto, feeds: Feeds, inner: Sequence[str], fed: Sequence[str]
) -> Iterator[Mapping[str, Array]]:
    """Yield tensor name -> array for each image."""
    import onnx

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    # ONNX Runtime finds the type of an output that has none.
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    opened = onnx_edit.session(shown) if inner else None
    for feed in feeds:
        seen = {name: feed[name] for name in fed}
        yield {**seen, **onnx_edit.run(opened, feed)} if opened is not None else seen


def _groups(
    model: onnx.ModelProto, tensors: Sequence[str], budget_bytes: int
) -> Iterator[list[str]]:
    """Split tensors so that each group fits the budget; a lone one may not."""
    shapes = onnx_edit.Graph(model).shapes()
    group: list[str] = []
    held = 0
    for name in tensors:
        # 4 bytes a value; a tensor of unknown shape is rarely one of the large ones.
        size = 4 * int(np.prod([axis or 1 for axis in shapes.get(name, ())], dtype=np.int64))
        if group and held + size > budget_bytes:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    yield group
