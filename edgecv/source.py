"""Find the source of frames that an address means.

A kind of source is a module in ``sources/``: see `Kind`. A camera, a stream or a file is opened
when its frames are asked for, not before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args, get_type_hints

from edgecv import plugins
from edgecv.errors import UsageError
from edgecv.events import Listener, ignore
from edgecv.record import Record
from edgecv.types import Source

if TYPE_CHECKING:
    from edgecv.reconnect import Policy

Address = str | tuple[str, ...]
"""One address, or the addresses of several images."""

# The first kind is a password with a slash or a question mark in it that nobody escaped: what
# follows the colon is no port.
_USER = re.compile(r"(?<=://)(?:[^/?#\s]*:(?!\d+(?:[/?#]|$))\S*@|[^/?#\s]*@)")
_QUERY = re.compile(r"\?[^\s'\"]*")


class SourceOptions(Record, kw_only=True):
    """Options that every kind of source has; a kind's own ``Options`` extends it.

    Attributes:
        stream: name of the stream; empty takes one from the address, without credentials.
    """

    stream: str = ""


class Kind(Protocol):
    """What a module in ``sources/`` offers."""

    Options: type[SourceOptions]
    """Frozen record of its options, all with defaults."""

    def recognise(self, address: Address) -> bool:
        """Tell by the address alone, or a look at the file's name, whether it is of this kind."""

    def open_source(self, address: Address, options: Any, listener: Listener) -> Source:
        """Make the source; nothing is opened before `Source.frames` is iterated.

        Args:
            address: one that `recognise` accepts, or that the caller says is of this kind.
            options: this module's `Options`.
            listener: takes the events of the stream.

        Raises:
            UsageError: the address or an option cannot be meant.
            DependencyMissingError: a library that the kind needs is not installed.
        """


def open_source(
    address: str | os.PathLike[str] | int | Sequence[str | os.PathLike[str]],
    kind: str | None = None,
    *,
    listener: Listener = ignore,
    reconnect: bool | Policy | None = None,
    **options: Any,
) -> Source:
    """Make the source that an address means.

    Args:
        address: a file, folder, glob, URL, device or ``KIND:...``; the number of a camera; or
            several files, folders and globs of images.
        kind: name of a plug-in in ``sources/``; None finds the one that recognises the address.
        listener: takes the events of the stream.
        reconnect: wrap it so that it comes back after it was lost: True or a
            `edgecv.reconnect.Policy`; None does so for cameras and network streams.
        **options: fields of the kind's ``Options``; None leaves one at its default.

    Raises:
        UsageError: no kind recognises the address, or several do; an unknown or wrong option.
        DependencyMissingError: a library that the kind needs is not installed.
    """
    text = _address(address)
    name = kind if kind is not None else _kind_of(text)
    module = cast(Kind, plugins.load("sources", name))
    made = module.open_source(text, _options(module, name, options), listener)
    if reconnect is None:
        reconnect = bool(getattr(module, "RECONNECTS", False))
    if reconnect is False:
        return made
    from edgecv.reconnect import Policy, Reconnect

    return Reconnect(made, Policy() if reconnect is True else reconnect, listener=listener)


def kinds_of(address: Address) -> tuple[str, ...]:
    """List the kinds of source that recognise an address."""
    return tuple(
        name
        for name in plugins.names("sources")
        if cast(Kind, plugins.load("sources", name)).recognise(address)
    )


def shown(address: str) -> str:
    """Return an address as it may be shown: without user, password and query."""
    return _QUERY.sub("?...", _USER.sub("", address)) if "://" in address else address


def _address(address: Any) -> Address:
    if isinstance(address, str | os.PathLike):
        return os.fspath(address)
    if isinstance(address, int) and not isinstance(address, bool) and address >= 0:
        return str(address)
    if isinstance(address, Sequence) and not isinstance(address, bytes | bytearray | memoryview):
        several = tuple(_address(item) for item in address)
        if all(isinstance(item, str) for item in several) and several:
            return cast(str, several[0]) if len(several) == 1 else cast(tuple[str, ...], several)
    raise UsageError(
        "no address of a source",
        where="address",
        expected="a path, a URL, the number of a camera, or a list of images",
        got=repr(address)[:80],
    )


def _kind_of(address: Address) -> str:
    found = kinds_of(address)
    if len(found) == 1:
        return found[0]
    where = shown(address) if isinstance(address, str) else f"{len(address)} addresses"
    if found:
        raise UsageError(
            "several kinds of source recognise the address",
            where=where,
            got=", ".join(found),
            remedy=f"name one, such as kind={found[0]!r}",
        )
    nowhere = isinstance(address, str) and ":" not in address and not Path(address).exists()
    unknown = "no kind of source recognises the address"
    raise UsageError(
        f"no such file or folder, and {unknown}" if nowhere else unknown,
        where=where or "''",
        expected=f"one of {', '.join(plugins.names('sources'))}",
        remedy="check that the file is there, or name the kind",
    )


def _options(module: Kind, kind: str, given: dict[str, Any]) -> SourceOptions:
    """Make a kind's options of what a caller gave, and check names and types.

    Raises:
        UsageError: the kind has no such option, or a value is of another type.
    """
    values = {key: value for key, value in given.items() if value is not None}
    known = module.Options.record_fields
    for key, value in values.items():
        where = f"source {kind}: option {key}"
        if key not in known:
            raise UsageError("unknown option", where=where, expected=f"one of {', '.join(known)}")
        hint = get_type_hints(module.Options)[key]
        fits = get_args(hint) or (hint,)
        if float in fits and type(value) is int:
            values[key] = float(value)
        elif type(value) not in fits:
            names = " or ".join(one.__name__ for one in fits if one is not type(None))
            raise UsageError("wrong type", where=where, expected=names, got=repr(value)[:80])
    return module.Options(**values)


def check_positive(kind: str, **values: float | None) -> None:
    """Refuse options that must be above 0 and are not; None passes.

    Raises:
        UsageError: naming the option.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            where = f"source {kind}: option {name}"
            raise UsageError("out of range", where=where, expected="above 0", got=f"{value:g}")
