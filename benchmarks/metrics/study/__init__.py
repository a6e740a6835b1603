"""Measures a model of the zoo over steps and samplers, resumably, and writes what was found."""
