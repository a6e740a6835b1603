"""Measures caching methods on the zoo against the uncached run of the same seed and against fewer steps, resumably."""
