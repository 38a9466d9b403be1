"""Check what was said about a head before the first image: its options, the outputs, the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from edgecv.errors import HeadError, UsageError
from edgecv.head import Head
from edgecv.types import TensorSpec

_FRACTIONS = ("confidence", "iou")
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "null",
}
# An empty output of this size is decoded in milliseconds; larger ones are not tried.
_MAX_VALUES = 2**24
_HUGE = 1e300


def check_options(head: Head, name: str, options: Mapping[str, Any]) -> None:
    """Refuse head options that the head does not have or cannot use.

    Raises:
        UsageError: an unknown option, a value of the wrong kind, or one out of range.
    """
    if not options:
        return
    hints = get_type_hints(head.Options)
    known = [name for name in head.Options.record_fields if name != "input_hw"]
    for option, value in options.items():
        where = f"head {name}: option {option}"
        if option not in known:
            raise UsageError("unknown option", where=where, expected=f"one of {', '.join(known)}")
        if not _is(value, hints[option]):
            expected = _word(hints[option])
            raise UsageError("wrong type", where=where, expected=expected, got=repr(value)[:80])
        if option in _FRACTIONS and not 0 <= value <= 1:
            raise UsageError("out of range", where=where, expected="0 to 1", got=repr(value))
        if type(value) is int and value < 0:
            raise UsageError("out of range", where=where, expected="0 or more", got=repr(value))


def _is(value: Any, hint: Any) -> bool:
    """Tell whether a value, which may come from JSON, is of an option's type."""
    if isinstance(hint, UnionType):
        return any(_is(value, one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return isinstance(value, list | tuple) and all(_is(item, inner) for item in value)
    if hint is float:
        return type(value) in (int, float) and abs(value) < _HUGE
    return type(value) is hint


def _word(hint: Any) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(map(_word, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a list, each {_word(get_args(hint)[0])}"
    if hint is np.ndarray:
        return "an array (--head-array)"
    return _WORDS.get(hint, str(hint))


def check_outputs(
    head: Head,
    name: str,
    options: Mapping[str, Any],
    outputs: Sequence[TensorSpec],
    input_hw: tuple[int, int],
    labels: Sequence[str],
    where: str,
) -> None:
    """Decode outputs of zeros: does the head take these shapes, and do the labels fit them?

    Nothing is checked where a size is free. How many classes the outputs hold is the head's
    knowledge, so it is told to expect as many as there are labels. Heads whose outputs do not
    show the number of classes accept any.

    Raises:
        UsageError: the head refuses the shapes, or the labels are not as many as the classes.
    """
    # A free first axis is the batch; one image is decoded at a time.
    shapes = [(1, *s.shape[1:]) if s.shape[:1] == (None,) else s.shape for s in outputs]
    if any(n is None for shape in shapes for n in shape):
        return
    if sum(math.prod(n or 0 for n in shape) for shape in shapes) > _MAX_VALUES:
        return
    zeros = {
        spec.name: np.zeros([n or 0 for n in shape], np.float32)
        for spec, shape in zip(outputs, shapes, strict=True)
    }
    known = set(head.Options.record_fields)
    # Nothing that scores zero is looked at further.
    least = {"confidence": 0.5} if "confidence" in known else {}
    given = {**options, **least, "input_hw": input_hw}
    try:
        head.decode(zeros, head.Options(**given))
    except HeadError as error:
        raise UsageError(
            f"head {name} does not fit the model's outputs: {error.what}".removesuffix(": "),
            where=where,
            expected=error.expected,
            got=error.got,
            remedy=error.remedy or "name another one with --head, or change it with --head-option",
        ) from None
    if not labels or "num_classes" not in known or options.get("num_classes"):
        return
    try:
        head.decode(zeros, head.Options(**{**given, "num_classes": len(labels)}))
    except HeadError as error:
        raise UsageError(
            f"{len(labels)} labels do not fit the model's outputs",
            where=where,
            expected=error.expected,
            got=error.got,
            remedy="give one label for each class, a background class included",
        ) from None
