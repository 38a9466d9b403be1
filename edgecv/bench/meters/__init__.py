"""What can be asked for power or energy: one file for each kind.

Each has ``TIER`` and ``find(root) -> Meter | str``: a meter that answered once, or why there is
none. A meter's ``read`` returns the time of `time.monotonic` with watts at that time, or with
joules since any fixed time; see `edgecv.bench.power.Meter`.
"""
