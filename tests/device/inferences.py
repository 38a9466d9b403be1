"""Run a model a few times between marks of the counting plug-in: see ``scripts/arm64/count.c``.

Marks alternate: before and after the network alone, before and after the whole way from pixels in
memory to the result. Writes the versions that the counts depend on to standard output, as JSON.

Arguments: a bundle, a variant, how many times.
"""

from __future__ import annotations

import ctypes
import gc
import json
import platform
import sys

import cv2
import numpy as np

import edgecv

MARK = 20000
"""A system call that no kernel has."""


def main(bundle: str, variant: str, times: int) -> None:
    """Make four marks for each time."""
    call = ctypes.CDLL(None).syscall
    cv2.setNumThreads(1)
    with edgecv.open_bundle(bundle) as opened:
        data = np.frombuffer(opened.read(opened.manifest.golden[0].image), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    with edgecv.load(bundle, variant=variant, threads=1) as model:
        tensor = model.prepare(pixels)
        # What happens once only: buffers, choice of kernels, what Python specializes.
        for _ in range(20):
            model(pixels)
        model.infer(tensor)
        gc.collect()
        gc.disable()
        for _ in range(times):
            call(MARK, 0)
            model.infer(tensor)
            call(MARK, 1)
            call(MARK, 2)
            model(pixels)
            call(MARK, 3)
        versions = {
            "engine": model.info.engine,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
    print(json.dumps(versions))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
