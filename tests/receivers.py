"""Receivers on this machine for tests of sinks: an HTTP server and a small MQTT 3.1.1 broker.

The broker follows the OASIS standard MQTT 3.1.1: fixed header 2.2, CONNECT 3.1, PUBLISH 3.3,
PUBACK 3.4, PINGREQ 3.12, DISCONNECT 3.14. It takes quality of service 0 and 1.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Http:
    """Collects what is posted; `statuses` are given one by one, then 200."""

    def __init__(self, statuses: list[int] | None = None, delay: threading.Event | None = None):
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        outer, waiting = self, list(statuses or [])

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if delay is not None:
                    delay.wait(10)
                outer.bodies.append(json.loads(body))
                outer.headers.append(dict(self.headers))
                self.send_response(waiting.pop(0) if waiting else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Broker:
    """Collects what is published as (topic, payload, qos, retain)."""

    def __init__(self, port: int = 0, refuse: int = 0) -> None:
        self.messages: list[tuple[str, Any, int, bool]] = []
        self.users: list[tuple[str, str]] = []
        self._refuse = refuse
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.settimeout(0.05)
        self.port: int = self._server.getsockname()[1]
        self._stop = threading.Event()
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                client, _ = self._server.accept()
                client.settimeout(None)
                self._clients.append(client)
                thread = threading.Thread(target=self._serve, args=(client,), name="receiver")
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream, suppress(OSError):
            while head := stream.read(1):
                kind, flags = head[0] >> 4, head[0] & 15
                size = shift = 0
                while True:
                    (byte,) = stream.read(1)
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = stream.read(size)
                if kind == 1:
                    self._note_user(body)
                    client.sendall(bytes([0x20, 2, 0, self._refuse]))
                elif kind == 3:
                    length = int.from_bytes(body[:2], "big")
                    topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
                    qos = flags >> 1 & 3
                    if qos:
                        client.sendall(bytes([0x40, 2]) + rest[:2])
                        rest = rest[2:]
                    self.messages.append((topic, json.loads(rest), qos, bool(flags & 1)))
                elif kind == 12:
                    client.sendall(bytes([0xD0, 0]))
                elif kind == 14:
                    return

    def _note_user(self, body: bytes) -> None:
        if not body[7] & 0x80:
            return
        fields, rest = [], body[10:]
        while rest:
            length = int.from_bytes(rest[:2], "big")
            fields.append(rest[2 : 2 + length].decode())
            rest = rest[2 + length :]
        self.users.append((fields[1], fields[2]))
