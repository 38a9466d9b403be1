"""Running a TFLite graph so that every tensor can be looked at."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgecv.converters.tflite_file import Graph
from edgecv.errors import DependencyMissingError, StepError
from edgecv.types import Array


class Probe:
    """A TFLite file, open with all its tensors kept.

    Args:
        path: of the file.

    Raises:
        DependencyMissingError: LiteRT is not installed.
        StepError: LiteRT refuses the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise DependencyMissingError(
                "looking into TFLite files needs ai-edge-litert",
                remedy="pip install 'edgecv[convert]'",
            ) from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that keeping tensors takes memory
                self._engine: Any = Interpreter(
                    model_path=str(path), experimental_preserve_all_tensors=True
                )
            self._engine.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise StepError(f"LiteRT refuses the file: {error}", where=str(path)) from error
        self._inputs = {item["name"]: item["index"] for item in self._engine.get_input_details()}

    def run(self, inputs: Mapping[str, Array]) -> None:
        """Run once, with input name -> array."""
        for name, values in inputs.items():
            self._engine.set_tensor(self._inputs[name], values)
        self._engine.invoke()

    def read(self, tensors: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yield (tensor, copy of what it holds since the last run), one at a time.

        One that the engine did without is left out.
        """
        for tensor in tensors:
            try:
                yield tensor, self._engine.get_tensor(tensor)
            except ValueError:
                continue


def run_once(graph: Graph, inputs: Sequence[Array]) -> dict[int, Array]:
    """Run a graph in memory and return tensor -> what it holds, constants left out.

    Args:
        graph: not changed.
        inputs: in the order of the graph's inputs.
    """
    with TemporaryDirectory(prefix="edgecv-tflite-") as folder:
        path = Path(folder) / "model.tflite"
        graph.write(path)
        probe = Probe(path)
        names = [graph.name(tensor) for tensor in graph.inputs]
        probe.run(dict(zip(names, inputs, strict=True)))
        wanted = [t for t in range(len(graph.body.tensors)) if graph.constant(t) is None]
        return dict(probe.read(wanted))
