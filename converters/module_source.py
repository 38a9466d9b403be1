"""Make a `Source` of a torch module: brought into one form, tried once, and hashed."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.converters.callables import file_sha256
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request, Source
from edgecv.errors import DependencyMissingError, SourceError
from edgecv.hints import Hints

if TYPE_CHECKING:
    from torch import Tensor, nn

_MAX_SIDE = 16384
_MIN_VARIANCE = 0.01
_SIMPLE = (bool, int, float, str, type(None))


def require_torch(where: str) -> None:
    """Check that torch can be imported.

    Raises:
        DependencyMissingError: it is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise DependencyMissingError(
            "torch is needed to open it", where=where, remedy="pip install 'edgecv[convert]'"
        ) from None


def module_source(
    module: nn.Module,
    request: Request,
    *,
    kind: str,
    name: str,
    hints: Hints | None = None,
    input_hw: tuple[int, int] | None = None,
    output_names: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    metadata: Mapping[str, str] | None = None,
    own: bool = True,
) -> Source:
    """Bring a module into the form that `Source` describes.

    Args:
        module: takes one image [1, C, H, W] and returns tensors, in any nesting.
        request: what the user asked for; its input size wins.
        kind: the plug-in that opened it.
        name: of the model.
        hints: what the source says about itself.
        input_hw: (height, width) that the source itself is for; None where it does not say.
        output_names: of the flattened outputs.
        files: name -> sha256 of each source file.
        notes: what a reader of the report should know.
        metadata: key-value pairs for an exported ONNX file.
        own: the module may be changed in place; False copies it first.

    Raises:
        SourceError: the input size is not known, or the module cannot be run.
    """
    if not own:
        try:
            module = copy.deepcopy(module)
        except Exception as error:  # a module may hold anything, a lock or a file
            raise SourceError(
                f"the module cannot be copied: {type(error).__name__}: {error}",
                where=request.text,
                remedy="pass a function that makes it, as package.module:function",
            ) from error
    module = _prepared(module, request.text)
    input_hw = _size(request, input_hw, module)
    channels = _channels(module)
    _try(module, channels, input_hw, request.text)
    said = (kind, input_hw, channels, output_names, dict(metadata or {}))
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    digest.update(module_digest(module).encode())
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
    return Source(
        kind=kind,
        name=name,
        hints=hints or Hints(origin=kind, name=name),
        digest=digest.hexdigest(),
        module=module,
        input_hw=input_hw,
        channels=channels,
        output_names=output_names,
        files=dict(files or {}),
        notes=notes,
        metadata=dict(metadata or {}),
    )


def flatten(value: Any) -> list[Tensor]:
    """List the tensors in a module's output, depth first; dictionaries in their own order.

    Raises:
        TypeError: there is something else in it; None is skipped.
    """
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if value is None:
        return []
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        raise TypeError(f"a module must return tensors, not {type(value).__name__}")
    return [tensor for item in value for tensor in flatten(item)]


def module_digest(module: nn.Module) -> str:
    """Hash what decides a module's results: tensors, settings and the code of its classes.

    Returns:
        sha256 over the names, types, shapes and values of all parameters and buffers, the plain
        attributes of all submodules, and the source files that define their classes.
    """
    digest = hashlib.sha256()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(memoryview(value.numpy()).cast("B") if value.numel() else b"")
    code: set[str] = set()
    for name, part in module.named_modules():
        digest.update(f"{name} {_settings(part)}".encode())
        code.add(_code_of(part))
    for text in sorted(code):
        digest.update(text.encode())
    return digest.hexdigest()


@contextmanager
def seeded() -> Iterator[None]:
    """Make torch's random numbers the same every time, and leave the caller's as they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def settle_batch_norm(module: nn.Module, channels: int, input_hw: tuple[int, int]) -> None:
    """Give a module with random weights the statistics of its own activations, in place.

    Without that a deep network's outputs hardly depend on its image, or overflow, and comparing
    them shows nothing.

    Args:
        module: in any mode; it is left in evaluation mode.
        channels: of its input.
        input_hw: (height, width) of its input.
    """
    import torch

    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    # A module that cannot be run is told by `module_source`, with what the user can do.
    with quiet(), torch.no_grad(), suppress(Exception):
        module.train()(_patchwork(channels, input_hw))
    module.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        if norm.running_var is not None:
            # A channel that hardly varies would be blown up, rounding errors first.
            norm.running_var.clamp_(min=_MIN_VARIANCE)


def _patchwork(channels: int, input_hw: tuple[int, int]) -> Tensor:
    """Draw random images from coarse squares to fine noise, float32 [8, C, H, W] in 0-1.

    One kind of noise alone looks the same everywhere: next to it any other image is an outlier.
    """
    import torch

    images = []
    for i in range(8):
        cells = tuple(max(1, min(side, 2**i)) for side in input_hw)
        grid = torch.rand(1, channels, *cells) if i < 7 else torch.rand(1, channels, *input_hw)
        images.append(torch.nn.functional.interpolate(grid, input_hw))
    return torch.cat(images)


def _prepared(module: nn.Module, where: str) -> nn.Module:
    import torch

    try:
        with quiet():
            # An exported program is what it was exported as, and refuses to be told.
            if not isinstance(module, torch.fx.GraphModule):
                module = module.eval()
            module = module.cpu()
            if any(p.is_floating_point() and p.dtype != torch.float32 for p in _tensors(module)):
                module = module.float()
            for parameter in module.parameters():
                parameter.requires_grad_(False)
            return module
    except Exception as error:
        raise SourceError(
            f"it cannot be brought to the CPU in float32: {type(error).__name__}: {error}",
            where=where,
        ) from error


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _size(request: Request, own: tuple[int, int] | None, module: nn.Module) -> tuple[int, int]:
    """Choose the input size: the user's, the source's, or the module's attribute ``input_hw``."""
    said = request.input_hw or own or getattr(module, "input_hw", None)
    if said is None:
        raise SourceError(
            "its input size is not known",
            where=request.text,
            remedy="give it with --input SIDE or --input HEIGHTxWIDTH",
        )
    try:
        height, width = (int(side) for side in said)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE):
        raise SourceError(
            "an input size that cannot be meant",
            where=request.text,
            expected=f"(height, width) from 1 to {_MAX_SIDE}",
            got=repr(said),
        )
    return height, width


def _channels(module: nn.Module) -> int:
    """Read the input's channels from the first convolution: 1 or 3; anything else says nothing."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            return 1 if parameter.shape[1] == 1 else 3
    return 3


def _try(module: nn.Module, channels: int, input_hw: tuple[int, int], where: str) -> None:
    """Run once: a module that cannot be run is told here, not by an exporter."""
    import torch

    shape = (1, channels, *input_hw)
    try:
        with quiet(), torch.no_grad():
            outputs = flatten(module(torch.zeros(shape)))
    except Exception as error:
        text = " ".join(str(error).split())[:400]
        raise SourceError(
            f"it cannot be run: {type(error).__name__}: {text}",
            where=where,
            expected=f"a module that takes float32 {list(shape)} and returns tensors",
            remedy="another input size can be given with --input HEIGHTxWIDTH",
        ) from error
    if not outputs:
        raise SourceError(
            "it returns no tensor", where=where, expected="a tensor, or several in any nesting"
        )


def _settings(part: nn.Module) -> str:
    """Word the plain attributes of one module, such as strides and flags."""
    plain = {
        name: value
        for name, value in vars(part).items()
        if not name.startswith("_") and _is_plain(value)
    }
    return f"{type(part).__name__} {sorted(plain.items())}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _SIMPLE)


def _code_of(part: nn.Module) -> str:
    import torch

    if isinstance(part, torch.jit.ScriptModule):
        # Empty modules have no forward.
        return str(part.code) if hasattr(part, "forward") else ""
    if isinstance(part, torch.fx.GraphModule):
        return str(part.code)
    return "".join(map(_class_code, type(part).__mro__[:-1]))


@cache
def _class_code(kind: type) -> str:
    """Return the name of a class and the text of the file that defines it, or what there is."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        if file is None:
            return f"{name} {inspect.getsource(kind)}"
        return f"{kind.__qualname__} {file_sha256(Path(file))}"
    except (OSError, TypeError):
        return name
