"""``edgecv info``: say what a model is and what would run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecv.bundle import is_bundle, open_bundle
from edgecv.cli import output
from edgecv.cli.options import Opener, model_options
from edgecv.manifest import Manifest


@click.command("info")
@click.argument("model", type=click.Path(path_type=Path))
@model_options
@click.option("--json", "json_target", metavar="FILE|-", help="Write everything as JSON.")
def command(model: Path, open_model: Opener, json_target: str | None) -> None:
    """Say what MODEL is, how it is fed and read, and which engine would run it here."""
    output.check_target(json_target, [model])
    with open_model(model) as opened:
        info = opened.info
        labels = opened.labels
    manifest = None
    if is_bundle(model):
        with open_bundle(model) as bundle:
            manifest = bundle.manifest
    data: dict[str, Any] = {"runs": info.to_json(), "labels": list(labels)}
    if manifest is not None:
        data["manifest"] = manifest.to_dict()
    output.write_json(json_target, data)
    if json_target == "-":
        return
    screen = output.console()
    table = output.table(str(model), "what", "value")
    shown = ", ".join(labels[:6]) + (", ..." if len(labels) > 6 else "")
    rows = {
        "name": info.name,
        "task": f"{info.task}, head {info.head} (told by {info.told_by})",
        "labels": f"{len(labels)}: {shown}" if labels else "none",
        "input": _input(info.input),
        "runs": f"{info.variant} on {info.engine}, {info.device}, {info.threads} thread(s)"
        + (", as tuned for this CPU" if info.chosen_by == "tuned" else ""),
        **({"many images": f"{info.plan}, as tuned"} if info.plan else {}),
        "precision": info.precision or "not told by the engine",
        "tensors": f"{'; '.join(info.inputs)} -> {'; '.join(info.outputs)}",
        "model size": f"{info.model_bytes / 2**20:.2f} MiB",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    for note in (*info.notes, *info.skipped):
        table.add_row("note", note)
    screen.print(table)
    if manifest is not None:
        _print_manifest(screen, manifest)


def _input(spec: Any) -> str:
    height, width = spec.size_hw
    mean, std = (",".join(f"{v:g}" for v in values) for values in (spec.mean, spec.std))
    resize = f"crop {spec.crop_ratio:g}" if spec.resize == "crop" else spec.resize
    return f"{width}x{height} {spec.color}, {resize}, (pixel - {mean}) / {std}"


def _print_manifest(screen: Any, manifest: Manifest) -> None:
    table = output.table("variants, in order", "id", "backend", "precision", "files", "bytes>")
    for variant in manifest.variants:
        table.add_row(
            variant.id,
            variant.backend,
            variant.precision,
            ", ".join(entry.path for entry in variant.files),
            f"{sum(entry.bytes for entry in variant.files):,}",
        )
    screen.print(table)
    if manifest.card.measurements:
        card = output.table("card", "metric", "value>", "95 %", "variant", "data")
        for item in manifest.card.measurements:
            value = f"{item.value:.4g}" if item.value is not None else f"null: {item.reason}"
            interval = f"{item.ci95[0]:.4g} to {item.ci95[1]:.4g}" if item.ci95 else "-"
            card.add_row(item.metric, value, interval, item.variant, item.data)
        screen.print(card)
    provenance = manifest.provenance
    screen.print(f"made {provenance.created or 'at an unknown time'} by {provenance.tool or '?'}")
