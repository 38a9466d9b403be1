"""Bundles: what goes in comes out, and what is hostile stays out."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from edgecv.bundle import open_bundle
from edgecv.bundle_writer import file_entry, write_bundle
from edgecv.errors import ArchiveError, BundleError, IntegrityError, ManifestError, UsageError
from edgecv.manifest import Golden, HeadSpec, Input, Manifest, Tensor, Variant

WEIGHTS = bytes(range(256)) * 40
MEMBERS = {"models/net.null.json": WEIGHTS, "golden/000.jpg": b"not really a picture"}


def make_manifest(**changes: object) -> Manifest:
    model, image = (file_entry(name, data) for name, data in MEMBERS.items())
    variant = Variant(
        id="null",
        backend="null",
        files=(model,),
        inputs=(Tensor(name="x", shape=(None, 3, 8, 8), dtype="float32"),),
        outputs=(Tensor(name="y", shape=(1, 4), dtype="float32"),),
        layout="NCHW",
    )
    manifest = Manifest(
        name="net",
        task="classify",
        input=Input(size_hw=(8, 8), resize="stretch"),
        head=HeadSpec(name="softmax"),
        variants=(variant,),
        golden=(Golden(image=image, expected={"null": {"classes": []}}),),
    )
    return manifest.replace(**changes)


@pytest.fixture(params=["archive", "folder"])
def bundle_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = "net.edgecv" if request.param == "archive" else "net"
    return write_bundle(tmp_path / name, make_manifest(), MEMBERS)


def test_what_was_written_is_read(bundle_path: Path) -> None:
    with open_bundle(bundle_path) as bundle:
        assert bundle.manifest == make_manifest()
        for entry in bundle.manifest.files():
            assert bytes(bundle.read(entry)) == MEMBERS[entry.path]
        source = bundle.source(bundle.manifest.variants[0])
        assert source.name == "net.null.json"
        assert source.size_bytes == len(WEIGHTS)


@pytest.mark.parametrize("name", ["net.edgecv", "net"])
def test_attached_documents_are_members_like_others(tmp_path: Path, name: str) -> None:
    text = b'{"schema": "edgecv.conversion/1"}'
    entry = file_entry("report/conversion.json", text)
    manifest = make_manifest(attachments={"conversion": entry})
    with pytest.raises(BundleError, match="contents differ from the manifest"):
        write_bundle(tmp_path / name, manifest, MEMBERS)
    path = write_bundle(tmp_path / name, manifest, {**MEMBERS, entry.path: text})
    with open_bundle(path) as bundle:
        assert bundle.manifest == manifest
        found = bundle.attachment("conversion")
        assert found is not None
        assert bytes(found) == text
        assert bundle.attachment("nothing") is None
        del found
    target = path if path.is_file() else path / entry.path
    target.write_bytes(target.read_bytes().replace(b"conversion/1", b"conversion/2"))
    with pytest.raises(IntegrityError, match=r"report/conversion\.json: wrong sha256"):
        open_bundle(path)
    with (
        open_bundle(path, verify=False) as bundle,
        pytest.raises(IntegrityError, match="wrong sha256"),
    ):
        bundle.attachment("conversion")


def test_archive_is_aligned_and_not_extracted(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    data = path.read_bytes()
    assert data.find(WEIGHTS) % 64 == 0
    with open_bundle(path) as bundle:
        view = bundle.source(bundle.manifest.variants[0]).main
        assert isinstance(view, memoryview)
        assert view.readonly
        assert sorted(tmp_path.iterdir()) == [path], "opening must extract nothing"


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    a = write_bundle(tmp_path / "a.edgecv", make_manifest(), MEMBERS)
    b = write_bundle(tmp_path / "b.edgecv", make_manifest(), MEMBERS)
    assert a.read_bytes() == b.read_bytes()


def test_bytes_outlive_close(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    bundle = open_bundle(path)
    data = bundle.read(bundle.manifest.variants[0].files[0])
    source = bundle.source(bundle.manifest.variants[0])
    bundle.close()
    bundle.close()
    assert data == bytes(source.main) == WEIGHTS
    with pytest.raises(ValueError, match="closed"):
        bundle.source(bundle.manifest.variants[0])


def test_an_archive_that_is_written_over_while_it_is_open(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    with open_bundle(path) as bundle:
        variant = bundle.manifest.variants[0]
        before = bundle.source(variant)
        data = bytearray(path.read_bytes())
        data[data.find(WEIGHTS) + 5] ^= 1
        path.write_bytes(data)
        assert bytes(before.main) == WEIGHTS, "what was hashed does not change any more"
        with pytest.raises(IntegrityError, match="wrong sha256"):
            bundle.source(variant)
        with pytest.raises(IntegrityError, match="wrong sha256"):
            bundle.read(variant.files[0])


@pytest.mark.parametrize("left", [0, 100, 5000])
def test_an_archive_that_is_cut_short_while_it_is_open(tmp_path: Path, left: int) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    with open_bundle(path, verify=False) as bundle:
        os.truncate(path, left)
        with pytest.raises(ArchiveError, match=r"net\.null\.json: the archive was cut short"):
            bundle.source(bundle.manifest.variants[0])
        with pytest.raises(ArchiveError, match="cut short while it was open"):
            bundle.verify()


def test_a_medium_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_bundle(path, verify=False) as bundle:
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(ArchiveError, match=r"net\.null\.json: cannot be read: Input/output"):
            bundle.source(bundle.manifest.variants[0])
        with pytest.raises(ArchiveError, match="cannot be read: Input/output error"):
            open_bundle(path)


def test_bytes_come_in_the_pieces_that_the_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    pread = os.pread
    with open_bundle(path, verify=False) as bundle:
        monkeypatch.setattr(os, "pread", lambda file, size, at: pread(file, min(size, 999), at))
        assert bytes(bundle.source(bundle.manifest.variants[0]).main) == WEIGHTS
        bundle.verify()


def test_an_altered_byte_is_found(bundle_path: Path) -> None:
    target = bundle_path if bundle_path.is_file() else bundle_path / "models/net.null.json"
    data = bytearray(target.read_bytes())
    data[data.find(WEIGHTS) + 7] ^= 1
    target.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"net\.null\.json: wrong sha256: expected .*; got"):
        open_bundle(bundle_path)


@pytest.mark.parametrize("member", ["models/net.null.json", "golden/000.jpg"])
def test_folder_with_a_wrong_size_or_a_missing_file(tmp_path: Path, member: str) -> None:
    path = write_bundle(tmp_path / "net", make_manifest(), MEMBERS)
    with (path / member).open("ab") as file:
        file.write(b"!")
    with pytest.raises(IntegrityError, match="wrong size"):
        open_bundle(path)
    (path / member).unlink()
    with pytest.raises(IntegrityError, match="missing file"):
        open_bundle(path)


def _symlink(folder: Path) -> None:
    target = folder / "models/net.null.json"
    shutil.move(target, folder.parent / "elsewhere")
    target.symlink_to(folder.parent / "elsewhere")


def _symlinked_folder(folder: Path) -> None:
    shutil.move(folder / "models", folder.parent / "models")
    (folder / "models").symlink_to(folder.parent / "models")


def _hard_link(folder: Path) -> None:
    os.link(folder / "models/net.null.json", folder.parent / "elsewhere")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _stowaway(folder: Path) -> None:
    (folder / "models/more.bin").write_bytes(b"?")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_symlink, "a symbolic link"),
        (_symlinked_folder, "a symbolic link"),
        (_hard_link, "a hard link"),
        (_fifo, "neither a file nor a folder"),
        (_stowaway, "does not list this file"),
    ],
)
def test_folder_with_a_way_out(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    path = write_bundle(tmp_path / "net", make_manifest(), MEMBERS)
    spoil(path)
    with pytest.raises(BundleError, match=message):
        open_bundle(path)


def write_zip(
    path: Path,
    members: list[tuple[str | zipfile.ZipInfo, bytes]],
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _members(extra: str | zipfile.ZipInfo | None = None) -> list[tuple[object, bytes]]:
    listed: list[tuple[object, bytes]] = [("manifest.json", make_manifest().to_json())]
    listed += list(MEMBERS.items())
    return [*listed, (extra, b"x")] if extra else listed


def _link_info() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("models/link")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("../evil", "without '..'"),
        ("models/../../evil", "without '..'"),
        ("/etc/passwd", "a normalised path inside the bundle"),
        ("models//net", "a normalised path"),
        ("./x", "a normalised path"),
        ("C:\\evil", "control character"),
        ("models\\net", "control character"),
        ("con.txt", "reserve"),
        ("x.", "reserve"),
        ("Golden/000.JPG", "only in case"),
        ("golden/000.jpg", "occurs twice"),
        (_link_info(), "link"),
        ("unlisted.bin", "does not list this file"),
    ],
)
def test_archive_with_a_bad_member(
    tmp_path: Path, extra: str | zipfile.ZipInfo, message: str
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    twice = extra == "golden/000.jpg"
    with pytest.warns(UserWarning, match="Duplicate name") if twice else nullcontext():
        path = write_zip(room / "net.edgecv", _members(extra))
    with pytest.raises(BundleError, match=message):
        open_bundle(path)
    assert list(room.iterdir()) == [path], "nothing may be left behind"
    assert sorted(tmp_path.iterdir()) == [room]


def test_compressed_archive_is_refused_so_there_are_no_bombs(tmp_path: Path) -> None:
    bomb = [*_members(), ("bomb", bytes(50_000_000))]
    path = write_zip(tmp_path / "net.edgecv", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    with pytest.raises(ArchiveError, match=r"a compressed member.*expected stored"):
        open_bundle(path)


def test_declared_size_beyond_the_file(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "net.edgecv", _members())
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    struct.pack_into("<II", data, entry + 20, 10**9, 10**9)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="beyond the end"):
        open_bundle(path)


def test_overlapping_members(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "net.edgecv", _members())
    data = bytearray(path.read_bytes())
    # The last member claims bytes of the one before: its local header is moved into the data.
    first = data.find(b"PK\x01\x02")
    entries = [first]
    while (nxt := data.find(b"PK\x01\x02", entries[-1] + 4)) > 0:
        entries.append(nxt)
    size = struct.unpack_from("<I", data, entries[1] + 20)[0]
    struct.pack_into("<II", data, entries[1] + 20, size + 200, size + 200)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"overlap|beyond the end|disagree"):
        open_bundle(path)


def test_local_header_that_names_another_file(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "net.edgecv", _members())
    data = bytearray(path.read_bytes())
    at = data.find(b"golden/000.jpg", data.find(WEIGHTS))
    data[at : at + 6] = b"golDen"
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="names another file"):
        open_bundle(path)


@pytest.mark.parametrize("data", [b"", b"PK", b"\x00" * 5000, b"{}"])
def test_files_that_are_no_archive(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.edgecv"
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="not a readable archive"):
        open_bundle(path)


def test_archive_without_a_manifest(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "net.edgecv", [("a", b"")])
    with pytest.raises(ArchiveError, match=r"no manifest\.json"):
        open_bundle(path)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        open_bundle(tmp_path / "none.edgecv")


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    whole = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS).read_bytes()
    path = tmp_path / "cut.edgecv"
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(BundleError):
            open_bundle(path)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    other = make_manifest(name="other")
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(target, other, MEMBERS, overwrite=True)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_bundle_is_not_replaced_unasked(tmp_path: Path) -> None:
    target = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(target, make_manifest(), MEMBERS)
    write_bundle(target, make_manifest(name="new"), MEMBERS, overwrite=True)
    with open_bundle(target) as bundle:
        assert bundle.manifest.name == "new"


def test_contents_must_be_what_the_manifest_lists(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="contents differ"):
        write_bundle(tmp_path / "a.edgecv", make_manifest(), {})
    changed = {**MEMBERS, "golden/000.jpg": b"another picture"}
    with pytest.raises(IntegrityError, match="changed while"):
        write_bundle(tmp_path / "a.edgecv", make_manifest(), changed)
    with pytest.raises(ManifestError, match="name"):
        write_bundle(tmp_path / "a.edgecv", make_manifest(name=""), MEMBERS)
    assert list(tmp_path.iterdir()) == []


def test_parent_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot write here"):
        write_bundle(tmp_path / "file" / "net.edgecv", make_manifest(), MEMBERS)


def test_manifest_is_readable_by_people(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "net", make_manifest(), MEMBERS)
    data = json.loads((path / "manifest.json").read_text())
    assert data["schema_version"] == 1
    assert data["variants"][0]["files"][0]["bytes"] == len(WEIGHTS)


def test_bytes_that_no_member_holds(tmp_path: Path) -> None:
    """Nothing before, between or behind the members: what is there was hashed."""
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    good = path.read_bytes()
    first = good.find(b"PK\x01\x02")
    path.write_bytes(good + b"behind")
    with pytest.raises(ArchiveError, match="does not end"):
        open_bundle(path)
    junk = bytearray(good[:first] + b"between" + good[first:])
    end = len(junk) - 22
    struct.pack_into("<I", junk, end + 16, struct.unpack_from("<I", junk, end + 16)[0] + 7)
    path.write_bytes(junk)
    with pytest.raises(ArchiveError, match="bytes between them that no member holds"):
        open_bundle(path)


def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)

    def held() -> bool:
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return str(path) in map(os.readlink, links)

    bundle = open_bundle(path)
    assert held()
    bundle.close()
    assert not held()
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.edgecv")
    with pytest.raises(ArchiveError, match="neither a file nor a folder"):
        open_bundle(tmp_path / "net.edgecv")


def test_a_local_header_that_says_something_else(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "net.edgecv", make_manifest(), MEMBERS)
    data = bytearray(path.read_bytes())
    data[14] ^= 1  # the checksum in the first local header
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="local header and the directory disagree"):
        open_bundle(path)
