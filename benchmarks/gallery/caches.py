"""The cache nodes as the workflows set them: every widget by name, in the order that the browser shows them."""

from __future__ import annotations

from .graph import Widget

NO_FILE = "none"

OVERDONE = 4
"""An interval at which FORA reuses so much that it shows."""
CORRECTED = "stack"
"""The level at which Error-Optimized Cache repairs most (docs/results/corrections.md); its file is smallest there too."""

Widgets = dict[str, Widget]

WINDOW: Widgets = {"start_percent": 0.0, "end_percent": 1.0}
MEMORY: Widgets = {
    "cache_device": "same as model",
    "cache_dtype": "same as model",
    "memory_budget_mb": 0,
}
FORECAST: Widgets = {"order": 2, "trust": "auto"}
FORECAST_OF_METHOD: Widgets = {f"method.{name}": value for name, value in FORECAST.items()}


def _file(name: str, made_for: str) -> Widgets:
    return {"artefact": name, "made_for": made_for}


def fora(interval: int, level: str = "module") -> Widgets:
    """Return Feature Cache's widgets with FORA."""
    method: Widgets = {
        "method": "fora",
        "method.interval": interval,
        "method.anchor": "end",
        "method.level": level,
    }
    return {**method, **WINDOW, **MEMORY, **_file(NO_FILE, "")}


def block_caching(delta: float, artefact: str, made_for: str) -> Widgets:
    """Return Feature Cache's widgets with Block Caching."""
    method: Widgets = {"method": "block_caching", "method.delta": delta}
    return {**method, **WINDOW, **MEMORY, **_file(artefact, made_for)}


def step_list(speedup: float = 0.0, artefact: str = NO_FILE, made_for: str = "") -> Widgets:
    """Return Feature Cache's widgets with a step list: at its defaults, or with a speedup."""
    method: Widgets = {
        "method": "step_list",
        "method.intent": "balanced",
        "method.speedup": speedup,
        **FORECAST_OF_METHOD,
        "method.steps": "auto",
        "method.spread": "shifted",
        "method.level": "model",
    }
    return {**method, **WINDOW, **MEMORY, **_file(artefact, made_for)}


def teacache(threshold: float, artefact: str = NO_FILE, made_for: str = "") -> Widgets:
    """Return TeaCache Threshold's widgets."""
    indicator: Widgets = {
        "indicator": "teacache",
        "indicator.threshold": threshold,
        "indicator.coefficients": "auto",
    }
    return {**indicator, **WINDOW, "artefact": artefact, **MEMORY, "made_for": made_for}


def schedule(artefact: str, made_for: str) -> Widgets:
    """Return the Router Loader's widgets."""
    return {
        "artefact": artefact,
        "threshold": "from file",
        **WINDOW,
        **MEMORY,
        "made_for": made_for,
    }


def error_optimized(artefact: str, made_for: str) -> Widgets:
    """Return the Error Optimizer's widgets with EOC."""
    correction: Widgets = {
        "correction": "error_optimized",
        "correction.theta": 1.0,
        "correction.magnitude": 0.0,
        "correction.trend": 0.01,
        "correction.form": "additive",
    }
    return correction | _file(artefact, made_for)


WHAT: dict[str, Widgets] = {
    "block_caching": {"what": "block_caching", "what.delta": 0.5},
    "prior": {"what": "prior", "what.level": CORRECTED, "what.budget_mb": 64},
    "teacache": {"what": "teacache", "what.order": 4},
}
"""What Feature Cache Calibrate looks for."""


def search(speedup: float, settings: Widgets, file_name: str) -> Widgets:
    """Return Schedule Search's widgets."""
    wished: Widgets = {
        "seed": 1,
        "control_after_generate": "fixed",
        "num_seeds": 2,
        "speedup": speedup,
        "tries": 12,
        "minutes": 10.0,
    }
    return {**settings, **wished, **FORECAST, "file_name": file_name}


TRAINED: dict[str, Widgets] = {
    "learning_to_cache": {"method.refresh_ratio": 0.78},
    "harmonica": {"method.refresh_ratio": 0.6},
}
"""How much of the work a router is trained to leave: most of what pairs can, and what the paper gets by without them."""

PROXY: dict[str, Widgets] = {"harmonica": {"method.proxy": "all but one", "method.proxy_every": 25}}


def train(method: str, settings: Widgets, file_name: str) -> Widgets:
    """Return the Router Trainer's widgets, at its defaults but for the refresh ratio."""
    steering: Widgets = {
        "method.speedup": 0.0,
        "method.penalty": 0.0,
        "method.learning_rate": 0.01,
        "method.threshold": 0.1,
    }
    learned = {"method": method, **TRAINED[method], **steering, **PROXY.get(method, {})}
    sampled = {name: value for name, value in settings.items() if name != "denoise"}
    runs: Widgets = {
        "seed": 0,
        "control_after_generate": "fixed",
        "iterations": 1000,
        "save_every": 50,
        "recompute_blocks": True,
        "file_name": file_name,
        "profile": NO_FILE,
    }
    return {**learned, **sampled, **runs}


def calibrate(what: str, settings: Widgets, file_name: str) -> Widgets:
    """Return Feature Cache Calibrate's widgets."""
    runs: Widgets = {
        "seed": 1,
        "control_after_generate": "fixed",
        "num_seeds": 2,
        "prompts": "one run each",
        "file_name": file_name,
    }
    return WHAT[what] | settings | runs
