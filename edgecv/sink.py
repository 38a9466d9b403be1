"""What a sink is, how one is opened by its address, and the record that sinks send.

A sink is a module in ``sinks/`` (see `SinkModule`). Nothing here waits for a slow receiver: a sink
is called by a thread of its own, behind a bounded queue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from edgecv import plugins, schema
from edgecv.errors import UsageError
from edgecv.types import Frame, Sink

_KEY = "abcdefghijklmnopqrstuvwxyz_"


class SinkModule(Protocol):
    """What a module in ``sinks/`` offers."""

    Options: type[Any]
    """A record of its options, all with defaults; annotations are not postponed."""

    def recognise(self, target: str) -> bool:
        """Tell from an address alone whether this sink is meant."""

    def open_sink(self, target: str, options: Any) -> Sink:
        """Make the sink.

        Raises:
            UsageError: an address that it cannot mean.
            SinkError: it cannot be opened, and trying again would not help.
            DependencyMissingError: an optional library is not installed.
        """


def open_sink(target: str, kind: str | None = None, **options: Any) -> Sink:
    """Open the sink that an address means.

    Args:
        target: such as ``results.jsonl``, ``annotated.mp4``, ``drawn/``, ``http://host/hook``,
            ``mqtt://host/topic`` or ``mjpeg://127.0.0.1:8080``.
        kind: a plug-in in ``sinks/``; None tells it from the address.
        **options: fields of the plug-in's ``Options``.

    Raises:
        UsageError: no sink, or several, fit the address; or an option does not fit the sink.
    """
    names = plugins.names("sinks")
    if kind is None:
        fits = [name for name in names if plugins.load("sinks", name).recognise(target)]
        if len(fits) != 1:
            raise UsageError(
                "several sinks fit this address" if fits else "no sink is known by this address",
                where=f"sink {target!r}",
                expected=f"one of {', '.join(fits or names)}",
                remedy=f"name it: {(fits or names)[0]}:{target}",
            )
        kind = fits[0]
    module: SinkModule = plugins.load("sinks", kind)
    where = f"sink {kind}"
    return module.open_sink(target, schema.validate(module.Options, options, where, UsageError))


def parse_target(text: str) -> tuple[str, str | None, dict[str, Any]]:
    """Split ``[KIND:]TARGET[,KEY=VALUE...]``, as command lines write it.

    Values are JSON or plain text. A comma that no ``KEY=`` follows belongs to the target.

    Returns:
        Target, kind or None, options.
    """
    kind, _, rest = text.partition(":")
    if kind in plugins.names("sinks") and rest and not rest.startswith("//"):
        text = rest
    else:
        kind = ""
    parts = text.split(",")
    options: dict[str, Any] = {}
    while len(parts) > 1:
        key, equals, value = parts[-1].partition("=")
        if not equals or not key or not set(key) <= set(_KEY):
            break
        options[key] = _value(value)
        parts.pop()
    return ",".join(parts), kind or None, options


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def record(frame: Frame, result: Any) -> dict[str, Any]:
    """Make the object that sinks write for one frame.

    Returns:
        ``stream``, ``frame`` (its index), ``timestamp_s`` and ``epoch`` of the frame, followed by
        what the result's own ``to_json`` says.
    """
    return {
        "stream": frame.stream,
        "frame": frame.index,
        "timestamp_s": round(float(frame.timestamp_s), 6),
        "epoch": frame.epoch,
        **result.to_json(),
    }


def record_line(frame: Frame, result: Any) -> bytes:
    """Write `record` as one line of UTF-8 JSON, without the line's end."""
    said: Mapping[str, Any] = record(frame, result)
    return json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def public_address(address: str) -> str:
    """Return an address without what must not be seen in logs: user, password and query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
