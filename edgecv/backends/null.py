"""A backend without an engine, for tests of the layers above.

Opens a JSON file that names tensors and says what comes out::

    {"inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}],
     "outputs": [{"name": "y", "shape": [1, 2], "dtype": "float32", "values": [0.25, 0.75]}],
     "metadata": {"key": "value"}}

``values`` is a list of numbers that fill the output, repeated as often as needed; or ``"mean"``,
which fills each image's part of the output with the mean of that image in the first input; without
it the output is 0. A shape may hold null, for a free axis; in an output it is as long as the first
axis of the first input. ``"quantization": {"scale": 0.5, "zero_point": 3}`` may be added to any
tensor, and is reported only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import session
from edgecv.types import (
    Array,
    ModelSource,
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


def lacks(precision: str, features: Sequence[str] | None = None) -> str | None:
    """Return None: the file alone decides."""
    del precision, features
    return None


def companions(path: Path) -> tuple[Path, ...]:
    """Return (): the file stands alone."""
    del path
    return ()


def open_session(source: ModelSource, options: SessionOptions) -> NullSession:
    """Open a JSON file; see `edgecv.types.Backend.open_session`."""
    session.check_source(source, "the null backend", SUFFIXES)
    session.check_as_the_file_says("the null backend", options, "fp32", "leave it out")
    session.check_extras("the null backend", options, {})
    return NullSession(source, options)


class NullSession(session.OpenSession):
    """A model that computes nothing."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        main = source.main
        self._name = str(source)
        threads = session.threads(options)
        session.streams(options)
        try:
            data = json.loads(main.read_bytes() if isinstance(main, Path) else bytes(main))
            self._inputs = tuple(map(_spec, data["inputs"]))
            self._outputs = tuple(map(_spec, data["outputs"]))
            self._values = tuple(map(_values, data["outputs"], self._outputs))
            self._metadata = {str(k): str(v) for k, v in data.get("metadata", {}).items()}
            if not self._inputs or not self._inputs[0].shape:
                raise ValueError("the first input needs at least one axis")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise session.refused(source, "the null backend", error) from error
        self.engine: Any = self
        self._check = session.InputCheck(self._inputs)
        self._info = SessionInfo("null", f"null {version()}", "none", threads, "fp32", streams=None)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`."""
        if self.engine is None:
            raise session.closed(self._name)
        self._check(inputs)
        first = inputs[self._inputs[0].name]
        outputs: dict[str, Array] = {}
        for spec, values in zip(self._outputs, self._values, strict=True):
            shape = tuple(len(first) if n is None else n for n in spec.shape)
            if values is None:
                means = first.reshape(len(first), -1).mean(axis=1)
                column = means.reshape(-1, *[1] * (len(shape) - 1))
                outputs[spec.name] = np.broadcast_to(column, shape).astype(spec.dtype)
            else:
                outputs[spec.name] = np.resize(values, shape)
        return outputs

    def close(self) -> None:
        """Refuse every run from now on."""
        self.engine = None


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    q = entry.get("quantization")
    return TensorSpec(
        str(entry["name"]),
        tuple(None if n is None else int(n) for n in entry["shape"]),
        np.dtype(entry["dtype"]).name,
        None if q is None else session.quantization([q["scale"]], [q["zero_point"]]),
    )


def _values(entry: Mapping[str, Any], spec: TensorSpec) -> Array | None:
    """Return the numbers that fill an output, or None for the mean of the input."""
    values = entry.get("values", [0])
    if values == "mean":
        return None
    if not isinstance(values, list) or not values:
        raise ValueError(f"outputs: {spec.name}: values: expected numbers or 'mean'")
    return np.array(values, spec.dtype)
