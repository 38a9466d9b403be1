"""Make a manifest for model files that have none.

What the user says comes first, then what the file says about itself, then the habits of the head's
family. A head that none of them names is recognised by shapes, if only one can be meant; otherwise
the error lists the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from edgecv import plugins, schema
from edgecv.errors import AmbiguousModelError, UsageError
from edgecv.head import Fit, Head, Pixels, family_pixels, load_head
from edgecv.head_check import check_options, check_outputs
from edgecv.hints import Hints
from edgecv.manifest import HeadSpec, Input, Tensor
from edgecv.model_inputs import constants, image_input, unknown
from edgecv.record import Record, plain
from edgecv.types import Array, TensorSpec


class Description(Record):
    """How to feed and read a model.

    Attributes:
        task: such as ``detect``.
        labels: class names by class id; may be empty.
        input: how pixels are prepared.
        head: which head decodes, with its options.
        layout: of the image input, ``NCHW`` or ``NHWC``.
        told_by: who named the head: ``option``, the origin of metadata, or ``shapes``.
        hints: everything that was said, merged.
        notes: what a user should know.
    """

    task: str
    labels: tuple[str, ...]
    input: Input
    head: HeadSpec
    layout: Literal["NCHW", "NHWC"]
    told_by: str
    hints: Hints
    notes: tuple[str, ...] = ()


def read_metadata(
    path: Path, metadata: Mapping[str, str], format: str | None = None
) -> Hints | None:
    """Ask every foreign format whether the file is its own; the first that says yes answers.

    Args:
        path: the model file.
        metadata: key-value pairs inside the file.
        format: ask this one alone.

    Raises:
        UsageError: that one says no.
    """
    for name in plugins.names("foreign") if format is None else (format,):
        module = plugins.load("foreign", name)
        hints: Hints | None = module.read(path, metadata)
        if hints is not None:
            return hints
        if format is not None:
            raise UsageError(f"no {module.ORIGIN} in or beside this file", where=str(path))
    return None


def describe(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    metadata: Mapping[str, str],
    options: Hints | None = None,
) -> Description:
    """Find out how to feed and read a model.

    Args:
        path: the model file; names it in errors, and leads to metadata beside or behind it.
        inputs: the model's inputs, as the engine reports them.
        outputs: the model's outputs.
        metadata: key-value pairs inside the file.
        options: what the user says.

    Raises:
        AmbiguousModelError: nobody names the head and shapes leave a choice, or none.
        UsageError: no input that takes an image, one beside it for which the head has no constant,
            an unknown layout, an option that does not fit.
    """
    options = options or Hints(origin="option")
    said = read_metadata(path, metadata, options.foreign)
    hints = options.over(said)
    _check_task(path, hints)
    tensor, layout, size_hw = _image_input(path, inputs, hints, options)
    if hints.head is None:
        name, told_by = _recognise(path, tensor, inputs, outputs, hints), "shapes"
    else:
        name, told_by = hints.head, "option" if options.head or said is None else said.origin
    head = load_head(name)
    if hints.task is not None and hints.task != head.TASK:
        raise UsageError(
            f"head {name} does not do this task",
            where=str(path),
            expected=head.TASK,
            got=repr(hints.task),
            remedy="name a head that does it with --head",
        )
    check_options(head, name, hints.head_options or {})
    fed = constants(head, name, inputs, size_hw)
    labels = tuple(hints.labels or ())
    fits = partial(check_outputs, head, name, hints.head_options or {}, outputs, size_hw)
    fits(labels, str(path))
    return Description(
        task=head.TASK,
        labels=labels,
        input=_input(family_pixels(head, outputs), hints, options, tensor, layout, size_hw),
        head=HeadSpec(name=name, options=dict(hints.head_options or {})),
        layout=layout,
        told_by=told_by,
        hints=hints,
        notes=_doubt(head, name, tensor, outputs, labels, fits) + _fed(fed),
    )


def _doubt(
    head: Head,
    name: str,
    image: TensorSpec,
    outputs: Sequence[TensorSpec],
    labels: tuple[str, ...],
    fits: Callable[[Sequence[str], str], None],
) -> tuple[str, ...]:
    """Note that a head was named for outputs which do not look like its own.

    Outputs with room for just as many classes as there are labels are its own, however rare.
    """
    if head.recognise([image], outputs) is not Fit.NO:
        return ()
    if labels:
        try:
            fits((*labels, "one more"), "")
        except UsageError:
            return ()
    shapes = "; ".join(map(str, outputs))
    return (f"{shapes} does not look like an output of head {name}",)


def _fed(values: Mapping[str, Array]) -> tuple[str, ...]:
    """Note what goes into the inputs beside the image."""
    texts = {name: ", ".join(f"{v:g}" for v in array.flat) for name, array in values.items()}
    return tuple(f"input {name} is fed with {text}" for name, text in texts.items())


def _check_task(path: Path, hints: Hints) -> None:
    tasks = sorted({load_head(name).TASK for name in plugins.names("heads")})
    if hints.task is not None and hints.task not in tasks:
        raise UsageError(
            "no head does this task", where=str(path), expected=" or ".join(tasks),
            got=repr(hints.task),
        )  # fmt: skip


def _image_input(
    path: Path, inputs: Sequence[TensorSpec], hints: Hints, options: Hints
) -> tuple[TensorSpec, Literal["NCHW", "NHWC"], tuple[int, int]]:
    """Return the image input with its layout and its (height, width)."""
    tensor = image_input(inputs)
    if tensor is None or len(tensor.shape) != 4:
        raise UsageError(
            "only models with one image input can be run",
            where=str(path),
            expected="one input [N,C,H,W] or [N,H,W,C]",
            got="; ".join(map(str, inputs)) or "none",
        )
    batch, a, _, c = tensor.shape
    if batch not in (1, None):
        raise UsageError(
            "the model's batch axis is fixed",
            where=f"{path}: input {tensor.name}",
            expected="1, or a free axis",
            got=str(tensor),
            remedy="export the model anew with a batch of 1",
        )
    planar, packed = a in (1, 3), c in (1, 3)
    if planar == packed:
        raise UsageError(
            "cannot tell which axis holds the channels",
            where=f"{path}: input {tensor.name}",
            expected="1 or 3 channels on axis 1 or on axis 3",
            got=str(tensor),
        )
    height, width = tensor.shape[2:] if planar else tensor.shape[1:3]
    free = [n for n, side in (("height", height), ("width", width)) if side is None]
    if free and hints.size_hw is None:
        raise UsageError(
            f"the model leaves its input's {' and '.join(free)} free",
            where=f"{path}: input {tensor.name}",
            got=str(tensor),
            remedy="give the size with --size HEIGHTxWIDTH",
        )
    wanted = hints.size_hw or (0, 0)
    size_hw = (height or wanted[0], width or wanted[1])
    if options.size_hw is not None and size_hw != tuple(options.size_hw):
        raise UsageError(
            "the model's input has another size than --size says",
            where=f"{path}: input {tensor.name}",
            expected="x".join(map(str, size_hw)),
            got="x".join(map(str, options.size_hw)),
        )
    return tensor, "NCHW" if planar else "NHWC", size_hw


def _recognise(
    path: Path,
    image: TensorSpec,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    hints: Hints,
) -> str:
    heads = {name: load_head(name) for name in plugins.names("heads")}
    heads = {name: head for name, head in heads.items() if hints.task in (None, head.TASK)}
    fits = {
        name: Fit.NO if unknown(head, inputs) else head.recognise([image], outputs)
        for name, head in heads.items()
    }
    certain = [name for name, fit in fits.items() if fit is Fit.CERTAIN]
    possible = [name for name, fit in fits.items() if fit is not Fit.NO]
    if len(certain) == 1:
        return certain[0]
    shapes = "; ".join(map(str, outputs))
    if all(unknown(head, inputs) for head in heads.values()):
        raise UsageError(
            "only models with one image input can be run, unless a head knows the others",
            where=str(path),
            expected="one input [N,C,H,W] or [N,H,W,C]",
            got="; ".join(map(str, inputs)),
            remedy="export the model with an image as its only input",
        )
    if not possible:
        raise AmbiguousModelError(
            "no head fits this model's outputs",
            where=str(path),
            got=shapes,
            remedy=f"if it is one of these all the same, name it with --head: {', '.join(fits)}",
        )
    raise AmbiguousModelError(
        "the head cannot be told from metadata and shapes",
        candidates=possible,
        where=str(path),
        expected=f"one of {', '.join(possible)}",
        got=shapes,
        remedy=f"name it: {' or '.join(f'--head {name}' for name in possible)}",
    )


def _input(
    family: Pixels,
    hints: Hints,
    options: Hints,
    tensor: TensorSpec,
    layout: str,
    size_hw: tuple[int, int],
) -> Input:
    """Merge what was said with the family's habits.

    A classifier with an integer input and no word about normalisation takes raw pixels: its own
    quantization is the normalisation.
    """
    pixels = family.to_fields()
    integer = tensor.dtype in ("uint8", "int8")
    if integer and hints.mean is None and hints.std is None:
        pixels |= raw_pixels(tensor)
    pixels |= {key: value for key, value in hints.given().items() if key in pixels}
    # A rounding belongs to the resize that it was said with.
    speaker = options if options.resize is not None else hints
    if speaker.resize is not None and speaker.rounding is None:
        pixels["rounding"] = "floor" if hints.resize == "letterbox-topleft" else "round"
    channels = tensor.shape[1] if layout == "NCHW" else tensor.shape[3]
    if channels == 1 and options.color in (None, "grey"):
        pixels["color"] = "grey"
    elif (channels == 1) != (pixels["color"] == "grey"):
        raise UsageError(
            "the model's input has another number of channels",
            where="color",
            expected="grey" if channels == 1 else "rgb or bgr",
            got=repr(pixels["color"]),
        )
    for key in ("mean", "std"):
        values = tuple(map(float, pixels[key]))
        pixels[key] = values * 3 if len(values) == 1 else values
        if len(pixels[key]) != 3:
            raise UsageError(
                "wrong number of values", where=key, expected="1 or 3", got=str(len(values))
            )
    # A user's own word is taken to the letter.
    silent = options.mean is None and options.std is None
    if integer and silent and _means_raw(tensor, pixels["mean"], pixels["std"]):
        pixels |= raw_pixels(tensor)
    # The record's own rules: ranges, known words, finite numbers, no division by zero.
    said = plain({"size_hw": size_hw, **pixels})
    return schema.validate(Input, said, "input", UsageError)


def _means_raw(tensor: TensorSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> bool:
    """Tell whether a normalisation and a quantization undo each other but for rounding.

    TFLite Metadata state the float model's normalisation, such as (pixel - 127.5) / 127.5, for an
    input with scale 1/128, and mean the pixels themselves. Taken to the letter, half of all levels
    would be one off.
    """
    q, shift = tensor.quantization, 128 if tensor.dtype == "int8" else 0
    if q is None or not all(std):
        return False
    ends = [
        abs((pixel - m) / s / q.scale + q.zero_point - (pixel - shift))
        for pixel in (0, 255)
        for m, s in zip(mean, std, strict=True)
    ]
    return max(ends) <= 1


def raw_pixels(tensor: TensorSpec) -> dict[str, tuple[float, float, float]]:
    """Return the mean and std with which an 8-bit input tensor holds pixels as they are.

    uint8: integer = pixel. int8: integer = pixel - 128. Through the quantization
    ``real = (integer - zero_point) * scale`` this means ``real = (pixel - mean) / std``.
    """
    shift = 128 if tensor.dtype == "int8" else 0
    if tensor.quantization is None:
        return {"mean": (float(shift),) * 3, "std": (1.0,) * 3}
    mean = float(tensor.quantization.zero_point + shift)
    std = 1 / tensor.quantization.scale
    return {"mean": (mean,) * 3, "std": (std,) * 3}


def tensors(specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Turn a session's tensors into the manifest's form."""
    return tuple(Tensor.from_spec(spec) for spec in specs)
