"""Formats of evaluation sets, one file each: see `edgecv.dataset`."""
