"""How the classes of a data set become the classes of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgecv.errors import DatasetError
from edgecv.types import Int32

ClassMap = Literal["auto", "index"]
"""``index``: by number, whatever the names. ``auto``:

- by number, where one side has no names, or all names agree in order;
- by number, where as many classes are on both sides and at least `SAME_PLACE` of the names agree,
  all in the same place: the others are taken for other spellings (airplane, aeroplane) and noted;
- by name, where every class of the data is one of the model's;
- otherwise an error.
"""

SAME_PLACE = 0.8

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The answer of `class_table`.

    Attributes:
        ids: (classes of the data,) int32, the model's id of each; None where the ids are the same.
        notes: what a reader of the numbers should know.
    """

    ids: Int32 | None = None
    notes: tuple[str, ...] = ()


def class_table(
    data: Sequence[str], model: Sequence[str], class_map: ClassMap = "auto", *, where: str = "data"
) -> ClassTable:
    """Map the class ids of a data set to those of a model.

    Names are compared without regard to case, and ``_`` counts as a space.

    Args:
        data: class names of the data; empty where it has none.
        model: class names of the model; empty where it has none.
        class_map: see `ClassMap`.
        where: name of the data set, for errors.

    Raises:
        DatasetError: the classes do not fit.
    """
    if not data:
        return ClassTable()
    if not model:
        named = not all(name.isdecimal() for name in data)
        note = "the model has no class names: its classes are compared with the data's by number"
        return ClassTable(notes=(note,)) if named else ClassTable()
    remedy = "class_map='index' (--class-map index) takes the classes by number"
    ours, theirs = [_plain(name) for name in data], [_plain(name) for name in model]
    if class_map == "index":
        if len(data) > len(model):
            raise DatasetError(
                "the data have more classes than the model",
                where=where,
                expected=f"at most {len(model)}",
                got=str(len(data)),
            )
        return ClassTable(None, _renamed(data, model))
    if ours == theirs or _same_places(ours, theirs):
        return ClassTable(None, _renamed(data, model))
    ids = {name: i for i, name in enumerate(theirs)}
    unknown = [name for name, plain in zip(data, ours, strict=True) if plain not in ids]
    if unknown:
        raise DatasetError(
            "classes that the model does not have",
            where=where,
            expected=f"names such as {', '.join(repr(name) for name in model[:_SHOWN])}",
            got=_some([repr(name) for name in unknown]),
            remedy=remedy if len(data) <= len(model) else None,
        )
    both = Counter(ours), Counter(theirs)
    double = [name for name in ours if any(count[name] > 1 for count in both)]
    if double:
        raise DatasetError(
            "two classes have the same name", where=where, got=repr(double[0]), remedy=remedy
        )
    return ClassTable(np.array([ids[name] for name in ours], np.int32))


def _same_places(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Tell whether two lists are one, but for a few names that only one of them has."""
    if len(ours) != len(theirs):
        return False
    agreeing = {a for a, b in zip(ours, theirs, strict=True) if a == b}
    return len(agreeing) >= SAME_PLACE * len(ours) and set(ours) & set(theirs) == agreeing


def _renamed(data: Sequence[str], model: Sequence[str]) -> tuple[str, ...]:
    pairs = enumerate(zip(data, model, strict=False))
    other = [f"{i} {a!r} as {b!r}" for i, (a, b) in pairs if _plain(a) != _plain(b)]
    return (f"classes taken by number: {_some(other)}",) if other else ()


def _some(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    shown = ", ".join(items[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
