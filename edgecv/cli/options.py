"""Options that several commands share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from edgecv import plugins
from edgecv.errors import UsageError
from edgecv.hints import Hints
from edgecv.loading import load
from edgecv.model import Model

F = TypeVar("F", bound=Callable[..., Any])


def parse_size(text: str) -> tuple[int, int]:
    """Parse ``480x640`` as (height, width) = (480, 640) and ``640`` as (640, 640)."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"expected HEIGHTxWIDTH, such as 480x640; got {text!r}")
    return int(parts[0]), int(parts[-1])


def parse_floats(text: str) -> tuple[float, ...]:
    """Parse ``127.5`` or ``123.675,116.28,103.53``."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise click.BadParameter(f"expected one number or three with commas; got {text!r}")
    return numbers


_HINTS = (
    click.option("--head", type=click.Choice(plugins.names("heads")),
                 help="Which head decodes the outputs."),
    click.option("--head-option", "head_options", multiple=True, metavar="KEY=VALUE",
                 help="Option of the head; the value is JSON or plain text. May be repeated."),
    click.option("--from", "foreign", type=click.Choice(plugins.names("foreign")),
                 help="Whose metadata in or beside the file are read; default: any that is there."),
    click.option("--task", help="What the model does, such as detect or classify."),
    click.option("--labels", type=click.Path(path_type=Path),
                 help="Text file with one class name a line."),
    click.option("--size", type=parse_size, metavar="HxW",
                 help="Input size, where the model leaves it free."),
    click.option("--resize",
                 type=click.Choice(["stretch", "letterbox", "letterbox-topleft", "crop"]),
                 help="How the image is fitted into the input."),
    click.option("--crop-ratio", type=click.FloatRange(0, 1, min_open=True),
                 help="Of crop: short side becomes input size / ratio, then the centre is cut."),
    click.option("--pad-value", type=click.IntRange(0, 255), help="Grey level of the border."),
    click.option("--interpolation", type=click.Choice(["linear", "area", "cubic", "nearest"]),
                 help="Of the resize; area averages what it shrinks."),
    click.option("--color", type=click.Choice(["rgb", "bgr", "grey"]),
                 help="Channel order that the model wants."),
    click.option("--mean", type=parse_floats, metavar="A[,B,C]",
                 help="Subtracted from pixels, 0-255."),
    click.option("--std", type=parse_floats, metavar="A[,B,C]",
                 help="Pixels are divided by it, 0-255."),
)  # fmt: skip

trusted_option = click.option(
    "--trusted",
    is_flag=True,
    help="Open a bare model file at once, not in a child process first.",
)

_RUN = (
    click.option("--variant", help="Variant of the bundle; default: the first that can run."),
    click.option("--backend", type=click.Choice(plugins.names("backends")),
                 help="Engine to run with."),
    click.option("--threads", type=click.IntRange(1, 1024),
                 help="Threads of one inference; default: the CPUs this process may use."),
    click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16", "auto"]),
                 help="Of float arithmetic, where the engine can choose."),
    click.option("--conf", "confidence", type=click.FloatRange(0, 1),
                 help="Confidence threshold of detections."),
    click.option("--iou", type=click.FloatRange(0, 1), help="Overlap threshold of suppression."),
)  # fmt: skip


def hint_options(command: F) -> F:
    """Add the options that describe a bare model file; the command gets ``hints``."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        kwargs["hints"] = Hints(
            origin="option",
            head=kwargs.pop("head"),
            head_options=_head_options(kwargs.pop("head_options")) or None,
            labels=_labels(kwargs.pop("labels")),
            size_hw=kwargs.pop("size"),
            **{
                name: kwargs.pop(name)
                for name in (
                    "foreign",
                    "task",
                    "resize",
                    "crop_ratio",
                    "pad_value",
                    "interpolation",
                    "color",
                    "mean",
                    "std",
                )
            },
        )
        return command(*args, **kwargs)

    for option in reversed(_HINTS):
        run = option(run)
    return run  # type: ignore[return-value]  # wraps keeps what click looks at


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens a model as the command line says.

    Attributes:
        hints: about a bare file.
        trusted: open a bare file without a child process.
        options: keyword arguments of `edgecv.load`; None where the command line says nothing.
    """

    hints: Hints
    trusted: bool
    options: Mapping[str, Any]

    def __call__(self, path: Path) -> Model:
        """Open a bundle or a bare model file."""
        return load(path, hints=self.hints, trusted=self.trusted, **self.options)


def model_options(command: F) -> F:
    """Add the options of how a model runs; the command gets ``open_model``, an `Opener`."""

    @wraps(command)
    def run(*args: Any, hints: Hints, trusted: bool, **kwargs: Any) -> Any:
        names = ("variant", "backend", "threads", "precision", "confidence", "iou")
        options = {name: kwargs.pop(name) for name in names}
        return command(*args, open_model=Opener(hints, trusted, options), **kwargs)

    for option in reversed(_RUN):
        run = option(run)
    return hint_options(trusted_option(run))  # type: ignore[return-value]  # wraps keeps what click looks at


def _head_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise UsageError("", where="--head-option", expected="KEY=VALUE", got=repr(pair))
        try:
            options[key] = json.loads(text)
        except ValueError:
            options[key] = text
    return options


def _labels(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot be read: {reason}", where=f"--labels {path}") from None
    # A line in the middle that is empty is a class without a name; at the end it is nothing.
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)
