"""Convert a model whose results edgecv cannot decode: files and a proof, without a bundle."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edgecv
from edgecv import schema
from edgecv.bundle import SUFFIX
from edgecv.converters.artifact import Artifact, Format
from edgecv.converters.flavour import Flavour
from edgecv.converters.graphs import Graphs, image_input
from edgecv.converters.order import Order
from edgecv.converters.proof import MADE_UP, images_of, prove
from edgecv.converters.source import open_source
from edgecv.converters.splits import calibration_images
from edgecv.converters.workspace import Workspace
from edgecv.errors import ConversionError, UsageError
from edgecv.hints import Hints
from edgecv.manifest import Input

SCHEMA = "edgecv.graphs/1"


@dataclass(frozen=True, slots=True)
class GraphsOnly:
    """What came out.

    Attributes:
        path: the folder that was written.
        files: format -> main file in it.
        document: what ``proof.json`` holds.
    """

    path: Path
    files: dict[str, Path]
    document: dict[str, Any]


def convert_graphs(order: Order, progress: Callable[[str], None] | None = None) -> GraphsOnly:
    """Make the float file of every format, prove each, and write them into a folder.

    Args:
        order: formats, source, hints about the pixels, and images (`data` or `calibration`); the
            images need no labels, and some are made up where there are none.
        progress: called with one line for each thing that is done.

    Raises:
        UsageError: the output exists, or is meant to be an archive.
        ConversionError: a step failed, or a file does not compute what its source does.
    """
    output = order.output
    if output.exists() or output.suffix == SUFFIX:
        raise UsageError(
            "exists already" if output.exists() else "files without a bundle go into a folder",
            where=str(output),
            remedy="name a new folder",
        )
    with order.workspace(progress) as workspace:
        return _carry_out(order, workspace)


def _carry_out(order: Order, workspace: Workspace) -> GraphsOnly:
    source = open_source(order.request)
    graphs = Graphs(workspace, source, order.request.input_hw)
    graphs.check_formats(order.formats)
    images = images_of(
        calibration_images(order.calibration, order.data, order.calibration_limit, needed=False),
        None,
    )
    spec = _pixels(graphs.first, order.hints.over(source.hints))
    graphs.prepare(spec, images)
    proofs = prove(graphs, order.formats, spec, None, images, fused=False)
    files = {name: graphs.get(Flavour(name)) for name in order.formats}
    document = {
        "schema": SCHEMA,
        "name": order.name or source.name,
        "tool": f"edgecv {edgecv.__version__}",
        "source": {"text": order.request.text, "kind": source.kind, "files": dict(source.files)},
        "images": MADE_UP if images is None else images.name,
        "files": {
            name: {
                "files": [f"model{path.suffix}" for path in artifact.files],
                "layout": artifact.layout,
            }
            for name, artifact in files.items()
        },
        "parity": [
            {"step": step, **asdict(row)} for step, result in proofs for row in result.outputs
        ],
        "notes": [*source.notes, *(note for a in files.values() for note in a.notes)],
    }
    return _write(order.output, files, document)


def _pixels(first: Artifact, said: Hints) -> Input:
    """Make up how pixels are fed from what is said; parity holds for any way."""
    tensor = image_input(first)
    axes = tensor.shape[2:4] if first.layout == "NCHW" else tensor.shape[1:3]
    channels = tensor.shape[1] if first.layout == "NCHW" else tensor.shape[3]
    given = {name: value for name, value in said.given().items() if name in Input.record_fields}
    whole: dict[str, Any] = {
        "resize": "stretch",
        "std": (255.0, 255.0, 255.0),
        "color": "grey" if channels == 1 else "rgb",
        **given,
        "size_hw": axes,
    }
    for name in ("mean", "std"):
        if name in whole and len(whole[name]) == 1:
            whole[name] = (*whole[name],) * 3
    plain = json.loads(json.dumps(whole))
    return schema.validate(Input, plain, "input", UsageError)


def _write(output: Path, files: Mapping[Format, Artifact], document: dict[str, Any]) -> GraphsOnly:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise ConversionError(f"cannot be written: {error.strerror}", where=str(output)) from None
    try:
        for artifact in files.values():
            for path in artifact.files:
                shutil.copyfile(path, draft / f"model{path.suffix}")
        (draft / "proof.json").write_text(json.dumps(document, indent=1) + "\n")
        draft.chmod(0o755)
        draft.replace(output)
    except OSError as error:
        raise ConversionError(f"cannot be written: {error.strerror}", where=str(output)) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    mains: dict[str, Path] = {
        name: output / f"model{artifact.path.suffix}" for name, artifact in files.items()
    }
    return GraphsOnly(output, mains, document)
