"""Read weights from a file, and put them into a module, without executing pickles.

``torch.load(weights_only=True)`` unpickles with an allow-list of tensors and plain containers;
safetensors holds tensors and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.converters import pickles
from edgecv.converters.quiet import quiet
from edgecv.errors import DependencyMissingError, SourceError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Where training scripts keep the weights in a checkpoint; an average of the weights over the last
# steps (EMA) is what is evaluated, so it comes first.
_WRAPPINGS = ("ema", "state_dict_ema", "state_dict", "model_state_dict", "model", "module")
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 8
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Weights:
    """What a file of weights holds: exactly one of `state` and `module` is there.

    Attributes:
        state: parameter name -> tensor, on the CPU.
        module: a whole pickled module, only where pickles are trusted.
        notes: which part of a checkpoint was taken.
    """

    state: Mapping[str, Tensor] | None = None
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()


def read(path: Path, trust_pickle: bool = False) -> Weights:
    """Read a ``.safetensors`` file, or what ``torch.save`` wrote.

    Raises:
        SourceError: broken, or no weights in it.
        UntrustedPickleError: it holds more than weights, and pickles are not trusted.
        DependencyMissingError: torch or safetensors is not installed.
    """
    if path.suffix == ".safetensors":
        return Weights(state=_safetensors(path))
    return _unwrap(_torch(path, trust_pickle), path)


def load_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module, all of them.

    Counters of batch normalisation may be missing: they mean nothing to a trained module.

    Raises:
        SourceError: keys are missing, unexpected, or of another shape; the error lists them.
    """
    own = module.state_dict()
    state = _without_prefix(state, own)
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key}: {list(own[key].shape)} in the architecture, {list(value.shape)} in the file"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    faults = [
        f"{len(keys)} {word}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for word, keys in (
            ("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)
        )
        if keys
    ]  # fmt: skip
    if faults:
        raise SourceError(
            "the weights do not fit the architecture",
            where=where,
            expected=f"the {len(own)} tensors of {type(module).__name__}",
            got="; ".join(faults),
            remedy="name the architecture that they were trained with, with --arch",
        )
    module.load_state_dict(dict(state), strict=False)


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise DependencyMissingError(
            "safetensors is needed to read it",
            where=str(path),
            remedy="pip install 'edgecv[convert]'",
        ) from None
    try:
        state: Mapping[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"not a readable safetensors file: {error}", where=str(path)) from None
    if not state:
        raise SourceError("it holds no tensors", where=str(path))
    return state


def _torch(path: Path, trust_pickle: bool) -> Any:
    import torch

    if pickles.kind_of(path) != "pickle":
        raise SourceError(
            "not a file that torch.save wrote, or a broken one",
            where=str(path),
            expected="a zip archive with data.pkl, or a bare pickle",
        )
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not trust_pickle:
            raise pickles.untrusted(path) from None
    except Exception as error:
        raise SourceError(f"cannot be read: {_line(error)}", where=str(path)) from None
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise SourceError(
            f"unpickling it raised {_line(error)}",
            where=str(path),
            remedy="the code of its classes must be importable from the current folder",
        ) from error


def _unwrap(found: Any, path: Path) -> Weights:
    """Find the weights in what was loaded: themselves, or in one of the usual wrappings."""
    import torch

    taken: list[str] = []
    others: list[str] = []
    for _ in range(_DEPTH):
        if isinstance(found, torch.nn.Module):
            return Weights(module=found, notes=_said(taken, others))
        if _is_state(found):
            return Weights(state=found, notes=_said(taken, others))
        if not isinstance(found, Mapping):
            break
        inner = [key for key in _WRAPPINGS if isinstance(found.get(key), Mapping | torch.nn.Module)]
        if not inner:
            break
        taken.append(inner[0])
        others += inner[1:]
        found = found[inner[0]]
    keys = ", ".join(map(str, list(found)[:_SHOWN])) if isinstance(found, Mapping) else ""
    raise SourceError(
        "no weights in it",
        where=str(path),
        expected=f"a dictionary of tensors, or one under {', '.join(_WRAPPINGS)}",
        got=f"{type(found).__name__}" + (f" with {keys}" if keys else ""),
    )


def _said(taken: list[str], others: list[str]) -> tuple[str, ...]:
    if not taken:
        return ()
    beside = f" (there are also: {', '.join(others)})" if others else ""
    return (f"weights taken from {'.'.join(taken)} of the checkpoint{beside}",)


def _is_state(found: Any) -> bool:
    import torch

    return (
        isinstance(found, Mapping)
        and len(found) > 0
        and all(isinstance(key, str) for key in found)
        and all(isinstance(value, torch.Tensor) for value in found.values())
    )


def _without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Strip what DataParallel and torch.compile put before every name."""
    for prefix in _PREFIXES:
        common = all(key.startswith(prefix) for key in state)
        if common and not any(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
