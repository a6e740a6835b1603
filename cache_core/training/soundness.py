"""Finds out, before hours are spent, that a network cannot be trained on: by its weights, its loss, its first gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from ..errors import CacheError
from ..types import Call

NUDGE = 0.05
"""Change of all checked parameters to either side in the check of the gradient."""

AGREEMENT = 0.5
"""Most that gradient and finite difference may differ by, relative to the larger; a cut graph loses nearly all of it."""

ADVICE = (
    "Train on the same model with weights in float32, bfloat16 or float16; what is trained then serves both."
)


def require_trainable(network: nn.Module) -> None:
    """Refuse weights that are more than numbers: what computes with them has no backward pass to rely on.

    Weights in float8 that the host casts before it computes are as good as any.

    Raises:
        CacheError: If a weight is of a quantised format.
    """
    for name, weight in network.named_parameters():
        if type(weight) not in (Tensor, nn.Parameter) or not weight.is_floating_point():
            kind = f"{type(weight).__name__}, {str(weight.dtype).removeprefix('torch.')}"
            raise CacheError(
                f"The network lets no gradient through, as quantised formats do: its weight '{name}' is one ({kind}). {ADVICE}"
            )


def require_sound(loss: Tensor, call: Call) -> None:
    """Refuse a loss () that nothing can be learned from.

    Raises:
        CacheError: If it carries no gradient, or is infinite or undefined.
    """
    if not loss.requires_grad:
        raise CacheError(f"The network lets no gradient through, as quantised formats do. {ADVICE}")
    if not bool(loss.isfinite()):
        raise CacheError(
            f"The loss of step {call.step} is {float(loss.detach())}. The model gives infinite or undefined numbers at these "
            "settings: check that it samples well without training, let it compute in bfloat16 or float32, or lower "
            "'learning_rate'."
        )


class GradientCheck:
    """Compares one gradient with a finite difference, so that a network that cuts it short is found out.

    That is the first one that is finite: where gradients are scaled, as for float16, the first ones may overflow.

    Attributes:
        is_due: Whether none has been compared as yet.
    """

    def __init__(self) -> None:
        """Wait for the first gradient."""
        self.is_due = True

    def compare(self, slope: float, error: Callable[[float], Tensor]) -> None:
        """Compare a slope with what it should be.

        Args:
            slope: Of the loss, along the direction in which `error` moves the parameters.
            error: Evaluates the loss () with the parameters moved so far. Called last with 0, so that what the
                evaluation sets aside to be kept is that of the parameters themselves.

        Raises:
            CacheError: If they differ by much.
        """
        if not math.isfinite(slope):
            return
        measured = float(error(NUDGE) - error(-NUDGE)) / (2 * NUDGE)
        error(0.0)
        if abs(measured - slope) > AGREEMENT * max(abs(measured), abs(slope), 1e-20):
            raise CacheError(
                f"The network's gradient is wrong: {slope:.3g}, where a finite difference gives {measured:.3g}. Its weights are "
                f"probably quantised. {ADVICE}"
            )
        self.is_due = not math.isfinite(measured)
