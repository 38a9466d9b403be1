"""One conversion a file; see `edgecv.converters.workspace`."""
