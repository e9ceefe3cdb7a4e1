"""From a trained network to a graph of integers that computes the same function."""
