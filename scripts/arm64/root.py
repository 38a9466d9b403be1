"""An arm64 Python with the runtime's real wheels in a plain folder, and the call that runs it.

Nothing is booted and nothing is mounted: Debian's arm64 packages are unpacked into a folder, pip
puts aarch64 wheels beside them, and qemu-user runs the result. qemu looks into the folder named by
QEMU_LD_PREFIX for each absolute path that a program opens, before it looks at this machine: that is
how programs see the files of a board.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.arm64 import boards

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT = REPOSITORY / "build" / "arm64"
QEMU = "qemu-aarch64"

_PACKAGES = ("libstdc++6", "libgomp1")
_EXTRAS = ("litert", "openvino")
_OLDEST_GLIBC, _BASE_TAG = 17, "manylinux2014_aarch64"
_LAYOUT = 2
"""Raise it when a folder that an older version of this file made must be made anew."""


class SetupError(Exception):
    """What is missing on this machine, and how to get it."""


def requirements() -> list[str]:
    """List what `pyproject.toml` says a board installs: the base and the engines."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(item for name in _EXTRAS for item in extras[name])]


def need_qemu() -> str:
    """Find qemu-aarch64, installing it where this process may.

    Returns:
        Its version, such as ``7.2.22``.

    Raises:
        SetupError: it is missing and cannot be installed from here.
    """
    if shutil.which(QEMU) is None:
        if shutil.which("apt-get") is None:
            raise SetupError(f"{QEMU} is missing and this is no Debian: install qemu-user")
        if os.geteuid() != 0:
            raise SetupError(f"{QEMU} is missing. As root: apt-get install qemu-user")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "-qq", "update"], environment)
        install = ["apt-get", "-qq", "-y", "install", "--no-install-recommends"]
        _run([*install, "qemu-user"], environment)
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+(?:\.\d+)*)", said)
    if found is None:
        raise SetupError(f"{QEMU} --version says {said[:80]!r}")
    return found[1]


def build(folder: Path) -> float | None:
    """Make the folder, or leave one that is as it should be.

    Returns:
        Seconds that it took; None where nothing was to be done.

    Raises:
        SetupError: something is missing on this machine, or a step failed.
    """
    import time

    need_qemu()
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SetupError(f"{tool} is missing: the folder is made of Debian's arm64 packages")
    start = time.monotonic()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        stamp, wanted = folder / "stamp", _wanted()
        if stamp.is_file() and stamp.read_text() == wanted:
            return None
        for part in ("root", "apt", "site", "pycache", "boards", "stamp"):
            path = folder / part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        version = _unpack_debian(folder)
        _install_wheels(folder, version)
        for name, board in boards.BOARDS.items():
            _make_board(folder, name, board)
        stamp.write_text(wanted)
    return time.monotonic() - start


def command(
    folder: Path, board: str, args: Sequence[str], options: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Say how to run the folder's Python as a board.

    Args:
        folder: made by `build`.
        board: a key of `boards.BOARDS`.
        args: of the interpreter.
        options: of qemu, such as a plug-in.

    Returns:
        Argument list and environment of the process.
    """
    folder = folder.resolve()
    python = next((folder / "root" / "usr" / "bin").glob("python3.*[0-9]"))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "QEMU_LD_PREFIX": str(folder / "boards" / board),
        "PYTHONPATH": os.pathsep.join([str(_package(folder)), str(folder / "site")]),
        # Byte code of all that is imported, kept apart from that of this machine's Python.
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
    }
    cpu = boards.BOARDS[board].cpu
    return [QEMU, "-cpu", cpu, *options, str(python), *args], environment


def _package(folder: Path) -> Path:
    """Join the three folders of the package by links, as setuptools does when it is installed."""
    package = folder / "package"
    with _alone(folder):
        shutil.rmtree(package, ignore_errors=True) if _stale(package) else None
        home = package / "edgecv"
        home.mkdir(parents=True, exist_ok=True)
        for link, source in _links(home):
            if not link.is_symlink():
                link.symlink_to(source)
    return package


def _links(home: Path) -> Iterator[tuple[Path, Path]]:
    for source in (REPOSITORY / "edgecv").iterdir():
        if source.name != "__pycache__":
            yield home / source.name, source
    for name in ("converters", "targets"):
        yield home / name, REPOSITORY / name


def _stale(package: Path) -> bool:
    links = dict(_links(package / "edgecv"))
    present = list((package / "edgecv").iterdir()) if package.is_dir() else []
    return any(links.get(path) != path.readlink() for path in present)


def _wanted() -> str:
    """Describe what a folder is made of; another description means that it is out of date."""
    sources = sorted(Path("/etc/apt").glob("sources.list*")) + sorted(
        Path("/etc/apt/sources.list.d").glob("*")
    )
    facts = {
        "layout": _LAYOUT,
        "requirements": requirements(),
        "packages": _PACKAGES,
        "boards": repr(boards.BOARDS),
        "sources": [path.read_text() for path in sources if path.is_file()],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest() + "\n"


def _unpack_debian(folder: Path) -> str:
    """Unpack Python and the libraries of the wheels; return Python's version, such as ``3.11``.

    apt gets a state of its own, so this machine's packages and lists stay as they are and no
    right of root is needed; sources and keys are this machine's.
    """
    state = folder / "apt"
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    config = state / "apt.conf"
    config.write_text(
        'APT::Architecture "arm64"; APT::Architectures { "arm64"; };\n'
        'APT::Install-Recommends "false"; APT::Sandbox::User ""; Acquire::Languages "none";\n'
        f'Dir::State "{state}"; Dir::State::lists "{state}/lists";\n'
        f'Dir::State::status "{state}/status"; Dir::Cache "{state}";\n'
        f'Dir::Cache::archives "{state}/archives";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
    _run(["apt-get", "-qq", "update"], environment)
    depends = _run(["apt-cache", "depends", "python3"], environment)
    found = re.search(r"Depends: python(3\.\d+)$", depends, re.MULTILINE)
    if found is None:
        raise SetupError("this machine's apt sources have no Python for arm64: they must be Debian")
    wanted = [f"python{found[1]}", f"libpython{found[1]}-stdlib", *_PACKAGES]
    _run(["apt-get", "-qq", "-y", "install", "--download-only", *wanted], environment)
    for package in sorted((state / "archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(folder / "root")])
    shutil.rmtree(state)
    return found[1]


def _install_wheels(folder: Path, version: str) -> None:
    libc = next((folder / "root").glob("**/libc.so.6")).read_bytes()
    found = re.search(rb"GNU C Library [^\n]*version 2\.(\d+)", libc)
    newest = int(found[1]) if found else _OLDEST_GLIBC
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(newest, _OLDEST_GLIBC - 1, -1)]
    platforms = [word for tag in (*tags, _BASE_TAG) for word in ("--platform", tag)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pip += ["--no-compile", "--only-binary=:all:", "--python-version", version]
    _run([*pip, "--target", str(folder / "site"), *platforms, *requirements()])


def _make_board(folder: Path, name: str, board: boards.Board) -> None:
    """Make a root that shares the unpacked packages and has a board's own files beside them."""
    home = folder / "boards" / name
    home.mkdir(parents=True)
    for source in sorted((folder / "root").iterdir()):
        (home / source.name).symlink_to(os.path.relpath(source, home))
    for path, content in boards.files(board).items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(args: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(args, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise SetupError(f"{' '.join(args[:4])} ... ended with {done.returncode}:\n{said}")
    return done.stdout
