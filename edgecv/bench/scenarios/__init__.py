"""How images arrive: one file for each scenario that runs in the worker.

Each has ``SCHEDULED`` (whether images come by a schedule, and latency counts from it) and
``run(setup) -> Run``; see `edgecv.bench.scenario`. Starting cold is not here: it is what the worker
does before any of them.
"""
