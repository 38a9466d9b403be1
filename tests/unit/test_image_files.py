"""Which images a command line means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecv.errors import UsageError
from edgecv.image_files import expand, is_image


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.png", "a.JPG", "c.txt", ".hidden.jpg", "sub/d.webp", "sub/.e/f.png", "[x].bmp"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources: str, **options: bool) -> list[str]:
    return [path.as_posix() for path in expand(sources, **options)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", True), ("a.JPEG", True), ("a.tiff", True), (".a.jpg", False), ("jpg", False),
     ("a.txt", False), ("", False)],
)  # fmt: skip
def test_is_image(name: str, expected: bool) -> None:
    assert is_image(name) is expected


def test_a_folder_means_its_own_images(tree: Path) -> None:
    assert names(".") == ["[x].bmp", "a.JPG", "b.png"]
    assert names(".", recursive=True) == ["[x].bmp", "a.JPG", "b.png", "sub/d.webp"]


def test_globs(tree: Path) -> None:
    assert names("*.png") == ["b.png"]
    assert set(names("**/*")) == {"a.JPG", "b.png", "[x].bmp", "sub/d.webp"}
    assert names(str(tree / "*.png")) == [str(tree / "b.png")]


def test_a_glob_that_hits_only_a_folder_names_no_image(tree: Path) -> None:
    with pytest.raises(UsageError, match="no images here"):
        expand(["*.jpg"])


def test_a_name_with_glob_characters_is_that_file(tree: Path) -> None:
    assert names("[x].bmp") == ["[x].bmp"]


def test_a_named_file_is_taken_whatever_its_name(tree: Path) -> None:
    assert names("c.txt", ".hidden.jpg") == ["c.txt", ".hidden.jpg"]


def test_each_image_once_in_the_order_of_the_sources(tree: Path) -> None:
    assert names("b.png", ".", "./b.png", "a.JPG") == ["b.png", "[x].bmp", "a.JPG"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("nope.png", "nope.png: no such file"), ("no*.png", r"no\*.png: no images"), ("", "source")],
)
def test_what_is_not_there(tree: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expand([source])


def test_an_empty_folder_leads_to_recursive(tree: Path) -> None:
    (tree / "deep" / "er").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        expand(["deep"])
    assert "--recursive" in (caught.value.remedy or "")


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        expand(["x" * 5000])


def test_no_source_is_no_image() -> None:
    assert expand([]) == []


def test_a_folder_that_cannot_be_listed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UsageError, match="sub: cannot be listed: Permission denied"):
        expand(["sub"])
