"""What can be converted: one kind of source a file; see `edgecv.converters.source`."""
