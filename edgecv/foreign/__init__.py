"""What other exporters wrote into or beside their model files.

Each module offers ``read(path, metadata) -> Hints | None``: the file's path, and the key-value
pairs that the engine found inside it; None where the file is not from that exporter.
"""
