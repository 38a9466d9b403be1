"""Sinks that write files: JSON Lines, drawn images, annotated video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgecv.errors import SinkError
from edgecv.result import Places
from edgecv.sink import open_sink, record
from tests.streams_of_results import frame, result


def test_a_line_for_each_frame_says_which_frame_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for _ in range(2):  # a program that starts again goes on in the same file
        sink = open_sink(str(path))
        sink.write(frame(3, epoch=2), result(1))
        sink.write(frame(4, epoch=2), result(0))
        sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    first = {key: lines[0][key] for key in ("stream", "frame", "timestamp_s", "epoch")}
    assert first == {"stream": "door", "frame": 3, "timestamp_s": 0.3, "epoch": 2}
    assert lines[0]["detections"][0]["label"] == "green"
    assert lines[1]["detections"] == []
    assert lines[0] == json.loads(json.dumps(record(frame(3, epoch=2), result(1))))


def test_a_file_may_be_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old\n")
    sink = open_sink(str(path), append=False, sync=True)
    sink.write(frame(), result())
    sink.close()
    assert path.read_text().count("\n") == 1


def test_a_full_disk_and_a_missing_folder_are_clear(tmp_path: Path) -> None:
    sink = open_sink("/dev/full", kind="jsonl")
    with pytest.raises(SinkError, match="cannot be written: No space left"):
        sink.write(frame(), result())
    sink.close()
    with pytest.raises(SinkError, match="cannot be written: No such file"):
        open_sink(f"{tmp_path}/none/a.jsonl")


def test_drawn_images_and_videos_show_zones_and_lines(tmp_path: Path) -> None:
    places = Places(
        {"a": np.array([[32, 24], [1e12, 24], [63, 47]])}, {"b": np.array([[8.0, 4], [8, 44]])}
    )
    counts = {"zones": {"a": {"occupancy": 1, "entries": 2, "exits": 1}}}
    said = result(0).replace(places=places, counts=counts)
    for target in (f"{tmp_path}/drawn/", f"{tmp_path}/a.mp4"):
        sink = open_sink(target)
        sink.write(frame(), said)
        sink.close()
    video = cv2.VideoCapture(f"{tmp_path}/a.mp4").read()[1]
    for drawn in (cv2.imread(f"{tmp_path}/drawn/door-0-00000000.jpg"), video):
        assert drawn is not None
        changed = np.abs(drawn.astype(int) - 40).max(axis=2) > 12
        assert changed[30:36, 50:54].all(), "the zone"
        assert changed[20:30, 8].all(), "the line"
        assert not changed[44:, 20:28].any()


def test_a_line_that_fits_in_part_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file's size takes a part of the line first, as a disk that fills up does."""
    program = (
        "import resource, sys\n"
        "from edgecv.errors import SinkError\n"
        "from edgecv.sink import open_sink\n"
        "from tests.streams_of_results import frame, result\n"
        "sink = open_sink(sys.argv[1])\n"
        "sink.write(frame(0), result())\n"
        "import os\n"
        "size = os.path.getsize(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, size + 40))\n"
        "try: sink.write(frame(1), result())\n"
        "except SinkError as error: print(error.what)\n"
    )
    path = tmp_path / "a.jsonl"
    ran = subprocess.run(
        [sys.executable, "-c", program, path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("cannot be written")
    (line,) = path.read_bytes().splitlines(keepends=True)
    assert line.endswith(b"\n")
    assert json.loads(line)["frame"] == 0


def test_drawn_images_are_named_after_their_frames(tmp_path: Path) -> None:
    sink = open_sink(f"{tmp_path}/drawn/", format="png")
    sink.write(frame(7, epoch=1), result())
    sink.write(frame(8, stream="../../etc/x"), result())
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["_.._etc_x-0-00000008.png", "door-1-00000007.png"]
    again = open_sink(f"{tmp_path}/drawn/", format="png")
    again.write(frame(7, epoch=1), result())  # a program that starts anew loses no picture
    assert (tmp_path / "drawn/door-1-00000007-2.png").exists()
    drawn = cv2.imread(str(tmp_path / "drawn" / names[1]))
    assert (drawn != frame(7).image).any(), "the box is on it"


def test_what_is_saved_can_be_limited(tmp_path: Path) -> None:
    sink = open_sink(f"{tmp_path}/", only_found=True, every=2, most=2, draw=False)
    for index in range(8):
        sink.write(frame(index), result(index % 2))  # found in frames 1, 3, 5, 7
    assert sorted(path.name[-7:-4] for path in tmp_path.iterdir()) == ["001", "005"]
    with pytest.raises(SinkError, match="the limit of files is reached: expected at most 2"):
        sink.write(frame(9), result(1))


def read(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(f.pts * f.time_base) for f in frames], [
        f.to_ndarray(format="bgr24") for f in frames
    ]


def test_a_video_keeps_the_time_of_each_frame(tmp_path: Path) -> None:
    sink = open_sink(f"{tmp_path}/out.mp4", draw=False)
    times = [5.0, 5.04, 5.5, 5.5, 6.25]
    for index, at in enumerate(times):
        sink.write(frame(index).replace(timestamp_s=at), result())
    sink.close()
    found, images = read(tmp_path / "out.mp4")
    assert np.array(found) - found[0] == pytest.approx(np.array(times) - 5, abs=1e-3)
    # Frames are 10 levels apart; the encoder loses some.
    assert [image.mean() for image in images] == pytest.approx([40, 50, 60, 70, 80], abs=4.9)


def test_another_size_or_epoch_begins_another_file_and_none_is_lost(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"somebody's")
    sink = open_sink(f"{tmp_path}/out.mp4")
    sink.write(frame(0), result())
    sink.write(frame(1, (33, 51)), result())  # odd sides
    sink.write(frame(2, (33, 51), epoch=1), result())
    sink.write(frame(3, stream="yard"), result())
    sink.close()
    assert (tmp_path / "out.mp4").read_bytes() == b"somebody's"
    sizes = {p.name: read(p)[1][0].shape[:2] for p in tmp_path.glob("out-*")}
    assert sizes == {
        "out-2.mp4": (48, 64),
        "out-3.mp4": (34, 52),
        "out-4.mp4": (34, 52),
        "out-yard.mp4": (48, 64),
    }


def test_without_pyav_opencv_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    sink = open_sink(f"{tmp_path}/out.avi", fps=10)
    for index in range(4):
        sink.write(frame(index), result())
    sink.close()
    capture = cv2.VideoCapture(str(tmp_path / "out.avi"))
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == 4


def test_a_video_that_cannot_be_written_is_clear(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="no such folder"):
        open_sink(f"{tmp_path}/none/out.mp4")
    for codec in ("no-such-codec", "pcm_s16le"):
        with pytest.raises(SinkError, match=f"no video encoder of this name here: got {codec}"):
            open_sink(f"{tmp_path}/out.mp4", codec=codec)
    assert list(tmp_path.iterdir()) == []
    # An encoder that takes pictures of a few sizes only.
    sink = open_sink(f"{tmp_path}/out.mkv", codec="h263")
    with pytest.raises(SinkError, match="the video cannot be written"):
        sink.write(frame(), result())
