"""What a user may ask of the training of a router: a share of all work, a speed, or the papers' penalty."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from ..policy import Config, setting


@dataclass(frozen=True, kw_only=True)
class RouterConfig(Config):
    """Settings of the training of a router."""

    refresh_ratio: float = setting(
        0.75,
        "Share of all evaluations that the router is to compute; the penalty is steered to meet it within 2 points. Lower is "
        "faster and further from the uncached picture.",
        minimum=0.0,
        maximum=1.0,
    )
    speedup: float = setting(
        0.0,
        "How many times as fast sampling is to be, in place of a refresh ratio, which then stays at its default: sites are timed "
        "before training, and the penalty is steered to meet the time within 2 points. 1.3 is careful. 0 asks for none.",
        minimum=0.0,
        maximum=100.0,
    )
    penalty: float = setting(
        0.0,
        "The paper's penalty on computing, in place of a refresh ratio. 0 steers it to meet 'refresh_ratio'.",
        minimum=0.0,
        maximum=1000.0,
        advanced=True,
    )
    learning_rate: float = setting(
        0.01,
        "Step of every update. A score needs 3 to 5 / learning_rate iterations to become a decision.",
        minimum=0.0001,
        maximum=1.0,
        advanced=True,
    )
    threshold: float = setting(
        0.1,
        "A site is computed where sigmoid(score) is above this. The papers use 0.1.",
        minimum=0.01,
        maximum=0.99,
        advanced=True,
    )

    def __post_init__(self) -> None:
        """Check every field, and that one thing is asked for.

        Raises:
            ConfigError: With all offending fields at once.
        """
        super().__post_init__()
        if not self.speedup:
            return
        if self.speedup < 1:
            raise ConfigError(f"'speedup' is {self.speedup}, expected at least 1, or 0 to ask for none.")
        defaults = {item.name: item.default for item, _ in self.settings()}
        for name in ("refresh_ratio", "penalty"):
            given = getattr(self, name)
            if given != defaults[name]:
                raise ConfigError(
                    f"'speedup' is {self.speedup} and '{name}' is {given}, expected one of the two: leave '{name}' at "
                    f"{defaults[name]} to ask for a speedup, or set 'speedup' to 0."
                )
