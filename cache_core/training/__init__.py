"""Trains what a method needs to know about a network; importing this package registers every training."""

from ..registry import import_siblings

import_siblings(__name__, __path__)
