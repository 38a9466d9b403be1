"""Statements about a model: who wins, and what is left."""

from __future__ import annotations

from edgecv.hints import Hints


def test_the_first_one_wins_and_the_other_completes() -> None:
    said = Hints(origin="option", color="bgr", pad_value=0).over(
        Hints(origin="file", color="rgb", task="detect", pad_value=114)
    )
    assert said.origin == "option"
    assert (said.color, said.task, said.pad_value) == ("bgr", "detect", 0)


def test_nothing_said_is_nothing_given() -> None:
    assert Hints(origin="option").given() == {}
    assert Hints(origin="option", pad_value=0).given() == {"pad_value": 0}
    assert Hints(color="rgb").over(None) == Hints(color="rgb")


def test_head_options_are_merged_for_the_same_head() -> None:
    file = Hints(head="yolo", head_options={"normalized": True, "iou": 0.5})
    for head in (None, "yolo"):
        said = Hints(head=head, head_options={"iou": 0.7}).over(file)
        assert said.head == "yolo"
        assert said.head_options == {"normalized": True, "iou": 0.7}


def test_options_of_another_head_mean_nothing() -> None:
    file = Hints(head="yolo", head_options={"normalized": True})
    assert Hints(head="yolov5").over(file).head_options is None
    said = Hints(head="yolov5", head_options={"iou": 0.7}).over(file)
    assert said.head_options == {"iou": 0.7}


def test_empty_options_leave_those_of_the_file() -> None:
    file = Hints(head="yolo", head_options={"normalized": True})
    assert Hints(head_options={}).over(file).head_options == {"normalized": True}
