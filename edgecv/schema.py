"""Strict reading of JSON into records: nothing unknown, nothing missing, nothing coerced.

A field's type is its annotation; further rules ride along in ``Annotated``, as a `Rule` or as a
function that checks the value. An int is taken where a float is expected, and nothing else is
converted. Errors name the field: ``manifest.json: variants[0].layout: expected one of NCHW, NHWC``.

This is not pydantic: importing it and building its classes takes longer than opening a small
network. ``scripts/schemas.py`` hands the same records to pydantic, to publish their JSON
Schema, and the tests compare what both accept.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgecv.errors import EdgecvError
from edgecv.record import Record

T = TypeVar("T", bound=Record)
JsonObject = dict[str, Any]
Reader = Callable[[Any], Any]

MAX_DEPTH = 64
_NAMES = {str: "a string", int: "an integer", bool: "true or false", float: "a number"}
_READERS: dict[type, Reader] = {}


class Rule:
    """Constraints on a field.

    Args:
        ge: lowest value.
        gt: the value is greater than this.
        le: highest value.
        min_length: of a string or a list.
        max_length: of a string.
        pattern: regular expression that the whole string matches.
    """

    def __init__(
        self,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        pattern: str | None = None,
    ) -> None:
        self.ge, self.gt, self.le = ge, gt, le
        self.min_length, self.max_length, self.pattern = min_length, max_length, pattern

    def check(self, value: Any) -> None:
        """Raise ValueError with what was expected, if the value breaks a rule."""
        if self.ge is not None and value < self.ge:
            raise ValueError(f"at least {self.ge}")
        if self.gt is not None and value <= self.gt:
            raise ValueError(f"more than {self.gt}")
        if self.le is not None and value > self.le:
            raise ValueError(f"at most {self.le}")
        if self.min_length is not None and len(value) < self.min_length:
            raise ValueError(f"a length of at least {self.min_length}")
        if self.max_length is not None and len(value) > self.max_length:
            raise ValueError(f"a length of at most {self.max_length}")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise ValueError(f"a match of {self.pattern}")


class _FaultError(Exception):
    """The first fault, on its way up to `validate`; each level that it leaves adds its step."""

    def __init__(self, what: str = "", expected: str | None = None, got: Any = _NAMES) -> None:
        self.what, self.expected = what, expected
        # _NAMES stands for "nothing to show": None is a value that JSON can hold.
        text = None if got is _NAMES else repr(got)
        self.got = text if text is None or len(text) <= 80 else text[:77] + "..."
        self.remedy = "remove it, or upgrade edgecv" if what == "unknown field" else None
        self._steps: list[str | int] = []

    def below(self, step: str | int) -> _FaultError:
        """Say that the fault lies under this name, or at this place of a list."""
        self._steps.append(step)
        return self

    @property
    def path(self) -> str:
        """Where the fault lies, such as ``variants[0].layout``."""
        steps = [f"[{s}]" if isinstance(s, int) else f".{s}" for s in reversed(self._steps)]
        return "".join(steps).removeprefix(".")


def reader(hint: Any) -> Reader:
    """Make a function from JSON value to value of the hint's type, which raises `_FaultError`.

    Knows str, int, float, bool, Any, Literal, ``X | None``, ``tuple[X, ...]``, ``tuple[X, Y]``,
    ``dict[str, X]``, records, and Annotated with a `Rule` or a function.

    Raises:
        TypeError: any other hint.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(reader(args[0]), args[1:])
    if hint is Any:
        return _any
    if isinstance(hint, type) and hint in _NAMES:
        return _scalar(hint)
    if origin is Literal:
        return _literal(args)
    if origin in (Union, types.UnionType) and len(args) == 2 and args[1] is type(None):
        inner = reader(args[0])
        return lambda value: None if value is None else inner(value)
    if origin is tuple and args[-1] is Ellipsis:
        return _list(reader(args[0]))
    if origin is tuple:
        return _fixed([reader(arg) for arg in args])
    if origin is dict and args[0] is str:
        return _dict(reader(args[1]))
    if isinstance(hint, type) and issubclass(hint, Record):
        return _late(hint)
    raise TypeError(f"no reader for {hint!r}")


def _late(cls: type[Record]) -> Reader:
    """Make the reader of a record when the first one comes: most files hold few of the kinds."""

    def read(value: Any) -> Any:
        if cls not in _READERS:
            _READERS[cls] = _record(cls)
        return _READERS[cls](value)

    return read


def _any(value: Any) -> Any:
    return value


def _scalar(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is kind:
            if isinstance(value, float) and not math.isfinite(value):
                raise _FaultError("", "a finite number", value)
            return value
        if kind is float and type(value) is int and abs(value) < 2**1023:
            return float(value)
        raise _FaultError("", _NAMES[kind], value)

    return read


def _literal(choices: Sequence[Any]) -> Reader:
    def read(value: Any) -> Any:
        # By type as well: True is equal to 1.
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            names = ", ".join(map(str, choices))
            raise _FaultError("", f"one of {names}" if len(choices) > 1 else names, value)
        return value

    return read


def _annotated(inner: Reader, rules: Sequence[Any]) -> Reader:
    def read(value: Any) -> Any:
        value = inner(value)
        for rule in rules:
            try:
                rule.check(value) if isinstance(rule, Rule) else rule(value)
            except ValueError as error:
                text = str(error)
                what, expected = ("", text) if isinstance(rule, Rule) else (text, None)
                raise _FaultError(what, expected, value) from None
        return value

    return read


def _list(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise _FaultError("", "a list", value)
        return _each([inner] * len(value), value)

    return read


def _fixed(inners: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != len(inners):
            raise _FaultError("", f"a list of {len(inners)}", value)
        return _each(inners, value)

    return read


def _each(inners: Sequence[Reader], items: list[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    try:
        for inner, item in zip(inners, items, strict=True):
            found.append(inner(item))
    except _FaultError as fault:
        raise fault.below(len(found)) from None
    return tuple(found)


def _dict(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _FaultError("", "an object", value)
        found = {}
        for key, item in value.items():
            try:
                found[key] = inner(item)
            except _FaultError as fault:
                raise fault.below(key) from None
        return found

    return read


def _record(cls: type[Record]) -> Reader:
    hints = cls.__annotations__
    if any(isinstance(hint, str) for hint in hints.values()):
        hints = get_type_hints(cls, include_extras=True)
    readers = {name: reader(hints[name]) for name in cls.record_fields}
    required = [name for name in cls.record_fields if name not in cls.record_defaults]

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _FaultError("", "an object", value)
        found = {}
        for name, item in value.items():
            if name not in readers:
                raise _FaultError("unknown field").below(name)
            try:
                found[name] = readers[name](item)
            except _FaultError as fault:
                raise fault.below(name) from None
        for name in required:
            if name not in found:
                raise _FaultError("missing field").below(name)
        return cls(**found)

    return read


def parse_object(
    data: bytes | memoryview, where: str, error: Callable[..., EdgecvError]
) -> JsonObject:
    """Read UTF-8 JSON that must be an object, without keys that occur twice, NaN or deep nesting.

    Args:
        data: the file's bytes.
        where: how errors name the file.
        error: class of the error to raise.
    """
    try:
        text = str(data, "utf-8")
        raw = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        raise error(f"not valid JSON: {fault}", where=where) from None
    if not isinstance(raw, dict):
        raise error("", where=where, expected="a JSON object", got=type(raw).__name__)
    if _depth(raw) > MAX_DEPTH:
        raise error(f"nested more than {MAX_DEPTH} deep", where=where)
    return raw


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested, without recursion."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return depth


def _unique(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def validate(cls: type[T], raw: JsonObject, where: str, error: Callable[..., EdgecvError]) -> T:
    """Build a record from what `parse_object` returned.

    Args:
        cls: the record's class.
        raw: the JSON object.
        where: how errors name the file.
        error: class of the error to raise.

    Raises:
        error: the first fault found, with the path of its field.
    """
    try:
        record: T = reader(cls)(raw)
    except _FaultError as fault:
        place = f"{where}: {fault.path}" if fault.path else where
        raise error(
            fault.what, where=place, expected=fault.expected, got=fault.got, remedy=fault.remedy
        ) from None
    return record


def to_json(record: Record) -> bytes:
    """Write a record as indented UTF-8 JSON with a final newline."""
    text = json.dumps(record.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
