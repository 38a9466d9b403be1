"""A connection to another machine, and the agent that answers at its other end."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.bench.remote import agent
from edgecv.bench.remote.address import Address
from edgecv.bench.remote.items import Item
from edgecv.bench.saved import MAX_BYTES
from edgecv.errors import DependencyMissingError, RemoteError

CONNECT_S = 20.0
"""For name, connection, keys and login together."""
ANSWER_S = 120.0
"""For an answer; a small board takes long to import OpenCV for the first time."""
ALIVE_S = 10.0
"""Between signs of life; after three that are not answered the connection counts as lost."""
OLDEST = (3, 11)
_BLOCK = 1 << 18


def require() -> Any:
    """Return asyncssh.

    Raises:
        DependencyMissingError: it is not installed.
    """
    try:
        import asyncssh
    except ImportError:
        raise DependencyMissingError(
            "asyncssh is not installed", where="--host", remedy="pip install 'edgecv[remote]'"
        ) from None
    return asyncssh


@asynccontextmanager
async def connect(address: Address, python: str = "python3") -> AsyncIterator[Link]:
    """Connect, and check the Python there.

    Keys, agent and ``~/.ssh/config`` are used as asyncssh uses them. The host's key must be in
    ``known_hosts``. No password is asked for.

    Args:
        address: of the machine.
        python: name or path of its Python.

    Raises:
        DependencyMissingError: asyncssh is not installed.
        RemoteError: the machine cannot be reached, is not known, refuses, or has no such Python.
    """
    asyncssh = require()
    given = {
        name: value
        for name, value in (("port", address.port), ("username", address.user))
        if value is not None
    }
    with _explained(address):
        async with asyncio.timeout(CONNECT_S):
            connection = await asyncssh.connect(
                address.host, keepalive_interval=ALIVE_S, keepalive_count_max=3, **given
            )
    try:
        link = Link(address, connection, python)
        await link.check_python()
        yield link
    finally:
        connection.close()
        with suppress(Exception):  # it is over, however it ends
            async with asyncio.timeout(agent.GRACE_S):
                await connection.wait_closed()


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn whatever can go wrong while connecting into what the user can do about it."""
    asyncssh = require()
    where = address.text
    name = address.host if address.user is None else f"{address.user}@{address.host}"
    port = "" if address.port is None else f"-p {address.port} "
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise RemoteError(
            "its key is not the one in known_hosts, or there is none",
            where=where,
            got=str(error.reason),
            remedy=f"`ssh {port}{name}` shows its fingerprint; compare it with the one that the "
            "machine itself shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then say yes",
        ) from None
    except asyncssh.PermissionDenied as error:
        raise RemoteError(
            "it refuses to let us in",
            where=where,
            got=str(error.reason),
            remedy=f"`ssh-copy-id {port}{name}` puts your key there, and `ssh-add` unlocks one "
            "with a passphrase; no password is asked for",
        ) from None
    except TimeoutError:
        raise RemoteError(
            f"no answer within {CONNECT_S:g} s",
            where=where,
            remedy="is it on, on this network, and is this its address?",
        ) from None
    except OSError as error:
        raise RemoteError(
            "it cannot be reached",
            where=where,
            got=error.strerror or str(error),
            remedy="is it on, is this its address, does sshd listen on this port there?",
        ) from None
    except (asyncssh.Error, ValueError) as error:
        # Keys and configuration files that cannot be read are ValueErrors.
        raise RemoteError(
            "no connection came about",
            where=where,
            got=str(error),
            remedy=f"`ssh -v {port}{name}` tells more",
        ) from None


@dataclass(frozen=True, slots=True)
class Link:
    """A machine that we are connected to.

    Attributes:
        address: of it.
        connection: asyncssh's.
        python: name or path of its Python.
    """

    address: Address
    connection: Any
    python: str

    async def check_python(self) -> None:
        """Check that there is a Python that can run edgecv.

        Raises:
            RemoteError: there is none.
        """
        # Older ones do not know -P, nor the agent's syntax.
        code = f"import sys; sys.stdout.write({agent.MARK!r} + '%d.%d' % sys.version_info[:2])"
        status, out, err = await self._finish(f"{shlex.quote(self.python)} -c {shlex.quote(code)}")
        remedy = "name one with --remote-python, such as that of a virtual environment there"
        _, _, said = out.partition(agent.MARK)
        if status != 0 or not said:
            raise RemoteError(
                "no Python answers there",
                where=f"{self.address.text}: {self.python}",
                got=_last(err) or f"exit status {status}",
                remedy=remedy,
            )
        if tuple(int(part) for part in said.split(".")) < OLDEST:
            raise RemoteError(
                "",
                where=f"{self.address.text}: {self.python}",
                expected="Python {}.{} or newer".format(*OLDEST),
                got=said,
                remedy=remedy,
            )

    async def ask(self, *words: str) -> dict[str, Any]:
        """Ask the agent; return its answer.

        Raises:
            RemoteError: it fails, or the connection does.
        """
        return self._answer(*await self._finish(self._agent(*words)))

    async def send(self, item: Item, tell: Callable[[str], None]) -> None:
        """Send an archive; it is checked there.

        Args:
            item: the archive.
            tell: told how far it is.

        Raises:
            RemoteError: it did not arrive as it was sent; the error says how far it came.
        """
        sent = 0
        with self._connected(lambda: f"{item.title}: {_mb(sent)} of {_mb(item.size)} were sent"):
            command = self._agent("put", item.sha256, str(item.size))
            async with self.process(command) as process:
                with suppress(BrokenPipeError), item.path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        tell(f"sending {item.title}: {_mb(sent)} of {_mb(item.size)}")
                        process.stdin.write(block)
                        await process.stdin.drain()
                        sent += len(block)
                    process.stdin.write_eof()
                async with asyncio.timeout(ANSWER_S):
                    done = await process.wait()
        self._answer(done.exit_status, _text(done.stdout), _text(done.stderr))

    async def run(
        self, code: Item, words: list[str], tell: Callable[[str], None], silence_s: float
    ) -> tuple[int, str]:
        """Run edgecv there. When this is cancelled, what runs there is ended.

        Args:
            code: edgecv's archive.
            words: arguments of the command line.
            tell: told each line of standard error.
            silence_s: without a line for so long, it counts as hung.

        Returns:
            Exit status and standard output.

        Raises:
            RemoteError: the connection broke, or it hung; the error says how far it came.
        """
        last = "nothing was heard yet"

        def hear(line: str) -> None:
            nonlocal last
            last = line
            tell(line)

        with self._connected(lambda: last):
            async with self.process(self._agent("run", code.sha256, *words)) as process:
                pulse = asyncio.create_task(_beat(process))
                try:
                    out, _ = await asyncio.gather(
                        _read(process.stdout), _follow(process.stderr, hear, silence_s)
                    )
                    async with asyncio.timeout(ANSWER_S):
                        done = await process.wait()
                finally:
                    pulse.cancel()
        if done.exit_status is None:
            raise self._lost(last, None)
        return done.exit_status, out.partition(agent.MARK)[2]

    def _agent(self, *words: str) -> str:
        source = Path(agent.__file__).read_text(encoding="utf-8")
        return shlex.join([self.python, "-P", "-c", source, *words])

    @asynccontextmanager
    async def process(self, command: str) -> AsyncIterator[Any]:
        """Start a command; at the end of its standard input, and of this context, it ends."""
        process = await self.connection.create_process(command, encoding=None)
        try:
            yield process
        finally:
            if process.exit_status is None:
                with suppress(Exception):  # nothing can be said any more to who does not listen
                    process.stdin.write_eof()
                    async with asyncio.timeout(3 * agent.GRACE_S):
                        await process.wait()
            process.close()

    async def _finish(self, command: str) -> tuple[int | None, str, str]:
        with self._connected(lambda: "asking what is there"):
            done = await self.connection.run(command, encoding=None, input=b"", timeout=ANSWER_S)
        return done.exit_status, _text(done.stdout), _text(done.stderr)

    def _answer(self, status: int | None, out: str, err: str) -> dict[str, Any]:
        _, _, said = out.partition(agent.MARK)
        try:
            answer = json.loads(said)
        except ValueError:
            answer = {"error": "no answer came", "got": _last(err) or f"exit status {status}"}
        if not isinstance(answer, dict) or "error" in answer:
            facts = answer if isinstance(answer, dict) else {"error": "no answer came"}
            raise RemoteError(
                str(facts["error"]),
                where=self.address.text,
                expected=facts.get("expected"),
                got=facts.get("got"),
            )
        return answer

    @contextmanager
    def _connected(self, how_far: Callable[[], str]) -> Iterator[None]:
        """Say of a connection that breaks, or falls silent, how far it got."""
        asyncssh = require()
        try:
            yield
        except (asyncssh.Error, OSError, EOFError) as error:  # timeouts are OSErrors
            raise self._lost(how_far(), error) from None

    def _lost(self, how_far: str, error: Exception | None) -> RemoteError:
        silent = isinstance(error, TimeoutError)
        return RemoteError(
            "it fell silent" if silent else "the connection was lost",
            where=self.address.text,
            got=f"the last: {how_far}" + (f" ({error})" if str(error or "") else ""),
            remedy="what ran there is ended; try again",
        )


async def _beat(process: Any) -> None:
    """Say that we are there: without it, what runs is ended after `agent.SILENCE_S`."""
    with suppress(OSError):
        while True:
            process.stdin.write(b"\n")
            await asyncio.sleep(ALIVE_S)


async def _read(stream: Any) -> str:
    blocks, size = [], 0
    while block := await stream.read(_BLOCK):
        size += len(block)
        if size > MAX_BYTES:
            raise RemoteError(f"its report is larger than {MAX_BYTES >> 20} MiB")
        blocks.append(block)
    return _text(b"".join(blocks))


async def _follow(stream: Any, hear: Callable[[str], None], silence_s: float) -> None:
    rest = b""
    while True:
        async with asyncio.timeout(silence_s):
            block = await stream.read(_BLOCK)
        *lines, rest = (rest + block).split(b"\n")
        if not block or len(rest) > _BLOCK:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if line.strip():
                hear(_text(line).rstrip())
        if not block:
            return


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
