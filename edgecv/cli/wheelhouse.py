"""Fill a folder with the wheels of a target, and say how to install them there without a network.

This is what `edgecv bundle-wheels` does when its user asks for it; the library never downloads.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from edgecv.errors import DependencyMissingError, EdgecvError, UsageError
from edgecv.targets.target import System, Target
from edgecv.targets.wheels import Wheel, platform_tags

WHEELS, LISTING, REQUIREMENTS, INSTALL = "wheels", "wheels.json", "requirements.txt", "install.sh"

_SCRIPT = """\
#!/bin/sh
# Installs edgecv's wheels for {title} into a virtual environment, without a network.
#     sh install.sh [FOLDER]      PYTHON=python3.11 sh install.sh takes another Python
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
python=${{PYTHON:-python3}}
venv=${{1:-edgecv-venv}}
found=$("$python" -c 'import platform, sys
print("%d.%d" % sys.version_info[:2], platform.machine())')
if [ "$found" != "{python} {architecture}" ]; then
    echo "these wheels are for Python {python} on {architecture}, and $python is $found" >&2
    exit 1
fi
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --no-index --no-deps --require-hashes --no-compile \\
    --find-links "$here/{wheels}" -r "$here/{requirements}"
echo "installed in $venv"
"""


def requirements(extras: Sequence[str]) -> list[str]:
    """List what edgecv and some of its extras need, as it is written in its metadata.

    Raises:
        UsageError: edgecv has no such extra.
    """
    known = metadata.metadata("edgecv").get_all("Provides-Extra") or []
    for extra in extras:
        if extra not in known:
            raise UsageError(
                "edgecv has no such extra",
                where="--extra",
                expected=f"one of {', '.join(known)}",
                got=repr(extra),
            )
    found = []
    for line in metadata.requires("edgecv") or ():
        requirement, _, marker = line.partition(";")
        told = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if told is None or told[1] in extras:
            found.append(requirement.strip())
    return found


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UsageError: it does, or it is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("exists already, and is not an empty folder", where=str(folder))


def download(
    folder: Path, target: Target, system: System, wanted: Sequence[str], source: Path | None
) -> None:
    """Let pip collect wheels and what they need.

    Args:
        folder: for the wheels.
        target: that they are for.
        system: one of the target's.
        wanted: requirements.
        source: a folder of wheels to take them from; None asks pip's own index.

    Raises:
        DependencyMissingError: there is no pip in this environment.
        EdgecvError: pip failed; the error holds its last lines.
    """
    tags = platform_tags(target.cpu.architecture, system)
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", system.python,
        "--dest", str(folder), *(word for tag in tags for word in ("--platform", tag)),
    ]  # fmt: skip
    if source is not None:
        command += ["--no-index", "--find-links", str(source)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        raise DependencyMissingError(
            "pip is not in this environment",
            where=sys.executable,
            remedy="python -m ensurepip",
        )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise EdgecvError(
            "pip cannot collect the wheels",
            where=f"{target.name}, {system.os}",
            got="; ".join(errors[-3:]) or done.stderr.strip()[-500:],
        )


def write(folder: Path, target: Target, system: System, wheel: Path | None) -> dict[str, Any]:
    """Write the listing, the requirements with hashes, and the script beside the wheels.

    Args:
        folder: that holds ``wheels``.
        target: that they are for.
        system: one of the target's.
        wheel: edgecv's own, which is copied; None leaves it out.

    Returns:
        The listing.
    """
    if wheel is not None:
        shutil.copy(wheel, folder / WHEELS)
    files: list[dict[str, Any]] = []
    for path in sorted((folder / WHEELS).glob("*.whl")):
        data = path.read_bytes()
        files.append(
            {
                "file": path.name,
                "project": Wheel(file=path.name, bytes=len(data)).project,
                "version": path.name.split("-")[1],
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    listing = {
        "target": target.name,
        "system": system.to_dict(),
        "bytes": sum(item["bytes"] for item in files),
        "wheels": files,
    }
    (folder / LISTING).write_text(json.dumps(listing, indent=2) + "\n")
    (folder / REQUIREMENTS).write_text(
        "".join(f"{w['project']}=={w['version']} --hash=sha256:{w['sha256']}\n" for w in files)
    )
    script = _SCRIPT.format(
        title=f"{target.title}, {system.os}",
        python=system.python,
        architecture=target.cpu.architecture,
        wheels=WHEELS,
        requirements=REQUIREMENTS,
    )
    (folder / INSTALL).write_text(script)
    (folder / INSTALL).chmod(0o755)
    return listing
