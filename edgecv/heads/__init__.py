"""Output layouts, one file each: see `edgecv.head.Head`."""
