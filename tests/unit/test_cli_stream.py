"""``edgecv stream``: frames in, lines and sinks out, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.models import Ran, command


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bundle")
    source = models.null_detector(made / "d.null.json")
    hints = Hints(head="end2end", labels=("cat", "dog"))
    return pack([source], made / "d.edgecv", hints=hints, trusted=True)


def stream(*args: object) -> Ran:
    """Run it on every frame; synthetic sources call themselves live."""
    return command("stream", *args, "--policy", "every")


def test_a_line_for_every_frame_and_a_table_at_the_end(bundle: Path) -> None:
    ran = stream(bundle, "faulty:frames=12", "--json", "-")
    assert ran.status == 0
    assert [line["frame"] for line in ran.lines] == list(range(12))
    first = ran.lines[0]
    assert list(first)[:4] == ["stream", "frame", "timestamp_s", "epoch"]
    assert [d["label"] for d in first["detections"]] == ["dog", "cat"]
    assert "Traceback" not in ran.err
    table = [line for line in ran.err.splitlines() if first["stream"] in line][-1]
    assert table.split()[-4:] == ["12", "12", "0", "0"]


def test_live_sources_lose_frames_and_say_so(bundle: Path) -> None:
    ran = command("stream", bundle, "faulty:frames=3000", "--json", "-")
    assert ran.status == 0
    table = next(line for line in ran.err.splitlines() if " 3000 " in line)
    out, dropped, skipped = map(int, table.split()[-3:])
    assert (out + dropped, skipped) == (3000, 0)
    assert out == len(ran.lines) < 3000


def test_several_sources_are_told_apart(bundle: Path, tmp_path: Path) -> None:
    folders = []
    for name in ("north", "south"):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(5):
            models.write_image(folder / f"{i}.png", i)
        folders.append(folder)
    ran = stream(bundle, *folders, "faulty:frames=3", "--json", tmp_path / "found.jsonl")
    assert (ran.status, ran.out) == (0, "")
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    frames: dict[str, list[int]] = {}
    for line in lines:
        frames.setdefault(line["stream"], []).append(line["frame"])
    assert sorted(map(len, frames.values())) == [3, 5, 5]
    assert all(indices == sorted(indices) for indices in frames.values())


def test_tracks_zones_and_sinks(bundle: Path, tmp_path: Path) -> None:
    zones = tmp_path / "zones.json"
    zones.write_text(
        json.dumps(
            {
                "zones": [
                    {
                        "name": "all",
                        "points": [[0, 0], [1, 0], [1, 1], [0, 1]],
                        "units": "fractions",
                        "anchor": "center",
                    }
                ]
            }
        )
    )
    target = tmp_path / "found.jsonl"
    ran = stream(
        bundle, "faulty:frames=30", "--track", "ocsort", "--zones", zones, "--stats",
        "--sink", target, "--sink", f"{tmp_path}/drawn/", "--json", "-",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    last = ran.lines[-1]
    assert [d["track_id"] for d in last["detections"]] == [1, 2]
    assert last["zones"]["all"] == {"occupancy": 2, "entries": 2, "exits": 0}
    assert [json.loads(line) for line in target.read_text().splitlines()] == ran.lines
    assert f"{last['stream']}: all: 2 inside, 2 in, 0 out" in ran.err.splitlines()
    assert f"sink {target}: 30 written, 0 dropped, 0 failed" in ran.err
    assert "mean ms of a frame: preprocess" in ran.err


def test_it_ends_after_so_many_frames(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "found.jsonl"
    ran = stream(bundle, "faulty:frames=0", "--max-frames", "25", "--json", "-", "--sink", target)
    assert ran.status == 0
    assert len(ran.lines) == len(target.read_text().splitlines()) == 25


def test_it_ends_after_some_time(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    models.write_image(folder / "a.png")
    start = time.monotonic()
    # Nobody puts a second image there: it must end while it waits.
    ran = stream(bundle, f"watch:{folder}", "--duration", "1.5", "--json", "-")
    assert ran.status == 0
    assert len(ran.lines) == 1
    assert 1.4 < time.monotonic() - start < 10


def test_options_of_the_source(bundle: Path) -> None:
    ran = stream(
        bundle, "faulty:", "--source-option", "frames=4", "--source-option", "stream=door",
        "--json", "-",
    )  # fmt: skip
    assert ran.status == 0
    assert [line["stream"] for line in ran.lines] == ["door"] * 4
    assert stream(bundle, "faulty:", "--source-option", "frames").status == 2
    assert stream(bundle, "faulty:", "--source-option", "no_such=1").status == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["no-such-file.mp4"], "no-such-file.mp4"),
        (["faulty:", "--sink", "what://ever"], "what://ever"),
        (["faulty:", "--zones", "no-zones.json"], "no-zones.json"),
    ],
)
def test_what_cannot_be_meant(bundle: Path, args: list[Any], said: str) -> None:
    ran = stream(bundle, *args)
    assert ran.status in (1, 2)
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_pictures_are_not_drawn_into_the_folder_that_is_read(bundle: Path, tmp_path: Path) -> None:
    image = models.write_image(tmp_path / "a.png")
    for source in (tmp_path, f"watch:{tmp_path}"):
        ran = stream(bundle, source, "--sink", f"{tmp_path}/", "--max-frames", "1")
        assert ran.status == 2
        assert f"--sink {tmp_path}/: the images that are read lie in this folder" in ran.err
    assert list(tmp_path.iterdir()) == [image]


def test_a_classifier_cannot_be_tracked(tmp_path: Path) -> None:
    model = models.null_classifier(tmp_path / "c.null.json")
    ran = stream(model, "faulty:", "--trusted", "--head", "softmax", "--track", "bytetrack")
    assert ran.status == 2
    assert "finds no objects that could be tracked" in ran.err


def test_a_sink_that_fails_is_told_and_is_status_1(bundle: Path) -> None:
    ran = stream(bundle, "faulty:frames=5", "--sink", "http://127.0.0.1:9/hook,timeout_s=0.2")
    assert ran.status == 1
    assert "SinkFailed: reason sink http://127.0.0.1:9/hook: the result was not deli" in ran.err
    assert "Traceback" not in ran.err


def test_an_error_of_the_source_keeps_what_was_found_before(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "found.jsonl"
    target.write_text("old\n")
    once = ["--source-option", "reconnect=false", "--json", target]
    ran = stream(bundle, "faulty:frames=9,open_fails=0", *once)
    assert (ran.status, target.read_text()) == (1, "old\n"), "nothing was found"
    ran = stream(bundle, "faulty:frames=9,disconnect=5", *once)
    assert ran.status == 1
    assert "error: " in ran.err
    found = [json.loads(line)["frame"] for line in target.read_text().splitlines()]
    assert found == list(range(len(found)))
    assert len(found) >= 4
    assert list(tmp_path.iterdir()) == [target]


def test_the_end_of_a_service_keeps_what_was_found(bundle: Path, tmp_path: Path) -> None:
    target, sunk = tmp_path / "found.jsonl", tmp_path / "sunk.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "edgecv", "stream", str(bundle), "faulty:frames=0,fps=50",
         "--json", str(target), "--sink", str(sunk)],
        cwd=Path(__file__).parents[2], stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        deadline = time.monotonic() + 30
        while not sunk.exists() or sunk.read_text().count("\n") < 20:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        said = child.communicate(timeout=30)[1].decode()
    assert child.returncode == 143, said
    assert "Traceback" not in said
    assert "dropped" in said, "the table is shown all the same"
    assert json.loads(target.read_text().splitlines()[0])["frame"] == 0


@pytest.mark.parametrize("source", ["faulty:frames=0,fps=50", "watch:{folder}"])
def test_an_interrupt_ends_it_at_once(bundle: Path, tmp_path: Path, source: str) -> None:
    models.write_image(tmp_path / "a.png")
    target = tmp_path / "found.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "edgecv", "stream", str(bundle), source.format(folder=tmp_path),
         "--json", "-", "--sink", str(target)],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell lets what it runs in the background ignore interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        first = json.loads(child.stdout.readline())
        time.sleep(0.2)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
        said = child.stderr.read().decode()
        child.wait(30)
        took = time.monotonic() - start
    assert child.returncode == 130
    assert "Traceback" not in said
    assert first["stream"] in said, "the table is shown all the same"
    assert took < 3, "a second, and the end of the interpreter"
    assert len(target.read_text().splitlines()) >= 1 + len(rest.splitlines())
