"""ai-edge-quantizer on a TFLite file: what several plug-ins need of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgecv.converters.feeds import Feeds
from edgecv.converters.quiet import quiet
from edgecv.converters.statistics import Histogram, collect
from edgecv.converters.tflite_file import Graph, Ranges
from edgecv.converters.tflite_run import Probe
from edgecv.errors import DependencyMissingError, StepError
from edgecv.types import Array


def recipe_manager() -> Any:
    """Make an empty ``RecipeManager``.

    Raises:
        DependencyMissingError: ai-edge-quantizer is not installed.
    """
    try:
        with quiet():
            from ai_edge_quantizer.recipe_manager import RecipeManager
    except ImportError:
        raise DependencyMissingError(
            "lowering TFLite files needs ai-edge-quantizer", remedy="pip install 'edgecv[convert]'"
        ) from None
    return RecipeManager()


def leave_in_float(manager: Any, graph: Graph, ops: Iterable[str], *, outputs: bool) -> None:
    """Except ops from what a recipe says about all of them.

    Args:
        manager: a ``RecipeManager``; changed.
        graph: where the ops are.
        ops: their names, as `Graph.op_name` has them.
        outputs: whether the model's outputs are to stay in float, too.
    """
    wanted = set(ops)
    # The tool knows an op by the names of its outputs, with a semicolon behind each.
    scopes = [
        "".join(f"{graph.name(int(tensor))};" for tensor in op.outputs)
        for op in graph.ops
        if graph.op_name(op) in wanted
    ]
    if scopes:
        regex = f"^(?:{'|'.join(map(re.escape, scopes))})$"
        manager.add_quantization_config(regex, "*", algorithm_key="no_quantize")
    if outputs:
        manager.add_quantization_config(".*", "OUTPUT", algorithm_key="no_quantize")


def apply_recipe(path: Path, manager: Any, made: Path, ranges: Ranges | None = None) -> Graph:
    """Lower a float TFLite file.

    Args:
        path: the float file.
        manager: a ``RecipeManager`` that says how.
        made: where it will be written, for errors.
        ranges: tensor name -> (low, high) of its values; for static recipes.

    Returns:
        The lowered graph, whose inputs and outputs have the names of the float file's.

    Raises:
        StepError: the tool failed.
    """
    before = Graph.read(path)
    shapes = {before.name(t): before.shape(t) for t in range(len(before.body.tensors))}
    known = {
        name: {"min": _rank(shapes[name], low), "max": _rank(shapes[name], high)}
        for name, (low, high) in (ranges or {}).items()
    }
    with TemporaryDirectory(prefix="edgecv-tflite-") as scratch:
        draft = Path(scratch) / "model.tflite"
        try:
            with quiet():
                from ai_edge_quantizer.quantizer import Quantizer

                tool = Quantizer(str(path))
                tool.load_quantization_recipe(manager.get_quantization_recipe())
                tool.quantize(
                    known or None, enable_progress_bar=False, enable_progress_report=False
                ).export_model(str(draft))
        except Exception as error:  # the tool raises whatever its parts do
            text = " ".join(str(error).split())[:400]
            raise StepError(
                f"ai-edge-quantizer failed: {text or type(error).__name__}", where=str(made)
            ) from error
        graph = Graph.read(draft)
    for old, new in zip(before.inputs + before.outputs, graph.inputs + graph.outputs, strict=True):
        graph.rename(new, before.name(old))
    graph.sign()
    return graph


def _rank(shape: tuple[int, ...], value: float) -> Array:
    """Make the array that the tool expects: of the tensor's rank, with one value."""
    return np.full((1,) * len(shape), value, np.float32)


def observe(graph: Graph, path: Path, feeds: Feeds) -> dict[str, Histogram]:
    """Gather a histogram of every computed float tensor of a file over calibration inputs.

    Args:
        graph: of the file.
        path: of the file.
        feeds: its inputs.

    Raises:
        StepError: LiteRT refuses the file.
        ConversionError: a value is not finite.
    """
    wanted = [
        tensor
        for tensor in range(len(graph.body.tensors))
        if graph.constant(tensor) is None and graph.dtype(tensor) == "float32"
    ]
    probe = Probe(path)

    def runs() -> Iterable[Mapping[str, Array]]:
        for inputs in feeds:
            probe.run(inputs)
            # One tensor at a time: together they would take many times the model's memory.
            for tensor, values in probe.read(wanted):
                yield {graph.name(tensor): values}

    return collect(runs())
