"""Which CPUs need weights of 7 bits."""

from __future__ import annotations

import pytest

from edgecv.converters import saturation


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (("avx2", "avx512f"), True), (("avx2", "avx512f", "avx512_vnni"), False),
        (("avx2", "avx_vnni"), False), (("asimd",), False), (("asimd", "asimddp"), False),
        (None, False),
    ],
)  # fmt: skip
def test_which_cpus_saturate(features, expected, monkeypatch):
    monkeypatch.setattr(saturation.host, "cpu_features", lambda: features)
    assert saturation.saturates() is expected
