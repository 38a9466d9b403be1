"""A deployment in a table: which variants run on a target, and why the others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecv.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from edgecv.targets.planning import Deployment


def variants_table(made: Deployment) -> Table:
    """Lay out one row for each variant; ``*`` is the one that edgecv takes there."""
    system = made.system
    table = output.table(
        f"{made.model} on {made.title}, {system.os}, Python {system.python}, glibc {system.glibc}",
        "", "variant", "runs", "model MiB>", "peak MiB>", "why",
    )  # fmt: skip
    for variant in made.variants:
        peak = variant.memory.peak_mib
        table.add_row(
            "*" if variant.id == made.chosen else "",
            variant.id,
            "yes" if variant.runs else "no",
            f"{variant.model_bytes / 2**20:.2f}",
            "-" if peak is None else f"about {peak}",
            "; ".join((*variant.reasons, *variant.warnings)),
        )
    return table
