"""Streams put together of the real parts: sources, trackers, zones, the motion gate and sinks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgecv
from edgecv import events
from edgecv.drawing import draw
from edgecv.errors import UsageError
from edgecv.model import Model
from edgecv.source import open_source
from edgecv.types import Frame
from edgecv.watch import MotionGates, ZoneWatch
from edgecv.zone_config import ZoneConfig
from tests import models
from tests import streams_of_results as results
from tests.pipelines import ListSource, mean_model, settled

HW = (64, 96)
ROWS = ([20, 10, 40, 30, 0.9, 1], [60, 20, 90, 60, 0.2, 0])
WHOLE = {"name": "all", "points": [[0, 0], [1, 0], [1, 1], [0, 1]], "units": "fractions",
         "anchor": "center"}  # fmt: skip


@pytest.fixture
def detector(tmp_path: Path) -> Iterator[Model]:
    path = models.null_detector(tmp_path / "d.null.json", ROWS)
    with edgecv.load(path, head="end2end", trusted=True) as model:
        yield model


class Moving(ListSource):
    """Frames whose size tells a `Walker` where its object is; size and epoch as told."""

    def __init__(self, sizes: list[tuple[int, int]], **more: Any) -> None:
        super().__init__(len(sizes), **more)
        self.sizes = sizes

    def frames(self, cancel: Any) -> Iterator[Frame]:
        for frame in super().frames(cancel):
            hw = self.sizes[frame.index]
            image = np.full((*hw, 3), 200, np.uint8)
            # As of a camera whose clock begins anew with each connection.
            since = next(i for i in range(len(self.sizes)) if self.epoch(i) == frame.epoch)
            yield frame.replace(image=image, timestamp_s=(frame.index - since) / 10)


def test_what_is_tracked_is_kept_below_the_models_threshold(detector: Model) -> None:
    own = detector.options.confidence
    assert own > 0.2
    found = [r.detections for _, r in edgecv.stream(detector, Moving([HW] * 5), track=True)]
    # 0.2 is below the confidence, and begins no track: it is not told.
    assert [len(one) for one in found] == [1] * 5
    assert [list(one.track_id) for one in found if one.track_id is not None][-1] == [1]
    assert detector.options.confidence == own


def test_ids_are_of_a_stream_and_go_on_over_epochs(detector: Model) -> None:
    lanes = [Moving([HW] * 9, stream=name, epoch=lambda i: i // 3) for name in "ab"]
    ids: dict[str, list[int]] = {"a": [], "b": []}
    for frame, result in edgecv.stream(detector, lanes, track="ocsort"):
        assert result.detections.track_id is not None
        ids[frame.stream].append(int(result.detections.track_id.max()))
    assert ids["a"] == ids["b"]
    assert len(set(ids["a"]) - {0}) == 3, "a new id after each reconnect"


def test_an_unknown_tracker_or_option(detector: Model) -> None:
    with pytest.raises(UsageError, match="got 'nope'"):
        edgecv.stream(detector, ListSource(1), track="nope")
    with pytest.raises(UsageError, match="unknown option"):
        edgecv.stream(detector, ListSource(1), track=True, tracker_options={"nope": 1})
    assert not settled()


def test_zones_count_in_results_and_in_what_sinks_write(detector: Model, tmp_path: Path) -> None:
    target = tmp_path / "found.jsonl"
    zones = ZoneConfig.parse({"zones": [WHOLE]})
    run = edgecv.stream(detector, Moving([HW] * 6), zones=zones, sinks=[str(target)])
    counts = [result.counts for _, result in run]
    assert counts[-1] == {
        "zones": {"all": {"occupancy": 1, "entries": 1, "exits": 0}}, "lines": {}, "events": [],
    }  # fmt: skip
    kinds = [event["kind"] for one in counts if one for event in one["events"]]
    assert kinds == ["entry"]
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["zones"] for line in written] == [one and one["zones"] for one in counts]


def test_what_is_drawn_of_a_stream_shows_its_zones_and_their_counts(detector: Model) -> None:
    config = ZoneConfig.parse({"zones": [WHOLE]})
    run = edgecv.stream(detector, Moving([HW, (128, 192)]), zones=config)
    for (frame, result), hw in zip(run, [HW, (128, 192)], strict=True):
        assert result.places is not None
        corners = result.places.zones["all"].tolist()
        assert corners == [[0, 0], [hw[1], 0], [hw[1], hw[0]], [0, hw[0]]]
        assert "places" not in result.to_json()
        drawn = draw(frame.image, result)
        without = draw(frame.image, result.replace(places=None))
        assert (drawn != without).any(axis=2).mean() > 0.7, "the whole image is tinted"
        other = {"zones": {"all": {"occupancy": 8, "entries": 8, "exits": 8}}}
        assert (drawn != draw(frame.image, result.replace(counts=other))).any()


def test_times_of_zone_events_are_as_short_as_those_of_frames() -> None:
    watch = ZoneWatch(ZoneConfig.parse({"zones": [WHOLE]}))
    told = []
    for time_s, found in ((0.1, 1), (0.8, 1), (3.0, 0)):
        said = results.result(found)
        if found:
            said = said.replace(value=said.detections.replace(track_id=np.array([1], np.int32)))
        counts = watch(results.frame(timestamp_s=time_s), said).counts
        assert counts is not None
        told += [(event["timestamp_s"], event["dwell_s"]) for event in counts["events"]]
    assert 0.8 - 0.1 != 0.7
    assert told == [(0.1, 0.0), (0.8, 0.7)]


def test_totals_of_zones_outlive_epochs_and_sizes(detector: Model) -> None:
    watch = ZoneWatch(ZoneConfig.parse({"zones": [WHOLE]}))
    sizes = [HW] * 6 + [(128, 192)] * 3
    source = Moving(sizes, epoch=lambda i: (0, 1, 2)[i // 3])
    run = edgecv.stream(detector, source, track=True, hooks=[watch])
    last = [result.counts for _, result in run][-1]
    assert last is not None
    assert last["zones"]["all"] == {"occupancy": 1, "entries": 3, "exits": 0}
    assert watch.totals()["a"]["zones"] == last["zones"]


def test_zones_need_boxes(tmp_path: Path) -> None:
    with mean_model(tmp_path) as model:
        zones = ZoneConfig.parse({"zones": [WHOLE]})
        with pytest.raises(UsageError, match="finds no objects that could be tracked"):
            edgecv.stream(model, ListSource(1), zones=zones)
        run = edgecv.stream(model, ListSource(1), hooks=[ZoneWatch(zones)])
        with pytest.raises(UsageError, match="only objects can be counted"):
            list(run)


def test_still_frames_are_not_run(tmp_path: Path) -> None:
    class Picture(ListSource):
        def frames(self, cancel: Any) -> Iterator[Frame]:
            rng = np.random.default_rng(0)
            still = rng.integers(0, 200, (120, 160, 3), np.uint8)
            for frame in super().frames(cancel):
                image = still.copy()
                if 60 <= frame.index < 70:
                    cv2.rectangle(image, (40, 30), (80, 70), (255, 255, 255), -1)
                yield frame.replace(image=image)

    with mean_model(tmp_path) as model:
        for motion, gate in ((True, None), (False, MotionGates())):
            run = edgecv.stream(model, Picture(140), motion=motion, gate=gate)
            seen = [frame.index for frame, _ in run]
            (one,) = run.stats.streams
            assert one.skipped + one.frames_out == 140
            assert one.skipped > 40
            assert {0, 60, 70} <= set(seen)
        again = Picture(140, epoch=lambda i: i // 50)
        looped = edgecv.stream(model, again, motion=True)
        assert {0, 50, 100} <= {frame.index for frame, _ in looped}
        run = edgecv.stream(model, Picture(140), motion=True, gate=lambda frame: frame.index != 60)
        assert 60 not in {frame.index for frame, _ in run}


def test_images_in_a_list_are_one_stream(tmp_path: Path) -> None:
    paths = [models.write_image(tmp_path / f"{i}.png", i) for i in range(4)]
    with mean_model(tmp_path) as model:
        found = [(frame.stream, frame.index) for frame, _ in edgecv.stream(model, paths)]
        assert len({stream for stream, _ in found}) == 1
        assert [index for _, index in found] == [0, 1, 2, 3]
        one = [frame.stream for frame, _ in edgecv.stream(model, tmp_path)]
        both = {frame.stream for frame, _ in edgecv.stream(model, [tmp_path, tmp_path])}
        assert len(one) == 4
        assert both == {one[0], f"{one[0]}-2"}


def test_a_thousand_disconnects_leak_nothing(tmp_path: Path) -> None:
    from edgecv.reconnect import Policy

    told: list[events.Event] = []
    policy = Policy(first_delay_s=1e-4, max_delay_s=1e-4)
    source = open_source("faulty:frames=5000,disconnect=/5", reconnect=policy, listener=told.append)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with mean_model(tmp_path) as model:
        run = edgecv.stream(model, source, policy="every")
        indices = [frame.index for frame, _ in run]
    lost = sum(isinstance(event, events.Disconnected) for event in told)
    assert lost >= 1000
    assert indices == sorted(set(indices))
    (one,) = run.stats.streams
    assert one.epoch >= 999
    assert one.frames_in == one.frames_out == len(indices)
    assert not settled()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
