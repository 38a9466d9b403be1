"""Sinks that send: webhook, MQTT and the live page, against real receivers on this machine."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import cv2
import numpy as np
import pytest

from edgecv.errors import SinkError, UsageError
from edgecv.sink import open_sink
from tests.receivers import Broker, Http
from tests.streams_of_results import frame, result


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_webhook_gets_every_result() -> None:
    with Http() as http:
        sink = open_sink(http.url.replace("//", "//me:secret@") + "hook?x=1", headers={"X-A": "b"})
        for index in range(3):
            sink.write(frame(index), result(index))
        sink.close()
    assert [body["frame"] for body in http.bodies] == [0, 1, 2]
    assert [len(body["detections"]) for body in http.bodies] == [0, 1, 2]
    assert http.headers[0]["X-A"] == "b"
    assert http.headers[0]["Authorization"] == "Basic bWU6c2VjcmV0"


def test_a_receiver_that_stumbles_is_asked_again() -> None:
    with Http([503, 429, 200]) as http:
        sink = open_sink(http.url, wait_s=0.0)
        sink.write(frame(), result())
        sink.close()
    assert len(http.bodies) == 3


def test_a_receiver_that_refuses_is_not() -> None:
    with Http([404]) as http:
        sink = open_sink(http.url, wait_s=0.0)
        with pytest.raises(SinkError, match="the result was not delivered: got status 404"):
            sink.write(frame(), result())
        sink.write(frame(1), result())  # and the connection is still good
        sink.close()
    assert len(http.bodies) == 2


def test_nothing_found_can_be_kept_to_oneself() -> None:
    with Http() as http:
        sink = open_sink(http.url, only_found=True)
        sink.write(frame(0), result(0))
        sink.write(frame(1), result(2))
        sink.close()
    assert [body["frame"] for body in http.bodies] == [1]


def test_a_dead_receiver_and_a_silent_one_are_errors_without_the_password() -> None:
    dead = open_sink(f"http://me:secret@127.0.0.1:{free_port()}/", tries=2, wait_s=0.0)
    with pytest.raises(SinkError, match="not delivered") as caught:
        dead.write(frame(), result())
    assert "secret" not in str(caught.value)
    never = threading.Event()
    with Http(delay=never) as http:
        silent = open_sink(http.url, tries=1, timeout_s=0.2)
        with pytest.raises(SinkError, match="got timed out"):
            silent.write(frame(), result())
        never.set()


def test_closing_ends_the_waiting_between_tries() -> None:
    sink = open_sink(f"http://127.0.0.1:{free_port()}/", tries=20, wait_s=60.0)
    threading.Timer(0.1, sink.close).start()
    start = time.monotonic()
    with pytest.raises(SinkError, match="closed"):
        sink.write(frame(), result())
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("address", ["http://", "http://host:port/", "https:///x"])
def test_addresses_without_a_host_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"expected http\[s\]://HOST"):
        open_sink(address)


def test_mqtt_publishes_below_the_topic() -> None:
    with Broker() as broker:
        sink = open_sink(
            f"mqtt://me:se%40cret@127.0.0.1:{broker.port}/site/line", qos=1, retain=True
        )
        sink.write(frame(1), result(1))
        sink.write(frame(2, stream="a/b+#"), result(0))
        sink.write(frame(3, stream=""), result(0))
        sink.close()
    topics = [topic for topic, *_ in broker.messages]
    assert topics == ["site/line/door", "site/line/a_b__", "site/line"]
    _, body, qos, retain = broker.messages[0]
    assert (body["frame"], qos, retain) == (1, 1, True)
    assert broker.users == [("me", "se@cret")]


def test_a_broker_that_comes_late_gets_what_is_sent_then() -> None:
    port = free_port()
    sink = open_sink(f"mqtt://127.0.0.1:{port}/t", timeout_s=0.2)
    with pytest.raises(SinkError, match="no connection to the broker: got Connection refused"):
        sink.write(frame(0), result())
    with Broker(port) as broker:
        late = open_sink(f"mqtt://127.0.0.1:{port}/t", timeout_s=5.0)
        late.write(frame(1), result())
        late.close()
        assert [body["frame"] for _, body, *_ in broker.messages] == [1]
    sink.close()


def test_a_broker_that_refuses_says_why() -> None:
    with Broker(refuse=5) as broker:
        sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/t", timeout_s=0.5)
        with pytest.raises(SinkError, match="Not authorized"):
            sink.write(frame(), result())
        sink.close()


@pytest.mark.parametrize("address", ["mqtt://host", "mqtt:///t", "mqtt://h:x/t", "mqtt://h/a/+/b"])
def test_addresses_that_name_no_topic_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="expected mqtt"):
        open_sink(address)


@pytest.fixture
def page() -> Any:
    sink = open_sink("mjpeg://127.0.0.1:0", most_viewers=2)
    yield sink
    sink.close()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body


def test_the_page_counts_and_shows(page: Any) -> None:
    assert json.loads(get(page.url + "stats.json")) == {"streams": {}}
    page.write(frame(5, stream="a b/c", arrival_s=time.monotonic()), result(2))
    said = json.loads(get(page.url + "stats.json"))["streams"]["a b/c"]
    assert (said["frame"], said["counts"], said["infer_ms"]) == (5, {"green": 2}, 1.5)
    assert said["age_ms_p50"] >= 0
    assert (said["zones"], said["lines"]) == ({}, {})
    counted = {"zones": {"a": {"occupancy": 1, "entries": 2, "exits": 1}}, "lines": {}}
    page.write(frame(6, stream="a b/c"), result(2).replace(counts={**counted, "events": []}))
    said = json.loads(get(page.url + "stats.json"))["streams"]["a b/c"]
    assert {kind: said[kind] for kind in ("zones", "lines")} == counted
    assert b"<title>edgecv live</title>" in get(page.url)
    snapshot = get(page.url + "snapshot/a%20b%2Fc")
    picture = cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    for missing in ("nothing", "stream/none", "snapshot/none"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(page.url + missing)


def watch(page: Any) -> Any:
    return urllib.request.urlopen(page.url + "stream/door", timeout=5)


def next_picture(viewer: Any) -> np.ndarray:
    line = viewer.readline()
    while not line.startswith(b"Content-Length"):
        line = viewer.readline()
    viewer.readline()
    data = viewer.read(int(line.split()[1]))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_viewers_see_the_newest_frames_and_are_limited(page: Any) -> None:
    page.write(frame(0), result(0))
    with watch(page) as one, watch(page) as two:
        for viewer in (one, two):
            assert next_picture(viewer).mean() == pytest.approx(40, abs=2)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            watch(page)
        page.write(frame(10), result(0))
        assert next_picture(one).mean() == pytest.approx(140, abs=2)
        page.close()
        assert one.read().strip() == b"--frame", "closing the page lets viewers go"


def test_a_viewer_that_takes_nothing_holds_up_nobody(page: Any) -> None:
    big = (1080, 1920)
    noise = np.random.default_rng(0).integers(0, 256, (*big, 3), np.uint8)
    page.write(frame(0), result(0))
    with watch(page):
        slowest = 0.0
        for index in range(40):
            start = time.monotonic()
            page.write(frame(index).replace(image=noise), result(0, big))
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.01)
        start = time.monotonic()
        page.close()
        # Drawing and encoding such a frame takes far longer than handing it over.
        assert time.monotonic() - start < 2
    assert slowest < 1


def test_a_port_that_is_taken_is_a_clear_error(page: Any) -> None:
    port = page.url.split(":")[2].strip("/")
    with pytest.raises(SinkError, match="cannot listen there"):
        open_sink(f"mjpeg://127.0.0.1:{port}")
    with pytest.raises(UsageError, match="expected mjpeg://HOST:PORT"):
        open_sink("mjpeg://127.0.0.1")
