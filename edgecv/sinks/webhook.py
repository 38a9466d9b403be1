"""Webhook: results as JSON by HTTP POST, one request for each frame."""

import http.client
import ssl
import threading
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from edgecv.errors import SinkError, UsageError
from edgecv.record import Record, field
from edgecv.schema import Rule
from edgecv.sink import public_address, record_line
from edgecv.types import Frame

_TOO_MANY, _SERVER_FAULT = 429, 500
_MOST_ANSWER = 2**16


class Options(Record, kw_only=True):
    """What is sent, and how long for.

    Attributes:
        only_found: send nothing for frames in which nothing was found.
        timeout_s: of connecting, and of every wait for the receiver.
        tries: in all, for one result; what the receiver itself refuses (status 400 to 499, but
            429) is not tried again.
        wait_s: before the second try; doubled for each further one.
        headers: of the request, such as a token.
    """

    only_found: bool = False
    timeout_s: Annotated[float, Rule(gt=0, le=600)] = 5.0
    tries: Annotated[int, Rule(ge=1, le=20)] = 3
    wait_s: Annotated[float, Rule(ge=0, le=60)] = 0.25
    headers: dict[str, str] = field(default_factory=dict)


def recognise(target: str) -> bool:
    """Tell by the scheme, ``http://`` or ``https://``."""
    return target.lower().startswith(("http://", "https://"))


class Webhook:
    """Post each result; one connection is kept open."""

    def __init__(self, target: str, options: Options) -> None:
        parts = urlsplit(target)
        try:
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host = None, None
        if parts.scheme.lower() not in ("http", "https") or not host:
            raise UsageError(
                "", where=f"sink {public_address(target)}", expected="http[s]://HOST[:PORT]/PATH"
            )
        self.where = f"sink {public_address(target)}"
        self._path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._options = options
        headers = {"Content-Type": "application/json", **options.headers}
        if parts.username:
            pair = f"{parts.username}:{parts.password or ''}".encode()
            headers.setdefault("Authorization", f"Basic {b64encode(pair).decode()}")
        self._headers: Mapping[str, str] = headers
        timeout = options.timeout_s
        self._connection = (
            http.client.HTTPSConnection(
                host, port, timeout=timeout, context=ssl.create_default_context()
            )
            if parts.scheme.lower() == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout)
        )
        self._closed = threading.Event()

    def write(self, frame: Frame, result: Any) -> None:
        """Post one result.

        Raises:
            SinkError: the receiver refuses it, or could not be reached in all tries.
        """
        options = self._options
        if options.only_found and not len(result.value):
            return
        body = record_line(frame, result)
        reason = ""
        for attempt in range(options.tries):
            if self._closed.wait(options.wait_s * 2 ** (attempt - 1) if attempt else 0):
                raise SinkError("closed", where=self.where)
            try:
                status = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                reason = str(error) or type(error).__name__
                continue
            if status < 300:
                return
            reason = f"status {status}"
            if status < _SERVER_FAULT and status != _TOO_MANY:
                break
        raise SinkError(
            "the result was not delivered",
            where=self.where,
            got=reason,
            remedy="see that the receiver runs and answers with a status below 300",
        )

    def _post(self, body: bytes) -> int:
        self._connection.request("POST", self._path, body, dict(self._headers))
        answer = self._connection.getresponse()
        # Read to its end, or the connection cannot be used again; a long answer is cut off.
        answer.read(_MOST_ANSWER)
        if not answer.isclosed():
            self._connection.close()
        return answer.status

    def close(self) -> None:
        """Close the connection; a try under way ends with its timeout."""
        self._closed.set()
        with suppress(OSError):
            self._connection.close()


def open_sink(target: str, options: Options) -> Webhook:
    """Prepare the requests; nothing is sent before the first result."""
    return Webhook(target, options)
