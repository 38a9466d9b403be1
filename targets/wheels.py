"""Which wheels a machine can install, and how large they are, from a table made once.

The table is ``_wheels.toml`` beside this file; ``scripts/target_wheels.py`` writes it from
wheels that were downloaded. Nothing here asks the network. Tags are those of PEP 425, 427 and 600.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

from functools import cache
from typing import Annotated

from edgecv import schema
from edgecv.errors import TargetError
from edgecv.record import Record
from edgecv.schema import Rule
from edgecv.targets.target import System, Text

_OLD = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_FIRST_GLIBC = {"x86_64": 5, "aarch64": 17}
"""Minor version of the first glibc 2 that manylinux has tags for."""


class Wheel(Record, kw_only=True):
    """One file.

    Attributes:
        file: its name.
        bytes: its size.
    """

    file: Annotated[str, Rule(pattern=r"[^-]+-[^-]+(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")]
    bytes: Annotated[int, Rule(ge=1)]

    @property
    def project(self) -> str:
        """The distribution's name, normalized as PEP 503 does."""
        return self.file.partition("-")[0].replace("_", "-").replace(".", "-").lower()

    @property
    def version(self) -> str:
        """The distribution's version."""
        return self.file.split("-")[1]

    def misfit(self, architecture: str, system: System) -> str | None:
        """Say why a system cannot install it; None where it can."""
        pythons, abi, platforms = self.file.removesuffix(".whl").split("-")[-3:]
        mine = _numbers(system.python)
        if not any(_python_fits(tag, abi, mine) for tag in pythons.split(".")):
            return f"not for Python {system.python}"
        if platforms == "any":
            return None
        end = f"_{architecture}"
        tags = [tag.removesuffix(end) for tag in platforms.split(".") if tag.endswith(end)]
        needed = [glibc for glibc in map(_glibc, tags) if glibc is not None]
        if not needed:
            return f"not for {architecture}"
        if min(needed) > _numbers(system.glibc):
            major, minor = min(needed)
            return f"needs glibc {major}.{minor}, and there is {system.glibc}"
        return None


class Table(Record, kw_only=True):
    """All of it.

    Attributes:
        checked: the day on which the wheels were looked up, ISO 8601.
        source: where, and how.
        base: projects of the base install.
        extras: extra of edgecv -> projects that it adds.
        wheels: files that were found.
    """

    checked: Annotated[str, Rule(pattern=r"\d{4}-\d\d-\d\d")]
    source: Text
    base: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]
    wheels: tuple[Wheel, ...]

    def find(self, project: str, architecture: str, system: System) -> tuple[Wheel | None, str]:
        """Find the wheel of a project that a system can install.

        Returns:
            The wheel and "", or None and why there is none.
        """
        reasons: dict[str, None] = {}
        for wheel in self.wheels:
            if wheel.project != project:
                continue
            reason = wheel.misfit(architecture, system)
            if reason is None:
                return wheel, ""
            reasons[reason] = None
        # A wheel for another architecture or Python explains nothing where one nearly fits.
        near = [reason for reason in reasons if reason.startswith("needs")]
        return None, "; ".join(near or reasons) or "the table has no wheel of it"


@cache
def table() -> Table:
    """Read the table.

    Raises:
        TargetError: it breaks its schema.
    """
    from edgecv.targets import read_toml

    return schema.validate(Table, read_toml("_wheels.toml"), "_wheels.toml", TargetError)


def platform_tags(architecture: str, system: System) -> tuple[str, ...]:
    """List the platform tags that a system takes, newest first; ``pip --platform`` wants them."""
    _, minor = _numbers(system.glibc)
    tags = []
    for number in range(minor, _FIRST_GLIBC[architecture] - 1, -1):
        tags.append(f"manylinux_2_{number}_{architecture}")
        tags += [f"{old}_{architecture}" for old, glibc in _OLD.items() if glibc == (2, number)]
    return (*tags, f"linux_{architecture}")


def _python_fits(tag: str, abi: str, mine: tuple[int, ...]) -> bool:
    if tag == "py3":
        return True
    if not tag.startswith("cp3"):
        return False
    built = (3, int(tag[3:]))
    # Other ABIs, such as cp313t, are of interpreters that no system here brings.
    return built <= mine if abi == "abi3" else built == mine and abi in (tag, "none")


def _glibc(name: str) -> tuple[int, ...] | None:
    """Return the glibc that a platform asks for; None for one of another C library."""
    if name in _OLD:
        return _OLD[name]
    words = name.split("_")
    return (int(words[1]), int(words[2])) if words[0] == "manylinux" else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
