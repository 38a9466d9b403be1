"""The workstation side: make bundles out of trained models, and prove that they still work.

Installed as ``edgecv.converters``. It may import torch and every converter; the device runtime
never imports it.

A conversion goes one way::

    source -> float graph (ONNX) -> one float graph for each format -> ladder of quantized files
           -> gate (accuracy on the user's data, speed on this host) -> bundle with card and report

``sources/`` open what people have, ``steps/`` turn one file into another, ``quantizers/`` lower its
precision, ``calibrators/`` choose the ranges that they need. A file in one of these folders is a
plug-in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from edgecv.converters.conversion import Conversion

__all__ = ["convert"]


def convert(
    source: str | os.PathLike[str] | nn.Module,
    output: str | os.PathLike[str],
    *,
    to: Sequence[str] = ("onnx", "openvino", "tflite"),
    precision: Sequence[str] = ("fp32", "bf16", "fp16", "int8-weights", "int8"),
    data: str | os.PathLike[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    max_drop: float = 0.5,
    input_hw: tuple[int, int] | None = None,
    architecture: str | None = None,
    trust_pickle: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
    **hints: Any,
) -> Conversion:
    """Convert a model and write a bundle of what is proven to work.

    Args:
        source: a file, a torch module, or what else ``edgecv convert`` takes.
        output: ``NAME.edgecv`` for an archive, any other name for a folder.
        to: formats to make.
        precision: that may be tried.
        data: a data set with labels: `train` calibrates, `val` decides, `test` makes the card.
        calibration: images to calibrate on instead.
        max_drop: points of the task's main metric that a shipped variant may lose.
        input_hw: (height, width), where the source leaves it free.
        architecture: ``module:function`` that makes the module which a state dict is for.
        trust_pickle: let pickles in the source run their code.
        overwrite: replace an existing archive.
        progress: called with one line for each thing that is done.
        **hints: fields of `edgecv.hints.Hints`, such as ``head``, ``labels``, ``mean`` or ``name``.

    Raises:
        UsageError: the call contradicts itself, or names what is not there.
        ConversionError: a step failed.
        DatasetError: the data cannot be read, or have no labels.
    """
    from edgecv.converters.artifact import FORMATS
    from edgecv.converters.conversion import convert as carry_out
    from edgecv.converters.decision import Rules
    from edgecv.converters.order import Order
    from edgecv.converters.source import Request
    from edgecv.errors import UsageError
    from edgecv.hints import Hints
    from edgecv.types import PRECISIONS

    formats = tuple(name for name in FORMATS if name in to)
    precisions = tuple(name for name in PRECISIONS if name in precision)
    strange = sorted((set(to) - set(formats)) | (set(precision) - set(precisions)))
    if strange:
        raise UsageError(
            "no such format or precision",
            expected=f"some of {', '.join((*FORMATS, *PRECISIONS))}",
            got=", ".join(strange),
        )
    if "labels" in hints and hints["labels"] is not None:
        hints["labels"] = tuple(hints["labels"])
    spec = Path(source) if isinstance(source, os.PathLike) else source
    order = Order(
        request=Request(spec, input_hw, architecture, trust_pickle),
        output=Path(output),
        formats=formats,
        rules=Rules(precisions, max_drop),
        hints=Hints(origin="option", **hints),
        data=None if data is None else Path(data),
        calibration=None if calibration is None else Path(calibration),
        overwrite=overwrite,
    )
    return carry_out(order, progress)
