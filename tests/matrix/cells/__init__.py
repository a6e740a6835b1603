"""The cells of the compatibility matrix: what a graph can put around a cached model, one file per kind."""
