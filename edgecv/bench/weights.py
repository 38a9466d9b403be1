"""How large a network's constants are, from its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecv import onnx_file
from edgecv.bundle import is_bundle, open_bundle
from edgecv.engines import choose_backend, find_model_file, gather
from edgecv.errors import EdgecvError
from edgecv.flatbuffer import Table
from edgecv.types import ModelSource
from edgecv.variants import choose_variant

if TYPE_CHECKING:
    from edgecv.bench.cell import Cell

# Field numbers of TensorFlow Lite's schema.fbs: Model.buffers, Buffer.data.
_TFLITE_BUFFERS, _BUFFER_DATA = 4, 0


def weights_bytes(cell: Cell) -> int | None:
    """Return the bytes of the constants that a cell's model holds; None where it cannot be told."""
    backend, variant = cell.load.get("backend"), cell.load.get("variant")
    try:
        if not is_bundle(cell.model):
            path = find_model_file(cell.model)
            return count(gather(path, choose_backend(path, backend)))
        with open_bundle(cell.model) as bundle:
            chosen, _ = choose_variant(bundle.manifest, variant, backend)
            return count(bundle.source(chosen))
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
