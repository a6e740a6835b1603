"""Pure functions on tensors, to be read beside the papers: one file per subject."""
