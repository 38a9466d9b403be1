"""A real OpenSSH server on this machine, and homes for both of its ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def require() -> None:
    """Skip where there is no server; where CI asks for it by name, fail."""
    if SSHD is not None and shutil.which("ssh-keygen"):
        return
    if os.environ.get("EDGECV_SSHD") == "required":
        pytest.fail("no OpenSSH server here, and EDGECV_SSHD=required")
    pytest.skip("no OpenSSH server here: apt-get install openssh-server")


def keygen(path: Path) -> Path:
    """Make a key pair."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@dataclass
class Server:
    """A server that listens; `home` is the home of who logs in."""

    process: subprocess.Popen[bytes]
    port: int
    host_key: Path
    home: Path

    @property
    def address(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    def trust(self, client: Path) -> None:
        """Write the server's key into a client's known_hosts."""
        key = self.host_key.with_suffix(".pub").read_text().split()
        with (client / ".ssh/known_hosts").open("a") as file:
            file.write(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def client_home(folder: Path) -> Path:
    """Make a home with a key and an empty known_hosts."""
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    keygen(folder / ".ssh/id_ed25519")
    (folder / ".ssh/known_hosts").touch()
    return folder


def start(folder: Path, client: Path) -> Server:
    """Start a server that lets a client in."""
    require()
    home = folder / "home"
    home.mkdir(parents=True)
    key = keygen(folder / "host_key")
    shutil.copy(client / ".ssh/id_ed25519.pub", folder / "authorized_keys")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPermitRootLogin yes\nPidFile none\n"
        f"PasswordAuthentication no\nSetEnv HOME={home} XDG_CACHE_HOME={home / '.cache'}\n"
    )
    assert SSHD is not None
    log = (folder / "sshd.log").open("wb")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Server(process, port, key, home)
        assert process.poll() is None, (folder / "sshd.log").read_text()
        time.sleep(0.05)
    raise AssertionError((folder / "sshd.log").read_text())


PYTHON = sys.executable
