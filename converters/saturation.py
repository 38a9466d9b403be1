"""Whether this CPU's sums of 8-bit products overflow."""

from __future__ import annotations

from edgecv import host

NOTE = "weights of 7 bits: this CPU has no VNNI, and its sums of 8-bit products would saturate"

_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
_ARM = "asimd"


def saturates() -> bool:
    """Tell whether this CPU adds pairs of 8-bit products up in 16 bits.

    x86 did before VNNI (``vpmaddubsw``): 255 * 127 * 2 does not fit, so weights get 7 bits. Arm
    never did.
    """
    features = host.cpu_features()
    if features is None or _ARM in features:
        return False
    return not any(name in features for name in _VNNI)
