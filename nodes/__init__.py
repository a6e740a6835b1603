"""The nodes, and the entry point through which ComfyUI finds them."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .cache_report import FeatureCacheReport
from .feature_cache import FeatureCache

NODES: tuple[type[io.ComfyNode], ...] = (FeatureCache, FeatureCacheReport)
"""Every node of the pack. Their ids and inputs are public: tests/golden/node_schema.json holds them."""


class FeatureCacheExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the node classes."""
        return list(NODES)


async def comfy_entrypoint() -> FeatureCacheExtension:
    """Return the extension; ComfyUI calls this once at start."""
    return FeatureCacheExtension()
