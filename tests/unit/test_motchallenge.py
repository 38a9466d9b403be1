"""MOTChallenge files: conventions kept, broken lines named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecv.errors import DatasetError
from edgecv.motchallenge import (
    Boxes,
    find_sequences,
    find_truth,
    read_boxes,
    read_sequence_info,
    write_boxes,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_frames_and_pixels_count_from_one(tmp_path: Path) -> None:
    found = read_boxes(
        write(tmp_path / "a.txt", "2,5,1,1,10,20,1,-1,-1,-1\n1,5,11,1,10,20,1,-1,-1,-1")
    )
    assert found.frame.tolist() == [1, 2]
    assert found.xyxy.tolist() == [[10, 0, 20, 20], [0, 0, 10, 20]]
    assert found.class_id.tolist() == [1, 1]
    assert not found.has_classes


def test_nine_columns_have_classes_and_ten_a_place_in_the_world(tmp_path: Path) -> None:
    found = read_boxes(write(tmp_path / "a.txt", "1,5,1,1,10,20,0,8,0.25\n"))
    assert found.has_classes
    assert (found.class_id[0], found.visibility[0], found.score[0]) == (8, 0.25, 0)
    found = read_boxes(write(tmp_path / "b.txt", "1,5,1,1,10,20,1,4.4852,5.5,0\n"))
    assert (found.class_id[0], found.visibility[0]) == (1, 1)
    # Results may have nine columns and mean nothing by them.
    assert read_boxes(tmp_path / "a.txt", classes=False).class_id.tolist() == [1]


def test_an_empty_file_and_one_with_spaces(tmp_path: Path) -> None:
    assert len(read_boxes(write(tmp_path / "a.txt", "\n"))) == 0
    assert len(read_boxes(write(tmp_path / "b.txt", "1 1 5 5 10 10\n\n1 2 5 5 10 10 0.5\n"))) == 2


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1,1,5,5,10", "6 to 10 numbers"),
        ("1,1,5,5,10,ten", "6 to 10 numbers"),
        ("0,1,5,5,10,10", "a frame number from 1"),
        ("1.5,1,5,5,10,10", "a frame number from 1"),
        ("1,1.5,5,5,10,10", "a whole number as id"),
        ("1,1,5,5,0,10", "a width and a height above 0"),
        ("1,1,nan,5,1,10", "finite numbers"),
        ("1,1,1e9,5,1,10", "finite numbers"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, fault: str) -> None:
    file = write(tmp_path / "a.txt", f"1,7,5,5,10,10\n\n{line}\n")
    with pytest.raises(DatasetError, match=rf"a\.txt: line 3: expected {fault}"):
        read_boxes(file)


def test_an_id_twice_in_a_frame(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="twice in a frame: got id 3 in frame 2"):
        read_boxes(write(tmp_path / "a.txt", "2,3,5,5,10,10\n2,3,50,5,10,10\n"))
    detections = write(tmp_path / "det.txt", "2,-1,5,5,10,10,.9\n2,-1,50,5,10,10,.8\n")
    assert read_boxes(detections).score.tolist() == pytest.approx([0.9, 0.8])


def test_there_and_back(tmp_path: Path) -> None:
    given = Boxes.of([3, 1], [4, 5], [[0.5, 1, 20.25, 30], [2, 3, 4, 5]])
    write_boxes(tmp_path / "a.txt", given)
    found = read_boxes(tmp_path / "a.txt", classes=False)
    assert found.frame.tolist() == [1, 3]
    assert found.id.tolist() == [5, 4]
    assert np.allclose(found.xyxy, given.xyxy, atol=2e-3)


def test_a_sequence(tmp_path: Path) -> None:
    folder = tmp_path / "S-1"
    write(folder / "gt/gt.txt", "1,1,1,1,9,9,1,-1,-1,-1\n")
    ini = "[Sequence]\nname=S-1\nimDir=img1\nframeRate=14\nseqLength=30\nimExt=.png\n"
    write(folder / "seqinfo.ini", ini)
    info = read_sequence_info(folder)
    assert (info.name, info.frame_rate, info.length, info.suffix) == ("S-1", 14, 30, ".png")
    assert info.images == folder / "img1"
    assert find_truth(folder) == folder / "gt/gt.txt"
    assert find_sequences(folder) == (folder,)
    write(tmp_path / "S-0/gt.txt", "1,1,1,1,9,9\n")
    assert find_sequences(tmp_path) == (tmp_path / "S-0", folder)
    write(folder / "seqinfo.ini", "[Sequence]\nframeRate=0\nseqLength=30\n")
    with pytest.raises(DatasetError, match=r"seqinfo\.ini: .*frameRate 0"):
        read_sequence_info(folder)
    write(folder / "seqinfo.ini", "nothing")
    with pytest.raises(DatasetError, match="not a sequence's description"):
        read_sequence_info(folder)
    with pytest.raises(DatasetError, match="no true tracks here"):
        find_sequences(tmp_path / "S-1/gt/img")
