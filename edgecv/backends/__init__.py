"""Inference engines, one file each: see `edgecv.types.Backend`."""
