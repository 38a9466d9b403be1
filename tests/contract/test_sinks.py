"""Every sink: opened by its address, closed twice, silent after that, strict about its options."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecv import plugins
from edgecv.errors import SinkError, UsageError
from edgecv.sink import open_sink, parse_target
from edgecv.types import Sink
from tests import receivers
from tests.streams_of_results import frame, result

NAMES = plugins.names("sinks")


@pytest.fixture
def target(name: str, tmp_path: Path) -> Iterator[str]:
    with receivers.Http() as http, receivers.Broker() as broker:
        yield {
            "jsonl": f"{tmp_path}/results.jsonl",
            "images": f"{tmp_path}/drawn/",
            "video": f"{tmp_path}/annotated.avi",
            "webhook": f"{http.url}hook",
            "mqtt": f"mqtt://127.0.0.1:{broker.port}/site/line",
            "mjpeg": "mjpeg://127.0.0.1:0",
        }[name]


@pytest.fixture
def sink(name: str, target: str) -> Iterator[Sink]:
    made = open_sink(target)
    yield made
    made.close()


each = pytest.mark.parametrize("name", NAMES)


@each
def test_one_address_means_one_sink(name: str, target: str) -> None:
    fits = [other for other in NAMES if plugins.load("sinks", other).recognise(target)]
    assert fits == [name]


@each
def test_results_are_taken_and_closing_twice_is_no_fault(name: str, sink: Sink) -> None:
    for index in range(3):
        sink.write(frame(index), result(index))
    sink.close()
    sink.close()


@each
def test_a_closed_sink_takes_nothing(name: str, sink: Sink) -> None:
    sink.write(frame(), result())
    sink.close()
    if name == "images":
        return  # nothing is open, and every file is whole
    with pytest.raises(SinkError, match="closed"):
        sink.write(frame(1), result())


@each
def test_no_thread_is_left_behind(name: str, target: str) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        made = open_sink(target)
        made.write(frame(), result())
        made.close()
    # Threads of the receivers in this process end when their sockets tell them to.
    new = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in new if name != "receiver" and "process_request" not in name}


@each
def test_options_are_checked(name: str, target: str) -> None:
    with pytest.raises(UsageError, match=f"sink {name}"):
        open_sink(target, no_such_option=1)
    defaults: dict[str, Any] = plugins.load("sinks", name).Options().to_fields()
    for option in defaults:
        with pytest.raises(UsageError, match=option):
            open_sink(target, **{option: object()})


@each
def test_other_addresses_are_not_its_own(name: str) -> None:
    module = plugins.load("sinks", name)
    for address in ("", "nothing", "ftp://host/x", "rtsp://host/x", "picture.jpg"):
        assert not module.recognise(address)


def test_an_unknown_address_lists_the_kinds() -> None:
    with pytest.raises(UsageError, match="expected one of images, jsonl"):
        open_sink("somewhere")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jsonl", ("a.jsonl", None, {})),
        ("jsonl:log.txt", ("log.txt", "jsonl", {})),
        ("mjpeg://host:80", ("mjpeg://host:80", None, {})),
        ("drawn/,every=5,format=png", ("drawn/", None, {"every": 5, "format": "png"})),
        ("a,b.jsonl,sync=true", ("a,b.jsonl", None, {"sync": True})),
        ("http://h/x?a=1,b", ("http://h/x?a=1,b", None, {})),
        ('http://h/,headers={"X":"y"}', ("http://h/", None, {"headers": {"X": "y"}})),
    ],
)
def test_addresses_on_the_command_line(text: str, expected: tuple[Any, ...]) -> None:
    assert parse_target(text) == expected
