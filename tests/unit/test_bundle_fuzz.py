"""Seeded mutations of archives: an error of ours or the very same contents, and nothing else."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

from edgecv.bundle import open_bundle
from edgecv.bundle_writer import write_bundle
from edgecv.errors import BundleError
from tests.unit.test_bundle import MEMBERS, make_manifest


def mutate(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"])
            case 2:
                del changed[at : at + rng.randint(1, 300)]
            case 3:
                changed[at:at] = changed[rng.randrange(len(changed)) :][: rng.randint(1, 300)]
            case 4:
                del changed[at:]
            case _:
                changed += rng.randbytes(rng.randint(1, 100))
        if not changed:
            break
    return bytes(changed)


def targeted(data: bytes, rng: random.Random) -> bytes:
    """Change a byte of the headers and directories, where the structure is."""
    signatures = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    places = [at for s in signatures for at in range(len(data)) if data.startswith(s, at)]
    changed = bytearray(data)
    at = rng.choice(places) + rng.randrange(60)
    if at < len(changed):
        changed[at] = rng.randrange(256)
    return bytes(changed)


def test_mutated_archives(tmp_path: Path) -> None:
    good = write_bundle(tmp_path / "good.edgecv", make_manifest(), MEMBERS).read_bytes()
    room = tmp_path / "room"
    room.mkdir()
    path = room / "net.edgecv"
    rng = random.Random(11)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = opened = 0
    for i in range(1500):
        path.write_bytes((mutate if i % 2 else targeted)(good, rng))
        try:
            with open_bundle(path) as bundle:
                found = {e.path: bytes(bundle.read(e)) for e in bundle.manifest.files()}
        except BundleError:
            refused += 1
        else:
            # A changed byte that carries no meaning (a date, padding, a word of the manifest).
            assert found == MEMBERS
            opened += 1
        assert list(room.iterdir()) == [path]
    assert refused > 900
    assert opened > 40
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 50, "no header may make it allocate what the file does not hold"


def test_a_huge_sparse_archive_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "net.edgecv"
    with path.open("wb") as file:
        file.truncate(2**33)
    code = (
        "import sys; from pathlib import Path; from edgecv.bundle import open_bundle\n"
        "from edgecv.errors import BundleError\n"
        "try: open_bundle(sys.argv[1])\n"
        "except BundleError: pass\n"
        "else: sys.exit('it was opened')\n"
        "status = Path('/proc/self/status').read_text()\n"
        "peak = next(int(l.split()[1]) for l in status.splitlines() if l.startswith('VmHWM'))\n"
        "assert peak < 300 * 1024, peak\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
