"""Records in the terms of pydantic: their published JSON Schemas, and a second opinion for tests.

    python scripts/schemas.py    # writes docs/manifest.schema.json and docs/bench.schema.json

Not part of the runtime; needs pydantic, which the ``dev`` extra brings.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from edgecv.bench.report import Report
from edgecv.manifest import Manifest
from edgecv.record import Record
from edgecv.schema import JsonObject, Rule

_SCALARS = {str: "str", int: "int", bool: "bool", float: "float"}


def core_schema(hint: Any) -> JsonObject:
    """Translate a type hint that `edgecv.schema.reader` knows into a schema of pydantic-core."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = core_schema(args[0])
        for rule in args[1:]:
            schema = _with_rule(schema, rule)
        return schema
    if hint is Any:
        return {"type": "any"}
    if isinstance(hint, type) and hint in _SCALARS:
        schema = {"type": _SCALARS[hint], "strict": True}
        return schema | {"allow_inf_nan": False} if hint is float else schema
    if origin is Literal:
        return {"type": "literal", "expected": list(args)}
    if origin in (Union, types.UnionType):
        return {"type": "nullable", "schema": core_schema(args[0])}
    if origin is tuple and args[-1] is Ellipsis:
        items = [core_schema(args[0])]
        return {"type": "tuple", "items_schema": items, "variadic_item_index": 0}
    if origin is tuple:
        return {"type": "tuple", "items_schema": [core_schema(arg) for arg in args]}
    if origin is dict:
        keys, values = map(core_schema, args)
        return {"type": "dict", "keys_schema": keys, "values_schema": values}
    if isinstance(hint, type) and issubclass(hint, Record):
        return _record(hint)
    raise TypeError(f"no schema for {hint!r}")


def _with_rule(schema: JsonObject, rule: Any) -> JsonObject:
    if isinstance(rule, Rule):
        return schema | {name: value for name, value in vars(rule).items() if value is not None}
    function = {"type": "no-info", "function": lambda value: rule(value) or value}
    return {"type": "function-after", "function": function, "schema": schema}


def _record(cls: type[Record]) -> JsonObject:
    hints = get_type_hints(cls, include_extras=True)
    fields = {
        name: {
            "type": "typed-dict-field",
            "schema": core_schema(hints[name]),
            "required": name not in cls.record_defaults,
        }
        for name in cls.record_fields
    }
    return {
        "type": "typed-dict",
        "cls_name": cls.__name__,
        "fields": fields,
        "extra_behavior": "forbid",
        "config": {"extra_fields_behavior": "forbid", "title": cls.__name__},
    }


def json_schema(cls: type[Record]) -> JsonObject:
    """Return the JSON Schema of a record."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        def typed_dict_schema(self, schema: Any) -> JsonObject:
            # pydantic 2.11 leaves it out where there is no class behind the schema; 2.14 does not.
            return {**super().typed_dict_schema(schema), "additionalProperties": False}

    schema: JsonObject = Generator().generate(core_schema(cls))
    return schema


def accepts(cls: type[Record], data: bytes) -> bool:
    """Tell whether pydantic would take this JSON for a record, by the record's own rules."""
    from pydantic_core import SchemaValidator, ValidationError

    try:
        SchemaValidator(core_schema(cls)).validate_json(data)
    except ValidationError:
        return False
    return True


_DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED: dict[type[Record], Path] = {
    Manifest: _DOCS / "manifest.schema.json",
    Report: _DOCS / "bench.schema.json",
}
"""Which records have a published schema, and where."""

if __name__ == "__main__":
    for cls, path in PUBLISHED.items():
        path.write_text(json.dumps(json_schema(cls), indent=2) + "\n")
