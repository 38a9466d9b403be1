"""Where results go, one module each; see `edgecv.types.Sink`."""
