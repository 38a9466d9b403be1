"""Lower the precision of a float graph, one file for each backend that runs the result."""
