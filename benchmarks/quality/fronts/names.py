"""What is measured over, by name; needs nothing, so that pages can be made wherever the files are."""

from __future__ import annotations

FAMILIES = ("flux", "sd3", "pixart")
SAMPLERS = ("euler", "dpmpp_2m", "heun", "euler_ancestral")
STEPS = (10, 20, 28, 50)
CFGS = (1.0, 4.0)
SPEEDUPS = (1.5, 2.0, 3.0)
"""Where the pages compare: one step in so many is computed."""
