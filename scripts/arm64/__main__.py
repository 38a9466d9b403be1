"""``python scripts/arm64``: set up an arm64 Python under qemu, run in it, count instructions."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from scripts.arm64 import boards, count, root  # noqa: E402  # found by the line above


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/arm64", description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("EDGECV_ARM64") or root.DEFAULT),
        help="where the arm64 Python is; default: EDGECV_ARM64, else build/arm64",
    )
    parser.add_argument("--board", choices=boards.BOARDS, default="rpi4", help="for run")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="make the folder, or leave it if it is up to date")
    commands.add_parser("run", help="run its Python: everything after this word is for that")
    counting = commands.add_parser("count", help="count the instructions of the digits model")
    counting.add_argument("--write", action="store_true", help="make this the new baseline")
    words = sys.argv[1:]
    end = words.index("run") + 1 if "run" in words else len(words)
    said = parser.parse_args(words[:end])
    try:
        took = root.build(said.folder)
        if said.command == "run":
            args, environment = root.command(said.folder, said.board, words[end:])
            os.execvpe(args[0], args, environment)
        if said.command == "count":
            return _count(said.folder, write=said.write)
    except root.SetupError as error:
        print(f"scripts/arm64: {error}", file=sys.stderr)
        return 2
    print(f"{said.folder}: " + ("up to date" if took is None else f"made in {took:.0f} s"))
    return 0


def _count(folder: Path, *, write: bool) -> int:
    with tempfile.TemporaryDirectory() as made:
        bundle = count.digits(Path(made))
        found = count.count(folder, bundle, count.VARIANT)
    print(f"network {found.network:,}, around it {found.around:,}; spread {found.spread:.4%}")
    if write:
        count.BASELINE.write_text(json.dumps(found.to_json(), indent=2) + "\n")
        return 0
    baseline = json.loads(count.BASELINE.read_text())
    growth, versions = count.grown(found, baseline), count.changed_versions(found, baseline)
    for line in growth:
        print(line)
    if versions:
        print(f"the baseline does not bind: {'; '.join(versions)}. Take a new one with --write")
    return 1 if growth and not versions else 0


if __name__ == "__main__":
    sys.exit(main())
