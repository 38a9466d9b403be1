"""Benchmarks over SSH, against a real OpenSSH server on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecv import targets
from edgecv.bench.fleet import read_fleet
from edgecv.bench.remote import items
from edgecv.bench.remote.address import Address
from edgecv.bench.remote.job import Done, Job, measure_on
from edgecv.bench.saved import read
from edgecv.errors import RemoteError, UsageError
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models, ssh_server
from tests.models import Ran, command
from tests.ssh_server import PYTHON, Server

QUICK = ("--duration", "0.1", "--warmup", "0", "--cold-starts", "1", "--processes", "1")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ssh_server.require()
    return ssh_server.client_home(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, client: Path) -> Iterator[Server]:
    made = ssh_server.start(tmp_path_factory.mktemp("server"), client)
    made.trust(client)
    yield made
    made.stop()


@pytest.fixture
def at_home(client: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(client))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("a folder's")
    source = models.null_detector(made / "one.null.json")
    golden = [models.write_image(made / "a.png", 1)]
    pack([source], made / "my model.edgecv", hints=Hints(head="end2end"), golden=golden,
         trusted=True)  # fmt: skip
    return made


def bench(*args: object) -> Ran:
    return command("bench", *args, *QUICK, "--remote-python", PYTHON)


def job(folder: Path, *more: str) -> Job:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    import edgecv

    parts = {
        "edgecv": Path(edgecv.__file__).parent,
        "edgecv/targets": Path(targets.__file__).parent,
    }
    model = items.model(folder / "my model.edgecv", scratch)
    words = ["bench", model, *QUICK, *more, "--json", "-", "--progress-lines"]
    return Job(items.code(parts, scratch), words, 0.1)


def run(server: Server, job: Job, heard: list[str]) -> Done:
    return asyncio.run(measure_on(Address.parse(server.address), job, PYTHON, heard.append))


def test_it_runs_there_and_a_second_time_nothing_is_sent(
    server: Server, at_home: Path, folder: Path
) -> None:
    heard: list[str] = []
    first = run(server, job(folder), heard)
    assert first.sent == ("my model.edgecv", "edgecv")
    assert first.sent_bytes > 100_000
    assert first.report.model.name == "my model.edgecv"
    assert [r.variant for r in first.report.results] == ["null-fp32"]
    assert first.report.failures == ()
    assert any("progress: 1 of 1: single, null-fp32" in line for line in heard)
    second = run(server, job(folder), heard)
    assert (second.sent, second.sent_bytes) == ((), 0)
    there = sorted(path.name for path in (server.home / ".cache/edgecv/remote").iterdir())
    assert all(len(name) == 64 for name in there), there  # no half of anything


def test_the_command_shows_it_as_if_it_had_run_here(
    server: Server, at_home: Path, folder: Path, tmp_path: Path
) -> None:
    saved, labels = tmp_path / "saved.json", tmp_path / "names of classes.txt"
    labels.write_text("one\ntwo\n")
    ran = bench(
        folder / "one.null.json", "--head", "end2end", "--labels", labels, "--trusted",
        "--data", folder, "--threads", "1,2", "--host", server.address, "--json", saved,
        "--markdown", tmp_path / "r.md",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    report = read(saved)
    assert [(r.backend, r.threads, r.images) for r in report.results] == [
        ("null", 1, 1), ("null", 2, 1),
    ]  # fmt: skip
    assert "cold start ms" in ran.out
    assert "null" in (tmp_path / "r.md").read_text()


def test_what_fails_there_is_told_with_its_remedy(
    server: Server, at_home: Path, folder: Path
) -> None:
    ran = bench(folder / "my model.edgecv", "--variant", "nope", "--host", server.address)
    assert ran.status == 1
    assert f"{server.address}: exit status 2: " in ran.err
    assert "no such variant" in ran.err


def test_one_that_is_down_does_not_stop_the_other(
    server: Server, at_home: Path, folder: Path, tmp_path: Path
) -> None:
    down, saved = ssh_server.start(tmp_path / "down", at_home), tmp_path / "fleet.json"
    down.stop()
    hosts = ("--host", server.address, "--host", down.address)
    ran = bench(folder / "my model.edgecv", *hosts, "--json", saved)
    assert ran.status == 1
    fleet = read_fleet(saved.read_bytes(), "fleet.json")
    assert list(fleet.hosts) == [server.address, down.address]
    report, error = fleet.hosts[server.address].report, fleet.hosts[down.address].error
    assert report is not None
    assert len(report.results) == 1
    assert error is not None
    assert "it cannot be reached" in error
    assert "failed: " in ran.out


def test_a_host_that_is_not_known_is_refused(at_home: Path, folder: Path, tmp_path: Path) -> None:
    stranger = ssh_server.start(tmp_path / "stranger", at_home)
    try:
        with pytest.raises(RemoteError, match="known_hosts") as caught:
            run(stranger, job(folder), [])
    finally:
        stranger.stop()
    assert "fingerprint" in str(caught.value)
    assert not list(stranger.home.iterdir())


def test_a_key_that_is_not_let_in(
    server: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ssh_server.client_home(tmp_path / "other")
    server.trust(other)
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(RemoteError, match="refuses to let us in") as caught:
        run(server, job(folder), [])
    assert "ssh-copy-id" in str(caught.value)


def test_a_python_that_is_not_there(server: Server, at_home: Path, folder: Path) -> None:
    address = Address.parse(server.address)
    with pytest.raises(RemoteError, match="no Python answers") as caught:
        asyncio.run(measure_on(address, job(folder), "/no/such python", lambda _: None))
    assert "--remote-python" in str(caught.value)


def test_a_python_without_libraries(
    server: Server, at_home: Path, folder: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{Path(PYTHON).resolve()}" -S -E "$@"\n')
    bare.chmod(0o755)
    address = Address.parse(server.address)
    with pytest.raises(RemoteError, match="lacks what edgecv needs") as caught:
        asyncio.run(measure_on(address, job(folder), str(bare), lambda _: None))
    assert "no numpy" in str(caught.value)
    assert "bundle-wheels" in str(caught.value)


def processes(mark: str) -> list[int]:
    """List processes whose command line holds a text."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        if mark.encode() in words and int(place.parent.name) != os.getpid():
            found.append(int(place.parent.name))
    return found


@pytest.mark.parametrize("how", ["cancelled", "cut off"])
def test_when_it_is_over_here_nothing_goes_on_there(
    server: Server, at_home: Path, folder: Path, how: str
) -> None:
    address, heard = Address.parse(server.address), []
    mark = f"45.{os.getpid()}"  # a duration that no other process has in its arguments

    async def scenario() -> None:
        started = asyncio.Event()

        def tell(line: str) -> None:
            heard.append(line)
            if "process 1 of 1" in line:
                started.set()

        work = asyncio.create_task(
            measure_on(address, job(folder, "--duration", mark), PYTHON, tell)
        )
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert started.is_set(), heard
        assert processes(mark)
        if how == "cancelled":
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            return
        for pid in connections(server):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(RemoteError, match=r"connection was lost.*process 1 of 1"):
            await work

    asyncio.run(scenario())
    deadline = time.monotonic() + 20
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(mark)


def connections(server: Server) -> list[int]:
    """List the server's processes of one connection each, and theirs."""
    found, parents = [], {server.process.pid}
    while parents:
        children = set()
        for pid in parents:
            listed = Path(f"/proc/{pid}/task/{pid}/children")
            children |= {int(word) for word in listed.read_text().split()}
        parents = {
            pid for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
        }
        found += parents
    return found


def test_what_arrives_otherwise_than_it_was_sent_is_thrown_away(
    server: Server, at_home: Path, folder: Path
) -> None:
    from dataclasses import replace

    good = job(folder)
    false = replace(good, code=replace(good.code, sha256="0" * 64))
    with pytest.raises(RemoteError, match="not what was sent"):
        run(server, false, [])
    there = [path.name for path in (server.home / ".cache/edgecv/remote").iterdir()]
    assert not [name for name in there if name.startswith((".", "0000"))]


@pytest.mark.parametrize(
    "text", ["board", "http://board", "ssh://", "ssh://a:b/", "ssh://a/path", "ssh://a:0"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="ssh://user@board"):
        Address.parse(text)


def test_addresses() -> None:
    assert Address.parse("ssh://pi5") == Address("ssh://pi5", "pi5", None, None)
    found = Address.parse("ssh://me@[::1]:2222/")
    assert (found.host, found.port, found.user) == ("::1", 2222, "me")
    with pytest.raises(UsageError) as caught:
        Address.parse("ssh://me:secret@board")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "board"], "expected ssh://user@board"),
        (["--host", "ssh://a", "--usb-log", "log.csv"], "do not share a clock"),
        (["--host", "ssh://a", "--host", "ssh://b", "--html", "p.html"], "--html: of one host"),
    ],
)
def test_bad_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    ran = bench("my model.edgecv", *options)
    assert ran.status == 2
    assert message in ran.err


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    one = items.pack("x", [("b/a", tmp_path / "a")], tmp_path)
    os.utime(tmp_path / "a", (1, 1))
    assert items.pack("x", [("b/a", tmp_path / "a")], tmp_path).sha256 == one.sha256
    (tmp_path / "a").write_text(json.dumps("a"))
    assert items.pack("x", [("b/a", tmp_path / "a")], tmp_path).sha256 != one.sha256


def test_every_option_that_names_a_file_is_accounted_for() -> None:
    import click

    from edgecv.cli.commands.bench import command as bench_command
    from edgecv.cli.remote_bench import FILES, HERE

    named = {
        option.name
        for option in bench_command.params
        if isinstance(option, click.Option)
        and (isinstance(option.type, click.Path) or "FILE" in (option.metavar or ""))
    }
    assert {"labels", "calibration", "html_target"} <= named
    assert named <= {*HERE, *FILES, "usb_log"}  # the last is refused
