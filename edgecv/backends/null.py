"""A backend without an engine, for tests of the layers above.

Opens a JSON file that names tensors and says what comes out::

    {"inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}],
     "outputs": [{"name": "y", "shape": [1, 2], "dtype": "float32", "values": [0.25, 0.75]}],
     "metadata": {"key": "value"}}

``values`` fills an output, repeated as often as needed; ``"mean"`` instead fills it with the mean
of the first input, image by image; nothing fills it with 0. A shape may hold null. A free axis of
an output is as long as the first input's batch axis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import session
from edgecv.types import (
    Array,
    ModelSource,
    Quantization,
    SessionInfo,
    SessionOptions,
    TensorSpec,
)

ENGINE = "edgecv"
EXTRA: str | None = None
SUFFIXES = (".null.json",)


def version() -> str | None:
    """Return "1": it is always there."""
    return "1"


def companions(path: Path) -> tuple[Path, ...]:
    """Return (): the file stands alone."""
    del path
    return ()


def open_session(source: ModelSource, options: SessionOptions) -> NullSession:
    """Open a JSON file; see `edgecv.types.Backend.open_session`."""
    session.only_as_the_file_says("the null backend", options, "leave it out")
    session.only_extras("the null backend", options, {})
    return NullSession(source, options)


class NullSession:
    """A model that computes nothing."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        main = source.main
        self._name = str(source)
        try:
            data = json.loads(main.read_bytes() if isinstance(main, Path) else bytes(main))
            self._inputs = tuple(map(_spec, data["inputs"]))
            self._outputs = tuple(map(_spec, data["outputs"]))
            self._values = [output.get("values", [0]) for output in data["outputs"]]
            self._metadata = {str(k): str(v) for k, v in data.get("metadata", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise session.refused(source, "the null backend", error) from None
        self.engine: Any = self
        self._info = SessionInfo("null", "null 1", "none", options.threads or 1, "fp32")

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the file's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the file's order."""
        return self._outputs

    @property
    def info(self) -> SessionInfo:
        """What was opened."""
        return self._info

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says under ``metadata``."""
        return self._metadata

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`."""
        if self.engine is None:
            raise session.closed(self._name)
        session.check_inputs(self._inputs, inputs)
        first = inputs[self._inputs[0].name]
        outputs: dict[str, Array] = {}
        for spec, values in zip(self._outputs, self._values, strict=True):
            shape = tuple(first.shape[0] if n is None else n for n in spec.shape)
            if values == "mean":
                means = first.reshape(len(first), -1).mean(axis=1)
                column = means.reshape(-1, *[1] * (len(shape) - 1))
                outputs[spec.name] = np.broadcast_to(column, shape).astype(spec.dtype)
            else:
                outputs[spec.name] = np.resize(np.array(values, spec.dtype), shape)
        return outputs

    def close(self) -> None:
        """Refuse every run from now on."""
        self.engine = None


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    q = entry.get("quantization")
    quantization = None if q is None else Quantization(float(q["scale"]), int(q["zero_point"]))
    shape = tuple(None if n is None else int(n) for n in entry["shape"])
    return TensorSpec(str(entry["name"]), shape, np.dtype(entry["dtype"]).name, quantization)
