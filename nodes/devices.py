"""Runs the passes of one call one after the other where the host would run them on several devices at a time.

ComfyUI's multi-GPU split gives every device a thread of its own. A call has one decision, and what it holds on another
device may be lent to the network that is running: which thread came first must decide neither. Without the pool of
threads ComfyUI itself runs the same passes in a fixed order on the sampler's thread. Devices still overlap, because
work on them is only queued there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

POOL = "multigpu_thread_pool"
"""Where the host keeps the threads of a run, among the options of a call."""


@contextmanager
def one_after_the_other(model_options: Any, x: torch.Tensor) -> Iterator[Any]:
    """Yield the options of a call without the pool of threads; the current device is what it was afterwards.

    Args:
        model_options: As the sampler gives them, left as they are.
        x: Input of the call, on the device that is the current one.
    """
    if POOL not in (model_options or {}):
        yield model_options
        return
    alone = {name: value for name, value in model_options.items() if name != POOL}
    # The host makes each pass's device the current one, as in a thread that has no other use for it.
    with torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext():
        yield alone
