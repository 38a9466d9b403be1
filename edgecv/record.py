"""Frozen records that cost nothing to define.

A ``@dataclass`` compiles five methods for every class: close to a millisecond each on a desktop
CPU, several on a board, and opening a bundle needs some forty classes. A `Record` shares one set of
methods among all, reads the same annotations, and type checkers treat it as a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

T = TypeVar("T")


class _Factory:
    """The default of a field that is made anew for every record."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """Say that a field's default is made by a call, such as ``field(default_factory=dict)``."""
    return _Factory(default_factory)  # type: ignore[return-value]  # as dataclasses.field does


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """A frozen record with the fields that its class annotates, in order, bases first.

    Defaults are what the class assigns. Two records are equal if they are of one class and all
    fields are, arrays as a whole; it is hashable if its fields are. `__post_init__` runs last,
    if there is one.
    """

    record_fields: ClassVar[tuple[str, ...]] = ()
    record_defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        """Collect the fields; `kw_only` matters to type checkers alone."""
        super().__init_subclass__()
        own = {
            name: None
            for name, hint in cls.__annotations__.items()
            if not str(hint).startswith("ClassVar")
        }
        cls.record_fields = tuple({**dict.fromkeys(cls.record_fields), **own})
        given = {name: cls.__dict__[name] for name in own if name in cls.__dict__}
        cls.record_defaults = {**cls.record_defaults, **given}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = self.record_fields
        values = self.__dict__
        if args:
            if len(args) > len(names):
                raise TypeError(
                    f"{type(self).__name__} takes {len(names)} arguments, got {len(args)}"
                )
            values.update(zip(names, args, strict=False))
            twice = kwargs.keys() & values.keys()
            if twice:
                raise TypeError(f"{type(self).__name__} got {sorted(twice)[0]!r} twice")
        values.update(kwargs)
        if len(values) < len(names):
            defaults = self.record_defaults
            for name in names:
                if name not in values:
                    if name not in defaults:
                        raise TypeError(f"{type(self).__name__} needs {name!r}")
                    default = defaults[name]
                    values[name] = default.make() if isinstance(default, _Factory) else default
        if len(values) > len(names) or kwargs.keys() - set(names):
            unknown = sorted(kwargs.keys() - set(names))
            raise TypeError(f"{type(self).__name__} has no field {unknown[0]!r}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields; does nothing unless a class says otherwise."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: use replace()")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(map(_same, self._values(), other._values()))

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.record_fields)
        return f"{type(self).__name__}({shown})"

    def _values(self) -> tuple[Any, ...]:
        values = self.__dict__
        return tuple(values[name] for name in self.record_fields)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{**self.to_fields(), **changes})

    def to_fields(self) -> dict[str, Any]:
        """Return field name -> value, in order; the values are those of the record itself."""
        return {name: self.__dict__[name] for name in self.record_fields}

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain data: records as dictionaries, at any depth."""
        return {name: plain(value) for name, value in self.to_fields().items()}


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "__array__") or hasattr(b, "__array__"):
        import numpy as np

        return bool(np.array_equal(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    return bool(a == b)


def plain(value: Any) -> Any:
    """Turn records inside of tuples, lists and dictionaries into dictionaries."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
