"""Feature caching for Diffusion Transformers: importable without ComfyUI, readable beside the papers."""

from . import adapters, calibration, policies, training
from .adapter import ADAPTERS, Adapter, Router, find_adapter
from .artefact import Architecture, Artefact, Kind, Sampling
from .artefact_file import read_artefact, read_label, unused_path, write_artefact
from .chart import Chart, Graph, HeatMap, Series
from .errors import (
    ArtefactError,
    CacheConflictError,
    CacheError,
    ConfigError,
    FeatureError,
    UnsupportedModelError,
)
from .fingerprint import fingerprint
from .footprint import Extent, Footprint, foresee
from .importers import load_artefact
from .overlay import CORRECTIONS, Overlay
from .policy import POLICIES, Config, Evidence, Policy, Setting, setting
from .prediction import predict_refresh_ratio
from .probe import CALIBRATIONS, Calibration, Findings, Probe, Recording, Sample, Subject
from .report import CallReport, RunReport
from .residence import Residence
from .scope import ForwardPatch, scoped_forwards
from .session import CacheSession, Pass
from .store import FeatureStore, MemoryReport
from .training.method import TRAININGS
from .types import (
    Action,
    Call,
    Feature,
    History,
    Indicator,
    Lane,
    Level,
    Observation,
    Reading,
    Run,
    SamplerClass,
    Site,
    Snapshot,
    Target,
)

__all__ = [
    "ADAPTERS",
    "CALIBRATIONS",
    "CORRECTIONS",
    "POLICIES",
    "TRAININGS",
    "Action",
    "Adapter",
    "Architecture",
    "Artefact",
    "ArtefactError",
    "CacheConflictError",
    "CacheError",
    "CacheSession",
    "Calibration",
    "Call",
    "CallReport",
    "Chart",
    "Config",
    "ConfigError",
    "Evidence",
    "Extent",
    "Feature",
    "FeatureError",
    "FeatureStore",
    "Findings",
    "Footprint",
    "ForwardPatch",
    "Graph",
    "HeatMap",
    "History",
    "Indicator",
    "Kind",
    "Lane",
    "Level",
    "MemoryReport",
    "Observation",
    "Overlay",
    "Pass",
    "Policy",
    "Probe",
    "Reading",
    "Recording",
    "Residence",
    "Router",
    "Run",
    "RunReport",
    "Sample",
    "SamplerClass",
    "Sampling",
    "Series",
    "Setting",
    "Site",
    "Snapshot",
    "Subject",
    "Target",
    "UnsupportedModelError",
    "adapters",
    "calibration",
    "find_adapter",
    "fingerprint",
    "foresee",
    "load_artefact",
    "policies",
    "predict_refresh_ratio",
    "read_artefact",
    "read_label",
    "scoped_forwards",
    "setting",
    "training",
    "unused_path",
    "write_artefact",
]
