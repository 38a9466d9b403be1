"""Make a manifest for model files that have none.

What the user says comes first, then what the file says about itself, then the habits of the head's
family. A head that none of them names is recognised by shapes, if only one can be meant; otherwise
the error lists the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgecv import plugins
from edgecv.errors import AmbiguousModelError, BackendMissingError, UsageError
from edgecv.head import Fit, Head
from edgecv.hints import Hints
from edgecv.manifest import HeadSpec, Input, Tensor
from edgecv.types import Backend, ModelSource, TensorSpec


@dataclass(frozen=True, slots=True)
class Description:
    """How to feed and read a model.

    Attributes:
        task: such as ``detect``.
        labels: class names by class id; may be empty.
        input: how pixels are prepared.
        head: which head decodes, with its options.
        layout: of the image input, ``NCHW`` or ``NHWC``.
        told_by: who named the head: ``option``, the origin of metadata, or ``shapes``.
        hints: everything that was said, merged.
    """

    task: str
    labels: tuple[str, ...]
    input: Input
    head: HeadSpec
    layout: Literal["NCHW", "NHWC"]
    told_by: str
    hints: Hints


def load_backend(name: str) -> Backend:
    """Import a backend plug-in; the engine itself is imported when a model is opened."""
    return plugins.load("backends", name)


def load_head(name: str) -> Head:
    """Import a head plug-in."""
    return plugins.load("heads", name)


def installed_backends() -> tuple[str, ...]:
    """List the backends whose engine is installed, ``null`` last."""
    names = [name for name in plugins.names("backends") if load_backend(name).version()]
    return tuple(sorted(names, key=_preference))


def _preference(name: str) -> tuple[int, str]:
    order = ("onnxruntime", "openvino", "litert")
    return (order.index(name) if name in order else len(order), name)


def backends_for(path: Path) -> tuple[str, ...]:
    """List the backends that open files of this suffix, the usual one first.

    Raises:
        UsageError: none does.
    """
    by_name = {name: load_backend(name).SUFFIXES for name in plugins.names("backends")}
    names = [name for name, suffixes in by_name.items() if path.name.endswith(suffixes)]
    if not names:
        known = sorted({suffix for suffixes in by_name.values() for suffix in suffixes})
        raise UsageError(
            "no backend opens this kind of file",
            where=str(path),
            expected=f"a bundle, or one of {', '.join(known)}",
            got=repr(path.suffix),
        )
    return tuple(sorted(names, key=_preference))


def choose_backend(path: Path, wanted: str | None = None) -> str:
    """Choose the backend for a model file: the one asked for, or the first that is installed.

    Raises:
        UsageError: no backend opens the file, or the one asked for does not.
        BackendMissingError: none that opens the file is installed.
    """
    fitting = backends_for(path)
    if wanted is not None:
        plugins.load("backends", wanted)
        if wanted not in fitting:
            raise UsageError(
                f"{wanted} does not open this kind of file",
                where=str(path),
                expected=f"one of {', '.join(fitting)}",
            )
        return wanted
    for name in fitting:
        if load_backend(name).version():
            return name
    extra = load_backend(fitting[0]).EXTRA
    raise BackendMissingError(
        "no engine that opens it is installed",
        where=str(path),
        expected=" or ".join(fitting),
        remedy=f"pip install 'edgecv[{extra}]'" if extra else "pip install edgecv",
    )


def find_model_file(path: Path) -> Path:
    """Return the model file that a path means: itself, or the only one in a folder.

    Raises:
        UsageError: missing, or a folder without exactly one model.
    """
    if not path.exists():
        raise UsageError("no such file or folder", where=str(path))
    if not path.is_dir():
        return path
    suffixes = {s for n in plugins.names("backends") for s in load_backend(n).SUFFIXES}
    found = sorted(item for item in path.iterdir() if item.name.endswith(tuple(suffixes)))
    if len(found) != 1:
        raise UsageError(
            "not a bundle, and not a folder with one model",
            where=str(path),
            expected=f"manifest.json, or one of {', '.join(sorted(suffixes))}",
            got=f"{len(found)} model files",
        )
    return found[0]


def gather(path: Path, backend: str) -> ModelSource:
    """Collect a model file and the companions that its backend says it needs.

    Raises:
        ModelLoadError: a companion is missing or lies outside the model's folder.
    """
    return ModelSource.from_paths(path, *load_backend(backend).companions(path))


def read_metadata(path: Path, metadata: Mapping[str, str]) -> Hints | None:
    """Ask every foreign format whether the file is its own; the first that says yes answers."""
    for name in plugins.names("foreign"):
        hints: Hints | None = plugins.load("foreign", name).read(path, metadata)
        if hints is not None:
            return hints
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
        UsageError: more than one input, an unknown layout, an option that does not fit.
    """
    options = options or Hints(origin="option")
    said = read_metadata(path, metadata)
    hints = options.over(said)
    tensor, layout, size_hw = _image_input(path, inputs, hints)
    if hints.head is None:
        name, told_by = _recognise(path, inputs, outputs, hints), "shapes"
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
    return Description(
        task=head.TASK,
        labels=hints.labels or (),
        input=_input(head, hints, tensor, layout, size_hw),
        head=HeadSpec(name=name, options=dict(hints.head_options or {})),
        layout=layout,
        told_by=told_by,
        hints=hints,
    )


def _image_input(
    path: Path, inputs: Sequence[TensorSpec], hints: Hints
) -> tuple[TensorSpec, Literal["NCHW", "NHWC"], tuple[int, int]]:
    """Return the image input with its layout and its (height, width)."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UsageError(
            "only models with one image input can be run",
            where=str(path),
            expected="one input [N,C,H,W] or [N,H,W,C]",
            got="; ".join(map(str, inputs)) or "none",
        )
    tensor = inputs[0]
    _, a, _, c = tensor.shape
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
    return tensor, "NCHW" if planar else "NHWC", size_hw


def _recognise(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], hints: Hints
) -> str:
    fits = {}
    for name in plugins.names("heads"):
        head = load_head(name)
        if hints.task in (None, head.TASK):
            fits[name] = head.recognise(inputs, outputs)
    certain = [name for name, fit in fits.items() if fit is Fit.CERTAIN]
    possible = [name for name, fit in fits.items() if fit is not Fit.NO]
    if len(certain) == 1:
        return certain[0]
    shapes = "; ".join(map(str, outputs))
    if not possible:
        raise AmbiguousModelError(
            "no head fits this model's outputs",
            where=str(path),
            got=shapes,
            remedy=f"name one with --head: {', '.join(fits) or 'none does this task'}",
        )
    raise AmbiguousModelError(
        "the head cannot be told from metadata and shapes",
        candidates=possible,
        where=str(path),
        expected=f"one of {', '.join(possible)}",
        got=shapes,
        remedy=f"name it: --head {possible[0]}",
    )


def check_options(head: Head, name: str, options: Mapping[str, Any]) -> None:
    """Refuse head options that the head does not have or cannot use.

    Raises:
        UsageError: an unknown option, or a value of the wrong kind.
    """
    known = {f: v for f, v in asdict(head.Options()).items() if f != "input_hw"}
    for option, value in options.items():
        where = f"head {name}: option {option}"
        if option not in known:
            raise UsageError("unknown option", where=where, expected=f"one of {', '.join(known)}")
        default = known[option]
        if isinstance(default, bool) != isinstance(value, bool) and default is not None:
            raise UsageError("wrong type", where=where, expected="true or false", got=repr(value))
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise UsageError("wrong type", where=where, expected="a number", got=repr(value))


def _input(
    head: Head, hints: Hints, tensor: TensorSpec, layout: str, size_hw: tuple[int, int]
) -> Input:
    """Merge what was said with the family's habits.

    A classifier with an integer input and no word about normalisation takes raw pixels: its own
    quantization is the normalisation.
    """
    pixels = asdict(head.PIXELS)
    integer = tensor.dtype in ("uint8", "int8")
    if integer and hints.mean is None and hints.std is None:
        pixels |= raw_pixels(tensor)
    pixels |= {key: value for key, value in hints.given().items() if key in pixels}
    if hints.resize is not None and hints.rounding is None:
        pixels["rounding"] = "floor" if hints.resize == "letterbox-topleft" else "round"
    channels = tensor.shape[1] if layout == "NCHW" else tensor.shape[3]
    if channels == 1:
        pixels["color"] = "grey"
    for key in ("mean", "std"):
        values = tuple(map(float, pixels[key]))
        pixels[key] = values * 3 if len(values) == 1 else values
        if len(pixels[key]) != 3:
            raise UsageError(
                "wrong number of values", where=key, expected="1 or 3", got=str(len(values))
            )
    return Input(size_hw=size_hw, **pixels)


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
