"""What can be asked for power or energy: one file for each kind.

Each has ``TIER`` and ``find(root) -> Meter | str``: a meter that answered once, or why there is
none, which is also said where only a part of it can be read. A meter's ``read`` returns watts, or
joules since any fixed time; see `edgecv.bench.power.Meter`.
"""
