"""Tells ComfyUI, before it loads the model, how much the cache will hold.

ComfyUI estimates what a run needs from the shape of its latent, frees memory of other models for it and decides how
much of this model's weights stay on the device. It knows no other demand than that shape, so the shape that goes into
the estimate, and only that, is made longer until the estimate has grown by what the cache will hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..cache_core import Extent


def branches(guider: Any, latent_shape: Sequence[int]) -> Iterator[Extent]:
    """Yield the extent of every branch that a run of `guider` will have, areas and context windows taken for whole."""
    if len(latent_shape) != 4:
        return
    dtype = guider.model_patcher.model.get_dtype_inference()
    for name, conds in guider.conds.items():
        if name == "negative" and _is_unguided(guider):
            continue
        for cond in conds:
            yield Extent(
                latent=tuple(latent_shape),
                references=tuple(tuple(latent.shape) for latent in cond.get("reference_latents") or ()),
                text=_num_tokens(cond.get("cross_attn")),
                dtype=dtype,
            )


def with_room(
    shape: Sequence[int], memory_required: Callable[[list[int]], float], num_bytes: int
) -> list[int]:
    """Return `shape` with the last dimension lengthened until `memory_required` has grown by `num_bytes`.

    The last, because ComfyUI's context windows cut another one; and because a column is the smallest step.
    """
    longer = list(shape)
    if num_bytes <= 0:
        return longer
    column = memory_required([*shape[:-1], shape[-1] + 1]) - memory_required(longer)
    if column > 0:
        longer[-1] += math.ceil(num_bytes / column)
    return longer


def _is_unguided(guider: Any) -> bool:
    """Return whether ComfyUI will leave out the negative prompt, as it does at cfg 1."""
    required = guider.model_options.get("disable_cfg1_optimization", False)
    return not required and math.isclose(getattr(guider, "cfg", math.nan), 1.0)


def _num_tokens(context: Any) -> int:
    return 0 if context is None else int(context.shape[1])
