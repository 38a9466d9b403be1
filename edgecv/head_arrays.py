"""Arrays among a head's options: files in a bundle, and values where the head runs."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from pathlib import Path

import numpy as np

from edgecv import npy
from edgecv.bundle import Bundle
from edgecv.bundle_writer import file_entry
from edgecv.errors import BundleError, HeadError, ManifestError, UsageError
from edgecv.head import load_head
from edgecv.head_check import check_options, check_outputs
from edgecv.manifest import HeadSpec
from edgecv.types import Float32, TensorSpec

_FOLDER = "head"


def read(bundle: Bundle, outputs: Sequence[TensorSpec]) -> HeadSpec:
    """Return a bundle's head with its arrays as options, checked against the model's outputs.

    Args:
        bundle: whose files are hashed as they are read.
        outputs: as the engine reports them.

    Raises:
        BundleError: a file that is no array of finite floats, an option that is none of arrays, or
            an array that does not fit the model.
    """
    manifest = bundle.manifest
    head = manifest.head
    where = f"{bundle.path}: manifest.json"
    arrays = {
        name: npy.parse(bundle.read(entry), f"{bundle.path}: {entry.path}", BundleError)
        for name, entry in head.arrays.items()
    }
    merged = HeadSpec(name=head.name, options={**head.options, **arrays})
    plugin = load_head(head.name)
    size = manifest.input.size_hw
    try:
        check_options(plugin, head.name, merged.options)
        plugin.Options(**merged.options)
        check_outputs(
            plugin, head.name, merged.options, outputs, size, manifest.labels, f"{where}: head"
        )
    except (UsageError, HeadError) as error:
        raise ManifestError(
            error.what,
            where=f"{where}: head.arrays: {error.where}",
            expected=error.expected,
            got=error.got,
        ) from None
    return merged


def read_file(path: Path) -> Float32:
    """Read an array that a user names.

    Raises:
        UsageError: no such file, or no array of finite floats.
    """
    try:
        return npy.parse(path.read_bytes(), str(path), UsageError)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None


def store(head: HeadSpec, members: MutableMapping[str, Path | bytes]) -> HeadSpec:
    """Turn a head's options into what a bundle holds: arrays into files, tuples into lists.

    Args:
        head: as `edgecv.describe.describe` returns it.
        members: of the bundle in the making; gets the files.
    """
    options = {}
    arrays = {}
    for name, value in head.options.items():
        if isinstance(value, np.ndarray):
            member = f"{_FOLDER}/{name}.npy"
            members[member] = content = npy.encode(value)
            arrays[name] = file_entry(member, content)
        else:
            options[name] = list(value) if isinstance(value, tuple) else value
    return head.replace(options=options, arrays=arrays)
