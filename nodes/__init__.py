"""The nodes, and the entry point through which ComfyUI finds them."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .cache_report import FeatureCacheReport
from .cache_router_trainer import CacheRouterTrainer
from .calibrate import FeatureCacheCalibrate
from .error_optimizer import ErrorOptimizer
from .feature_cache import FeatureCache
from .l2c_router_loader import L2CRouterLoader
from .schedule_search import CacheScheduleSearch
from .teacache_threshold import TeaCacheThreshold

NODES: tuple[type[io.ComfyNode], ...] = (
    CacheRouterTrainer,
    CacheScheduleSearch,
    ErrorOptimizer,
    FeatureCache,
    FeatureCacheCalibrate,
    FeatureCacheReport,
    L2CRouterLoader,
    TeaCacheThreshold,
)
"""Every node of the pack. Their ids and inputs are public: tests/golden/node_schema.json holds them."""


class FeatureCacheExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the node classes."""
        return list(NODES)


async def comfy_entrypoint() -> FeatureCacheExtension:
    """Return the extension; ComfyUI calls this once at start."""
    return FeatureCacheExtension()
