"""Images that two sets share: found whatever was done to them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv.converters.near_duplicates import Overlap, check_disjoint, overlaps
from edgecv.errors import ConversionError
from edgecv.types import Array

ROOT = Path(__file__).parents[2]
CALIB = sorted((ROOT / "examples/digits/calib/images").glob("*.jpg"))
VAL = sorted((ROOT / "examples/digits/val/images").glob("*.jpg"))

Change = Callable[[Array], Array]


def scene(seed: int, hw: tuple[int, int] = (180, 240)) -> Array:
    """Draw a picture with large and small shapes on a smooth ground."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    image = cv2.resize(small, hw[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre = (int(random.integers(hw[1])), int(random.integers(hw[0])))
        color = [int(v) for v in random.integers(0, 256, 3)]
        cv2.circle(image, centre, int(random.integers(4, 40)), color, -1)
    return np.asarray(image)


def write(path: Path, image: Array, quality: int = 95) -> Path:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), image, options)
    return path


def crop(share: float) -> Change:
    def cut(image: Array) -> Array:
        height, width = image.shape[:2]
        y, x = round(height * share), round(width * share)
        return image[y : height - y // 2, x // 2 : width - x]

    return cut


def scale(factor: float) -> Change:
    return lambda image: cv2.resize(image, None, fx=factor, fy=factor)


COPIES: dict[str, tuple[Change, int]] = {
    "recompressed": (lambda image: image, 30),
    "half the size": (scale(0.5), 75),
    "twice the size": (scale(2.0), 75),
    "stretched": (lambda image: cv2.resize(image, (200, 200)), 75),
    "cropped by 2 %": (crop(0.02), 75),
    "cropped by 3 % and scaled": (lambda image: scale(0.7)(crop(0.03)(image)), 60),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_are_found_and_only_they(tmp_path: Path, name: str, mirrored: bool) -> None:
    change, quality = COPIES[name]
    sources = VAL[:24]
    copies = []
    for i, path in enumerate(sources):
        image = change(cv2.imread(str(path)))
        image = image[:, ::-1] if mirrored else image
        copies.append(write(tmp_path / f"{i:03}.jpg", image, quality))
    found = overlaps(copies, VAL)
    kind = "mirrored copy" if mirrored else "near copy"
    assert found == [Overlap(a, b, kind) for a, b in zip(copies, sources, strict=True)]


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_drawn_scenes(tmp_path: Path, name: str) -> None:
    change, quality = COPIES[name]
    sources = [write(tmp_path / f"s{i}.png", scene(i)) for i in range(12)]
    copies = [write(tmp_path / f"c{i}.jpg", change(scene(i)), quality) for i in range(len(sources))]
    pairs = [(item.first, item.second) for item in overlaps(sources, copies)]
    assert pairs == list(zip(sources, copies, strict=True))


def test_the_same_file_and_the_same_pixels(tmp_path: Path) -> None:
    original = write(tmp_path / "a.png", scene(1))
    twin = tmp_path / "b.png"
    twin.write_bytes(original.read_bytes())
    other = write(tmp_path / "c.bmp", scene(1))
    found = overlaps([original], [twin, other])
    assert found == [Overlap(original, twin, "same file"), Overlap(original, other, "same pixels")]
    assert str(found[0]) == f"{original} and {twin} (same file)"


def test_pictures_of_the_example_do_not_overlap() -> None:
    assert len(CALIB) == 48
    assert overlaps(CALIB, VAL) == []
    check_disjoint(CALIB, VAL)


def test_empty_pictures_of_one_lens_are_no_copies_of_each_other(tmp_path: Path) -> None:
    """Sheets of paper, night, fog: what they share is the lens, which is darker at the corners."""
    x, y = np.meshgrid(np.linspace(-1, 1, 160), np.linspace(-1, 1, 120))
    random = np.random.default_rng(0)
    empty = []
    for i in range(6):
        grey = 200 - 4 * (x**2 + y**2) + random.normal(0, 1, x.shape)
        empty.append(write(tmp_path / f"{i}.png", np.repeat(grey[..., None], 3, 2).round()))
    assert overlaps(empty[:3], empty[3:]) == []
    found = overlaps(empty, empty)
    assert [(item.first, item.kind) for item in found] == [(path, "same file") for path in empty]


def test_faint_pictures_with_one_light_are_told_apart(tmp_path: Path) -> None:
    """All grey values are close, and the thumbnails of 8x8 alike; the small things differ."""
    ramp = np.tile(np.linspace(96, 112, 256), (256, 1))
    files = []
    for i in range(4):
        spots = np.random.default_rng(i).normal(0, 5, (64, 64))
        grey = ramp + cv2.resize(spots, (256, 256), interpolation=cv2.INTER_NEAREST)
        files.append(write(tmp_path / f"{i}.png", np.repeat(grey[..., None], 3, 2).round()))
    assert [o for o in overlaps(files, files) if o.first != o.second] == []


def test_smooth_and_noisy_images_are_told_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (50, 70, 3), np.uint8) for _ in range(8)]
    ramps = [
        np.tile(np.linspace(40 * i, 255 - 10 * i, 90)[:, None, None], (1, 60, 3)).astype(np.uint8)
        for i in range(4)
    ]
    files = [write(tmp_path / f"{i}.png", image) for i, image in enumerate([*noise, *ramps])]
    found = [item for item in overlaps(files, files) if item.first != item.second]
    assert found == []


def test_frames_of_a_standing_camera_differ_by_what_moved(tmp_path: Path) -> None:
    frames = []
    for i in range(5):
        image = scene(7)
        cv2.rectangle(image, (40 * i, 60), (40 * i + 35, 130), (255, 255, 255), -1)
        frames.append(write(tmp_path / f"{i}.jpg", image))
    assert [o for o in overlaps(frames, frames) if o.first != o.second] == []
    same = write(tmp_path / "next.jpg", cv2.imread(str(frames[2])), 80)
    assert [o.first for o in overlaps(frames, [same])] == [frames[2]]


def test_what_is_no_image_is_compared_by_its_bytes(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jpg", tmp_path / "b.jpg"
    a.write_bytes(b"not a picture")
    b.write_bytes(b"not a picture")
    gone = tmp_path / "gone.jpg"
    assert overlaps([a, gone], [b, gone]) == [Overlap(a, b, "same file")]
    assert overlaps([], [a]) == overlaps([a], []) == []


def test_an_overlap_is_an_error_that_names_it(tmp_path: Path) -> None:
    copies = [
        write(tmp_path / f"{i}.jpg", cv2.imread(str(path)), 70) for i, path in enumerate(VAL[:7])
    ]
    with pytest.raises(ConversionError, match="overlap") as caught:
        check_disjoint([*CALIB[:5], *copies], VAL)
    text = str(caught.value.got)
    assert text.startswith("7 pair(s): ")
    assert text.endswith("and 2 more")
    assert text.count("(near copy)") == 5
    assert f"{copies[0]} and {VAL[0]}" in text
    assert "take them out of one of the two" in str(caught.value.remedy)
    with pytest.raises(ConversionError) as single:
        check_disjoint(copies[:1], VAL)
    assert "more" not in str(single.value.got)
