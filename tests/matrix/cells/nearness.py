"""How near to the uncached picture a cached one of the zoo's models must be: interval 2 in the middle half of 20 steps."""

from __future__ import annotations

NEAR = {"flux": 30.0, "sd3": 30.0, "pixart": 24.0}
"""PSNR in dB. PixArt's pictures change more from step to step: 10 Euler steps lie 29 dB from 20, and 36 to 37 dB on the others."""
