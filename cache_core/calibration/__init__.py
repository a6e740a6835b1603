"""One file per calibration; importing this package registers them all."""

from ..registry import import_siblings

import_siblings(__name__, __path__)
