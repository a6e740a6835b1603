"""Parameters and what moves them: AdamW, scaled losses in half precision, and the other processes.

All of it is PyTorch's: `DistributedDataParallel` starts every process with the same parameters and averages gradients, so
that they stay the same; `GradScaler` keeps small gradients of float16 networks from vanishing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import CacheError

T = TypeVar("T")

EPSILON = 1e-15
"""Of AdamW. The papers' losses are of the order of its usual 1e-8, which would then slow small ones down."""


class Learner:
    """A module with its optimiser.

    Attributes:
        module: The module itself: read its parameters here.
        replica: Call this one: where there are several processes, it averages gradients over them.
    """

    def __init__(
        self, module: nn.Module, learning_rate: float, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Move `module` to `device`; `dtype` is the type in which the network computes."""
        self.module = module.to(device)
        self.replica = _replicated(self.module)
        self._optimizer = torch.optim.AdamW(
            module.parameters(), lr=learning_rate, weight_decay=0.0, eps=EPSILON
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)

    def descend(self, loss: Tensor, leaves: Sequence[Tensor], sources: Sequence[Tensor]) -> list[Tensor]:
        """Make one update.

        Args:
            loss: () of the network.
            leaves: What the network used, see `gradients.leaves_of`.
            sources: What the module made them of, with their graph.

        Returns:
            The gradient of `loss` with respect to each leaf.

        Raises:
            CacheError: If the network lets no gradient through.
        """
        self._optimizer.zero_grad(set_to_none=True)
        try:
            torch.autograd.backward(self._scaler.scale(loss))
        except (RuntimeError, NotImplementedError) as fault:
            if isinstance(fault, torch.cuda.OutOfMemoryError):
                raise
            raise CacheError(
                f"The network lets no gradient through: {str(fault).splitlines()[0]} Its weights are probably quantised, or "
                "its attention has no backward pass. Train on the same model with weights in float32, bfloat16 or float16 "
                "and PyTorch's attention; the router then serves both."
            ) from fault
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        torch.autograd.backward(sources, gradients)
        self._scaler.unscale_(self._optimizer)
        self._scaler.step(self._optimizer)
        scale = self._scaler.get_scale() if self._scaler.is_enabled() else 1.0
        self._scaler.update()
        return [gradient / scale for gradient in gradients]

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs, on the CPU."""
        parts = {
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        copied: dict[str, Any] = _copied(parts)
        return copied

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(_copied(state["optimizer"]))
        self._scaler.load_state_dict(state["scaler"])


def averaged(values: Tensor) -> Tensor:
    """Return the mean of `values` over all processes, in each of them."""
    if not _is_distributed():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def from_first(make: Callable[[], T]) -> T:
    """Return, in every process, what `make` returns in the first one: the others may lack what it reads.

    Raises:
        CacheError: In every process, where `make` raises it.
    """
    if not _is_distributed():
        return make()
    made: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            made[0] = make()
        except CacheError as fault:
            made[1] = str(fault)
    dist.broadcast_object_list(made)
    if made[1] is not None:
        raise CacheError(made[1])
    return cast(T, made[0])


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _replicated(module: nn.Module) -> nn.Module:
    if not _is_distributed():
        return module
    # A call needs the parameters of its own step only.
    return DistributedDataParallel(module, find_unused_parameters=True)


def _copied(value: Any) -> Any:
    """Return nested containers with every tensor copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
