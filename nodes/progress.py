"""Live text on the node that is sampling."""

from __future__ import annotations

from comfy_execution.utils import get_executing_context
from server import PromptServer


def show_on_sampler(text: str) -> None:
    """Show `text` on the node that is executing; nothing where there is no node or no server to show it."""
    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id)
