"""The files of what ran, and how large a network's constants in them are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecv import onnx_file
from edgecv.bundle import is_bundle, open_bundle
from edgecv.engines import find_model_file, gather
from edgecv.errors import EdgecvError
from edgecv.flatbuffer import Table
from edgecv.types import ModelSource

# Field numbers of TensorFlow Lite's schema.fbs: Model.buffers, Buffer.data.
_TFLITE_BUFFERS, _BUFFER_DATA = 4, 0


@contextmanager
def opened(
    model: Path, variant: str, backend: str
) -> Iterator[tuple[ModelSource, tuple[int, int] | None]]:
    """Open what ran.

    Args:
        model: a bundle or a bare model file.
        variant: of the bundle; of no meaning for a bare file.
        backend: of the bare file; of no meaning for a bundle.

    Yields:
        Its files, and the (height, width) of its input where the bundle says it.

    Raises:
        EdgecvError: it cannot be opened.
    """
    if not is_bundle(model):
        yield gather(find_model_file(model), backend), None
        return
    with open_bundle(model) as bundle:
        yield bundle.source(bundle.manifest.variant(variant)), bundle.manifest.input.size_hw


def weights_bytes(model: Path, variant: str, backend: str) -> int | None:
    """Return the bytes of the constants in what ran, see `opened`; None where it is not told."""
    try:
        with opened(model, variant, backend) as (source, _):
            return count(source)
    except EdgecvError:
        return None


def count(source: ModelSource) -> int | None:
    """Count the bytes of constants in a model's files.

    ONNX: the values of all tensors and files of external data. OpenVINO: the ``.bin``. TFLite: all
    buffers.
    """
    parts = list(source.parts.items())
    name, main = parts[0]
    companions = sum(_size(part) for _, part in parts[1:])
    if name.endswith(".onnx"):
        return onnx_file.read(main, name).weights_bytes + companions
    if name.endswith(".xml"):
        return companions
    if name.endswith(".tflite"):
        data = memoryview(main.read_bytes()) if isinstance(main, Path) else main
        try:
            tables = Table.root(data).tables(_TFLITE_BUFFERS)
            return sum(table.data(_BUFFER_DATA).nbytes for table in tables)
        except ValueError:
            return None
    return None


def _size(part: Path | memoryview) -> int:
    return part.nbytes if isinstance(part, memoryview) else part.stat().st_size
