"""ComfyUI-FeatureCache: entry point for ComfyUI; everything else is in `nodes` and `cache_core`."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
