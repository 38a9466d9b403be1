"""MQTT: results as JSON, published under a topic."""

import sys
import threading
import time
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from edgecv.errors import DependencyMissingError, SinkError, UsageError
from edgecv.record import Record
from edgecv.schema import Rule
from edgecv.sink import public_address, record_line
from edgecv.types import Frame

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class Options(Record, kw_only=True):
    """How messages are published.

    Attributes:
        qos: 0 at most once, 1 at least once, 2 exactly once; see the MQTT specification.
        retain: the broker keeps the last message for those who subscribe later.
        client_id: empty lets the broker choose.
        keepalive_s: how long a silent connection may be dead before it is noticed.
        timeout_s: for the broker to take a message (and, with qos 1 and 2, to confirm it).
        only_found: publish nothing for frames in which nothing was found.
    """

    qos: Literal[0, 1, 2] = 0
    retain: bool = False
    client_id: str = ""
    keepalive_s: Annotated[int, Rule(ge=1, le=3600)] = 30
    timeout_s: Annotated[float, Rule(gt=0, le=600)] = 5.0
    only_found: bool = False


def recognise(target: str) -> bool:
    """Tell by the scheme, ``mqtt://`` or, with TLS, ``mqtts://``."""
    return target.lower().startswith(("mqtt://", "mqtts://"))


class Mqtt:
    """Publish each result; the client connects again by itself after the broker was lost.

    Every stream has a topic of its own below the one in the address: its name is appended, with
    ``/``, ``+`` and ``#`` replaced. A stream without a name uses the address's topic itself.
    """

    def __init__(self, target: str, options: Options) -> None:
        try:
            from paho.mqtt import client as paho
        except ImportError:
            raise DependencyMissingError(
                "paho-mqtt is needed to publish",
                where=f"sink {public_address(target)}",
                remedy="pip install 'edgecv[mqtt]'",
            ) from None
        parts = urlsplit(target)
        scheme = parts.scheme.lower()
        topic = unquote(parts.path).strip("/")
        try:
            port = parts.port or _PORTS.get(scheme)
        except ValueError:
            port = None
        if not parts.hostname or not topic or port is None or {"+", "#"} & set(topic):
            raise UsageError(
                "",
                where=f"sink {public_address(target)}",
                expected="mqtt[s]://[USER:PASSWORD@]HOST[:PORT]/TOPIC, no + or # in the topic",
            )
        self.where = f"sink {public_address(target)}"
        self._topic, self._options, self._paho = topic, options, paho
        self._closed = threading.Event()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=options.client_id)
        if scheme == "mqtts":
            client.tls_set()
        if parts.username is not None:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        self._refused = ""
        self._client = client
        # Neither waits for the broker: connecting goes on in the client's own thread.
        client.connect_async(parts.hostname, port, options.keepalive_s)
        client.loop_start()

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, more: Any) -> None:
        del client, data, flags, more
        self._refused = str(reason) if getattr(reason, "is_failure", False) else ""

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        del client, data
        # paho calls this while it handles the error, and hands it to nobody.
        error = sys.exc_info()[1]
        self._refused = getattr(error, "strerror", None) or str(error or "")

    def write(self, frame: Frame, result: Any) -> None:
        """Publish one result and wait until the broker has it, as far as the qos tells.

        Raises:
            SinkError: there is no connection, or the broker did not take it in time.
        """
        options = self._options
        if options.only_found and not len(result.value):
            return
        deadline = time.monotonic() + options.timeout_s
        while not self._client.is_connected():
            if self._closed.wait(0.02) or time.monotonic() > deadline:
                raise SinkError(
                    "no connection to the broker",
                    where=self.where,
                    got=self._refused or ("closed" if self._closed.is_set() else "no answer"),
                    remedy="see that the broker runs and takes this user; it is tried again",
                )
        message = self._client.publish(
            self._topic_of(frame.stream), record_line(frame, result), options.qos, options.retain
        )
        while not message.is_published():
            if self._closed.wait(0.002) or time.monotonic() > deadline:
                raise SinkError("the broker did not take the message in time", where=self.where)

    def _topic_of(self, stream: str) -> str:
        name = "".join("_" if c in "/+#\0" else c for c in stream)
        return f"{self._topic}/{name}" if name else self._topic

    def close(self) -> None:
        """Say goodbye to the broker and end the client's thread."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._client.disconnect()
        self._client.loop_stop()


def open_sink(target: str, options: Options) -> Mqtt:
    """Start to connect; that the broker is not there yet is no error here."""
    return Mqtt(target, options)
