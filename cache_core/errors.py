"""Errors for users. Each text says what is wrong, what was got, what was expected and what to do."""

from __future__ import annotations


class CacheError(ValueError):
    """Base of every error this package raises on purpose; a node may show its text unchanged."""


class ConfigError(CacheError):
    """A setting of a method is out of its bounds."""


class UnsupportedModelError(CacheError):
    """No adapter knows the network, or its blocks are not what the adapter expects."""


class CacheConflictError(CacheError):
    """Two caches, or a cache and another node, cannot work on the same model."""


class FeatureError(CacheError):
    """A network returned features that cannot be kept per branch."""


class ArtefactError(CacheError):
    """An artefact file is missing, damaged, or made for another model or other settings."""
