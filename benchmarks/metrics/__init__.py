"""Judges pictures: closeness to a reference run, and faithfulness to captions and to the data.

One file per group: `fidelity` and `perceptual` compare with the same seed's reference picture, `accuracy` asks
a classifier for what the caption names, `frechet` compares with the data, `intervals` says how sure a mean is.
"""
