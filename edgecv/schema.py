"""Strict validation of JSON into frozen dataclasses, by pydantic's engine.

A record is a plain ``@dataclass(frozen=True)``; a field's rules ride along in ``Annotated``, in
pydantic-core's own terms: ``Annotated[int, Rule(ge=1)]``. pydantic-core does the checking and the
building. pydantic itself is left out on purpose: importing it and building its
model classes takes longer than opening a small network, and a device pays that at every start.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic_core import SchemaValidator, ValidationError

from edgecv.errors import EdgecvError

T = TypeVar("T")
JsonObject = dict[str, Any]

_VALIDATORS: dict[type, SchemaValidator] = {}
_SCALARS = {str: "str", int: "int", bool: "bool", float: "float"}


class Rule:
    """Constraints on a field, in the terms of pydantic-core's schema of the field's type."""

    def __init__(self, **terms: Any) -> None:
        self.terms = terms


def core_schema(hint: Any) -> dict[str, Any]:
    """Translate a type hint into a schema of pydantic-core.

    Knows str, int, float, bool, Any (a JSON value), Literal, ``X | None``, ``tuple[X, ...]``,
    ``tuple[X, Y]``, ``dict[str, X]``, dataclasses, and Annotated with a `Rule` or a function that
    checks the value.

    Raises:
        TypeError: any other hint.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = core_schema(args[0])
        for rule in args[1:]:
            if isinstance(rule, Rule):
                schema |= rule.terms
            else:
                schema = {
                    "type": "function-after",
                    "function": {"type": "no-info", "function": rule},
                    "schema": schema,
                }
        return schema
    if hint is Any:
        return {"type": "any"}
    if isinstance(hint, type) and hint in _SCALARS:
        schema = {"type": _SCALARS[hint], "strict": True}
        return schema | {"allow_inf_nan": False} if hint is float else schema
    if origin is Literal:
        return {"type": "literal", "expected": list(args)}
    if origin in (Union, types.UnionType) and len(args) == 2 and args[1] is type(None):
        return {"type": "nullable", "schema": core_schema(args[0])}
    if origin is tuple:
        if args[-1] is Ellipsis:
            return {
                "type": "tuple",
                "items_schema": [core_schema(args[0])],
                "variadic_item_index": 0,
            }
        return {"type": "tuple", "items_schema": [core_schema(arg) for arg in args]}
    if origin is dict:
        return {
            "type": "dict",
            "keys_schema": core_schema(args[0]),
            "values_schema": core_schema(args[1]),
        }
    if dataclasses.is_dataclass(hint):
        return _record_schema(hint)
    raise TypeError(f"no schema for {hint!r}")


def _record_schema(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    fields = []
    for field in dataclasses.fields(cls):
        schema = core_schema(hints[field.name])
        if field.default is not dataclasses.MISSING:
            schema = {"type": "default", "schema": schema, "default": field.default}
        elif field.default_factory is not dataclasses.MISSING:
            factory = field.default_factory
            schema = {"type": "default", "schema": schema, "default_factory": factory}
        fields.append(
            {"type": "dataclass-field", "name": field.name, "schema": schema, "kw_only": True}
        )
    return {
        "type": "dataclass",
        "cls": cls,
        "fields": [field.name for field in dataclasses.fields(cls)],
        "frozen": True,
        "config": {"extra_fields_behavior": "forbid"},
        "schema": {
            "type": "dataclass-args",
            "dataclass_name": cls.__name__,
            "fields": fields,
            "extra_behavior": "forbid",
        },
    }


def parse_object(
    data: bytes | memoryview, where: str, error: Callable[..., EdgecvError]
) -> JsonObject:
    """Read UTF-8 JSON that must be an object without a key that occurs twice.

    Args:
        data: the file's bytes.
        where: how errors name the file.
        error: class of the error to raise.
    """
    try:
        raw = json.loads(bytes(data), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        raise error(f"not valid JSON: {fault}", where=where) from None
    if not isinstance(raw, dict):
        raise error("", where=where, expected="a JSON object", got=type(raw).__name__)
    return raw


def validate(cls: type[T], data: bytes, where: str, error: Callable[..., EdgecvError]) -> T:
    """Build a record from JSON, strictly: nothing unknown, nothing missing, nothing coerced.

    Args:
        cls: a frozen dataclass.
        data: UTF-8 JSON.
        where: how errors name the file.
        error: class of the error to raise.

    Raises:
        error: the first fault found, with the path of its field.
    """
    try:
        if cls not in _VALIDATORS:
            _VALIDATORS[cls] = SchemaValidator(core_schema(cls))
        record: T = _VALIDATORS[cls].validate_json(data)
    except ValidationError as fault:
        raise _first_fault(fault, where, error) from None
    except RecursionError:
        raise error("nested too deeply", where=where) from None
    return record


def _unique(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add returns None on purpose
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _first_fault(
    fault: ValidationError, where: str, error: Callable[..., EdgecvError]
) -> EdgecvError:
    """Turn the engine's first complaint into ours, with a path like ``inputs[0].layout``."""
    first = fault.errors(include_url=False)[0]
    path = ""
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    place = f"{where}: {path}" if path else where
    kind, context = first["type"], first.get("ctx", {})
    got = repr(first["input"])
    got = got if len(got) <= 80 else got[:77] + "..."
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return error("unknown field", where=place, remedy="remove it, or upgrade edgecv")
    if kind in ("missing", "missing_keyword_only_argument"):
        return error("missing field", where=place)
    if kind == "literal_error":
        return error("", where=place, expected=f"one of {context['expected']}", got=got)
    if kind == "value_error":
        return error(str(context["error"]), where=place, got=got)
    message = first["msg"]
    return error(message[0].lower() + message[1:], where=place, got=got)


def to_json(record: Any) -> bytes:
    """Write a record as indented UTF-8 JSON with a final newline."""
    data = dataclasses.asdict(record)
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def json_schema(cls: type) -> JsonObject:
    """Derive the JSON Schema of a record from the very schema that validates it."""
    # pydantic proper is needed only for this, never to open a bundle.
    from pydantic.json_schema import GenerateJsonSchema

    schema: JsonObject = GenerateJsonSchema().generate(core_schema(cls))
    return schema
