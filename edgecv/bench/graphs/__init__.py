"""Formats whose graphs can be read without an engine: one file for each.

Each has ``SUFFIXES`` and ``read(source, size_hw) -> Graph``, of an `edgecv.types.ModelSource`;
`size_hw` are the height and width of the image input, for models that leave them free, or None. It
raises ModelLoadError for what is no file of the format, whatever the bytes; one whose parts do not
fit together may cause what `edgecv.bench.work.of_source` catches. See `edgecv.bench.graph`.
"""
