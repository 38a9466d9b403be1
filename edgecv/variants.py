"""Which of a bundle's variants runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgecv import host, plugins
from edgecv.engines import load_backend, why_not
from edgecv.errors import BackendMissingError, ManifestError, UsageError
from edgecv.manifest import Manifest, Variant

if TYPE_CHECKING:
    from edgecv.bundle import Bundle
    from edgecv.tuned import Choice

UPGRADE = "pip install --upgrade edgecv"


def tuned_choice(bundle: Bundle) -> tuple[Choice | None, tuple[str, ...]]:
    """Look up what `edgecv tune` found for this CPU and these bytes.

    Returns:
        The choice, or None; and why a record that is there is not heeded.
    """
    # One look at the disk where nothing was ever tuned.
    if not os.path.isdir(host.data_folder()):  # noqa: PTH112  # a Path would cost more
        return None, ()
    from edgecv.tuned import find

    choice, note = find(bundle.digest, bundle.manifest)
    return choice, (note,) if note else ()


def choose_variant(
    manifest: Manifest, variant_id: str | None = None, backend: str | None = None
) -> tuple[Variant, tuple[str, ...]]:
    """Choose the variant that runs: the caller's, or the first that can run on this machine.

    Returns:
        The variant, and the earlier ones that cannot run here, each with the reason.

    Raises:
        UsageError: no variant has this id or is for the backend, or the two contradict each other.
        BackendMissingError: no variant's engine is installed.
    """
    if variant_id is not None:
        try:
            variant = manifest.variant(variant_id)
        except ManifestError as error:
            raise UsageError(
                error.what, where=error.where, expected=error.expected, got=error.got
            ) from None
        if backend not in (None, variant.backend):
            raise UsageError(
                f"variant {variant_id} is for another backend",
                expected=variant.backend,
                got=repr(backend),
            )
        return variant, ()
    fitting = [v for v in manifest.variants if backend in (None, v.backend)]
    if not fitting:
        raise UsageError(
            "the bundle has no variant for this backend",
            where=manifest.name,
            expected=f"one of {', '.join(sorted({v.backend for v in manifest.variants}))}",
            got=repr(backend),
        )
    skipped: list[str] = []
    for variant in fitting:
        reason = why_not(variant.backend, variant.precision)
        if reason is None:
            return variant, tuple(skipped)
        skipped.append(f"{variant.id}: {reason}")
    if backend is not None:
        # It was asked for by name, so the engine itself says what is missing.
        return fitting[0], ()
    known = {v.backend for v in fitting} & set(plugins.names("backends"))
    extras = {load_backend(name).EXTRA for name in known}
    packages = sorted(f"edgecv[{extra}]" if extra else "edgecv" for extra in extras)
    raise BackendMissingError(
        f"no variant can run here ({'; '.join(skipped)})",
        where=manifest.name,
        remedy=" or ".join(f"pip install '{package}'" for package in packages) or UPGRADE,
    )
