"""Where frames come from, one module each; see `edgecv.types.Source`."""
