"""A model as it comes: a torch module or a file, with what it says about itself.

A kind of source is a module in ``sources/``: see `Opener`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from edgecv import plugins
from edgecv.converters.artifact import Artifact
from edgecv.errors import UsageError
from edgecv.hints import Hints

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Request:
    """What the user wants to be converted.

    Attributes:
        spec: a path, ``module:function``, ``timm:NAME``, ``hf:FOLDER``,
            ``zero-shot:FOLDER?labels=FILE``, or a torch module.
        input_hw: (height, width) to convert for; None takes the source's own.
        architecture: ``module:function`` that makes the module which a state dict is for.
        trust_pickle: the user says that pickles in the source may run their code.
        kind: a plug-in in ``sources/``; None finds the one that accepts the spec.
    """

    spec: str | Path | nn.Module
    input_hw: tuple[int, int] | None = None
    architecture: str | None = None
    trust_pickle: bool = False
    kind: str | None = None

    @property
    def text(self) -> str:
        """The spec as the user wrote it; the class of a module."""
        if isinstance(self.spec, str | Path):
            return str(self.spec)
        return type(self.spec).__name__

    @property
    def path(self) -> Path | None:
        """The spec as a path that exists, or None."""
        if not isinstance(self.spec, str | Path):
            return None
        path = Path(self.spec)
        try:
            return path if path.exists() else None
        except OSError:
            return None


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source: exactly one of `module` and `artifact` is there.

    Attributes:
        kind: the plug-in that opened it.
        name: of the model, for file names.
        hints: what it says about itself: task, head, labels, pixels.
        module: a torch module in evaluation mode, on the CPU, all parameters float32, batch
            normalisation as it is. Takes one float32 [1, C, H, W] image.
        input_hw: (height, width) of `module`'s input.
        channels: of `module`'s input.
        input_name: of the image input in the exported graph.
        output_names: of `module`'s flattened outputs, in order; () names them by number.
        artifact: a model file as it is.
        digest: sha256 over whatever decides what the source computes.
        files: name -> sha256 of each source file, for the provenance.
        notes: what a reader of the report should know.
        metadata: key-value pairs that go into an exported ONNX file.
    """

    kind: str
    name: str
    hints: Hints
    digest: str
    module: nn.Module | None = None
    input_hw: tuple[int, int] | None = None
    channels: int = 3
    input_name: str = "images"
    output_names: tuple[str, ...] = ()
    artifact: Artifact | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


class Opener(Protocol):
    """What a module in ``sources/`` offers."""

    RANK: int
    """Where it stands among the plug-ins that are asked, lowest first."""

    def accepts(self, request: Request) -> bool:
        """Tell whether the spec looks like this kind, without importing anything heavy."""

    def open_source(self, request: Request) -> Source:
        """Open it.

        Raises:
            SourceError: it cannot be read.
            UntrustedPickleError: it holds a pickle and the request does not trust it.
            DependencyMissingError: a library that reads it is not installed.
        """


def open_source(request: Request) -> Source:
    """Open a source with the plug-in that the request names, or the first that accepts it.

    Raises:
        UsageError: no plug-in accepts it; and what `Opener.open_source` raises.
    """
    names = plugins.names("converters.sources")
    if request.kind is not None:
        return _plugin(request.kind).open_source(request)
    openers = sorted((_plugin(name) for name in names), key=lambda opener: opener.RANK)
    for opener in openers:
        if opener.accepts(request):
            return opener.open_source(request)
    missing = isinstance(request.spec, Path | str) and request.path is None
    raise UsageError(
        "no such file, and nothing else that can be converted"
        if missing
        else "this is nothing that can be converted",
        where=request.text,
        expected="a model file (.onnx, .xml, .tflite, .pt, .pt2, .safetensors), an Ultralytics "
        ".yaml, package.module:function, timm:NAME, hf:FOLDER or "
        "zero-shot:FOLDER?labels=FILE",
    )


def _plugin(name: str) -> Opener:
    return cast(Opener, plugins.load("converters.sources", name))
