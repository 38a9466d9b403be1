"""Addresses of other machines: ``ssh://user@board:22``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from edgecv.errors import UsageError

EXPECTED = "ssh://user@board or ssh://user@board:port"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a machine is reached.

    Attributes:
        text: as it was given; it holds no password.
        host: name or IP address, or a ``Host`` of ``~/.ssh/config``.
        port: None leaves it to ``~/.ssh/config``.
        user: None leaves it to ``~/.ssh/config``.
    """

    text: str
    host: str
    port: int | None
    user: str | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            UsageError: it is none, or holds a password, which is not repeated.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.password is not None:
            raise UsageError(
                "a password in an address is seen by everybody on this machine",
                where="--host",
                expected=EXPECTED,
                remedy="log in with a key: ssh-copy-id user@board",
            )
        if parts.scheme != "ssh" or not host or port == 0 or _more(parts.path, parts.query):
            raise UsageError("", where="--host", expected=EXPECTED, got=repr(text))
        return cls(text, host, port, unquote(parts.username) if parts.username else None)


def _more(path: str, query: str) -> bool:
    return path not in ("", "/") or bool(query)
