"""Feature caching for Diffusion Transformers: importable without ComfyUI, readable beside the papers."""

from . import adapters, policies
from .adapter import ADAPTERS, Adapter, Router, find_adapter
from .errors import CacheConflictError, CacheError, ConfigError, FeatureError, UnsupportedModelError
from .policy import POLICIES, Config, Evidence, Policy, Setting, setting
from .report import CallReport, RunReport
from .scope import ForwardPatch, scoped_forwards
from .session import CacheSession, Pass
from .store import FeatureStore
from .types import Action, Call, Feature, History, Lane, Level, Run, Site, Snapshot

__all__ = [
    "ADAPTERS",
    "POLICIES",
    "Action",
    "Adapter",
    "CacheConflictError",
    "CacheError",
    "CacheSession",
    "Call",
    "CallReport",
    "Config",
    "ConfigError",
    "Evidence",
    "Feature",
    "FeatureError",
    "FeatureStore",
    "ForwardPatch",
    "History",
    "Lane",
    "Level",
    "Pass",
    "Policy",
    "Router",
    "Run",
    "RunReport",
    "Setting",
    "Site",
    "Snapshot",
    "UnsupportedModelError",
    "adapters",
    "find_adapter",
    "policies",
    "scoped_forwards",
    "setting",
]
