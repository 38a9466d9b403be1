"""Choose the range of a tensor from its histogram, one rule a file."""
