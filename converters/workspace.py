"""Where the steps of a conversion leave their files: content-addressed, resumable, logged.

A step's result is kept under a hash of everything that it depends on: the step, the versions of the
tools, the bytes that went in and the parameters. A conversion that was interrupted finds what was
finished and goes on; a result is moved into place only when it is complete, so nothing half-written
is ever found.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import edgecv
from edgecv.converters.artifact import Artifact
from edgecv.errors import ConversionError, EdgecvError, StepError

Progress = Callable[[str], None]

_FACTS = "artifact.json"


class Workspace:
    """A folder that holds the results of steps.

    Args:
        root: made if it is not there. Two conversions may share it.
        progress: called with one line for each step as it begins.

    Raises:
        ConversionError: the folder cannot be made.
    """

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.root = root
        self._progress = progress
        self._emptied: set[str] = set()
        self._made: dict[Path, Artifact] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConversionError(
                f"the work folder cannot be made: {error.strerror}", where=str(root)
            ) from None

    def say(self, line: str) -> None:
        """Show a line of progress, and keep it in ``log.txt``."""
        if self._progress is not None:
            self._progress(line)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        # A log that cannot be written must not stop what it tells of.
        with suppress(OSError), (self.root / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")

    def produce(
        self,
        step: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Artifact],
        *,
        tools: tuple[str, ...] = (),
    ) -> Artifact:
        """Return the result of a step: the kept one, or made now.

        Args:
            step: its name, for people and for the hash.
            inputs: everything that the result depends on, as JSON; an `Artifact` stands for its
                bytes.
            make: makes the files in the folder that it is given, and returns the artifact.
            tools: distributions whose versions the result depends on.

        Raises:
            StepError: the step failed; the error names it.
            ConversionError: the disk is full, or cannot be written.
        """
        key = _hash({"step": step, "inputs": inputs, "tools": _versions(tools)})
        place = self.root / f"{step}-{key[:20]}"
        if place in self._made:
            return self._made[place]
        kept = self._kept(place)
        if kept is not None:
            self.say(f"{step}: kept from before")
            self._made[place] = kept
            return kept
        self.say(f"{step} ...")
        start = time.monotonic()
        draft = self._draft(step)
        try:
            made = make(draft)
            facts = {**made.to_json(), "sha256": [_file_hash(path) for path in made.files]}
            (draft / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            draft.replace(place)
        except EdgecvError:
            raise
        except OSError as error:
            raise _disk(error, step, self.root) from error
        except Exception as error:
            raise StepError(
                _first_lines(error), where=f"step {step}", remedy="see log.txt in the work folder"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self.say(f"{step}: {time.monotonic() - start:.1f} s")
        made = self._made[place] = Artifact.from_json(facts, place)
        return made

    def remember(
        self,
        name: str,
        inputs: Mapping[str, Any],
        compute: Callable[[], Any],
        *,
        tools: tuple[str, ...] = (),
    ) -> Any:
        """Return a computed value: the kept one, or computed now.

        Args:
            name: of the value, for people and for the hash.
            inputs: everything that it depends on; see `produce`.
            compute: returns what JSON can hold.
            tools: distributions whose versions it depends on.
        """
        key = _hash({"inputs": inputs, "tools": _versions(tools)})
        place = self.root / f"{name}-{key[:20]}.json"
        with suppress(OSError, ValueError):
            return json.loads(place.read_text(encoding="utf-8"))
        value = compute()
        try:
            with tempfile.NamedTemporaryFile(
                "w", dir=self.root, prefix=".value.", delete=False, encoding="utf-8"
            ) as file:
                json.dump(value, file)
            Path(file.name).replace(place)
        except OSError as error:
            raise _disk(error, name, self.root) from error
        return value

    def folder(self, name: str) -> Path:
        """Return an empty folder of this name; what an earlier conversion left there is deleted.

        Raises:
            ConversionError: the disk is full, or cannot be written.
        """
        place = self.root / name
        if name not in self._emptied:
            try:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
            except OSError as error:
                raise _disk(error, name, self.root) from error
            self._emptied.add(name)
        return place

    @classmethod
    @contextmanager
    def during(cls, root: Path, progress: Progress | None, *, keep: bool) -> Iterator[Workspace]:
        """Work in a folder: removed when all went well, unless `keep`; else left to go on from."""
        workspace = cls(root, progress)
        try:
            yield workspace
        except BaseException:
            workspace._leave()
            raise
        if not keep:
            workspace.remove()

    def _leave(self) -> None:
        """Say what is kept of a conversion that was stopped; remove the folder if nothing is."""
        kept = [path for path in self.root.glob("*") if not path.name.startswith((".", "log."))]
        if kept:
            self.say(f"stopped; what was finished is kept in {self.root}, and will be used again")
        else:
            self.remove()

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _draft(self, step: str) -> Path:
        try:
            return Path(tempfile.mkdtemp(prefix=f".{step}.", dir=self.root))
        except OSError as error:
            raise _disk(error, step, self.root) from error

    def _kept(self, place: Path) -> Artifact | None:
        """Find a finished result whose files are still the ones that were written."""
        try:
            facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
            found = Artifact.from_json(facts, place)
            hashes = [_file_hash(path) for path in found.files]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if hashes == facts.get("sha256") else None


def versions(tools: tuple[str, ...]) -> dict[str, str | None]:
    """Read the installed versions of distributions; None where one is not installed."""
    found: dict[str, str | None] = {}
    for tool in tools:
        try:
            found[tool] = metadata.version(tool)
        except metadata.PackageNotFoundError:
            found[tool] = None
    return found


def _versions(tools: tuple[str, ...]) -> dict[str, str | None]:
    """Return what a step's own code depends on as well: another edgecv may do it otherwise."""
    return {"edgecv": edgecv.__version__, **versions(tools)}


def _hash(value: Any) -> str:
    encoded = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(encoded.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what the hash is to depend on."""
    if isinstance(value, Artifact):
        return value.digest
    if hasattr(value, "to_fields"):  # a Record
        return value.to_fields()
    if isinstance(value, os.PathLike):
        raise TypeError(f"a path says nothing about bytes: hash the file {value!r}")
    raise TypeError(f"not JSON: {value!r}")


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _disk(error: OSError, step: str, root: Path) -> ConversionError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ConversionError(
        "no space left on the disk" if full else f"cannot be written: {error.strerror or error}",
        where=f"step {step}: {error.filename or root}",
        remedy="free some space, or name another folder with --work; what was finished is kept"
        if full
        else None,
    )


def _first_lines(error: Exception, limit: int = 600) -> str:
    """Word an error of a library: its type and the beginning of what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:limit]}" if text else type(error).__name__
