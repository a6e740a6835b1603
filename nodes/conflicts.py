"""Other nodes that cannot share a MODEL with a cache, and the words that say so.

Most nodes can; tests/matrix holds that they do. These cannot: what would come out follows neither node's rule, and
the counts of both would be wrong. They are looked for when our node is applied and again when sampling starts, because
a node may come after ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..cache_core import CacheConflictError

CACHES = {"easycache": "EasyCache", "lazycache": "LazyCache"}
"""ComfyUI's own caches, by the key of their wrappers."""

KEY_VALUE_CACHE = ("KV_Attn_Input", "Flux KV Cache")
"""Class of the patch, and title of the node, that drops the tokens of reference pictures after the first call."""

TWICE = (
    "both skip work between steps without knowing of each other, so features would be reused for longer than either "
    "node was told, and neither's report would be true"
)
FEWER_TOKENS = (
    "it drops the tokens of reference pictures after the first call, so that what was kept of the first call does not "
    "fit the others"
)


def refuse_conflicts(ours: str, wrappers: Mapping[str, Iterable[str]], patches: Mapping[str, Any]) -> None:
    """Refuse to share a MODEL with a node that cannot.

    Args:
        ours: Our method and its settings, for the text.
        wrappers: The keys of the MODEL's wrappers, by type.
        patches: Its lists of attention and input patches, by name.

    Raises:
        CacheConflictError: If there is such a node; the text names both.
    """
    keys = {key for found in wrappers.values() for key in found}
    reasons = {title: TWICE for key, title in CACHES.items() if key in keys}
    patch_class, title = KEY_VALUE_CACHE
    if any(type(patch).__name__ == patch_class for group in patches.values() for patch in group):
        reasons[title] = FEWER_TOKENS
    if reasons:
        found = "; ".join(f"'{title}': {reason}" for title, reason in reasons.items())
        raise CacheConflictError(
            f"This MODEL carries a Feature Cache node ({ours}) and a node that cannot work beside it. {found}. Remove "
            "one of the two nodes."
        )
