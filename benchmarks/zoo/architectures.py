"""What a narrow SD3 or PixArt checkpoint says of its architecture, and what the host's class needs for it.

The host's detection derives SD3's block count from its width and fixes PixArt's width, so that neither loads
narrow; their files carry the missing numbers as JSON in the safetensors metadata.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

METADATA_KEY = "zoo_architecture"
_MAX_NUMBER, _MAX_BLOCKS = 4096, 64


class ArchitectureError(ValueError):
    """The file does not describe a narrow model of the zoo."""


@dataclass(frozen=True, kw_only=True)
class SD3Architecture:
    """A narrow SD3: width 64 per head, RMS norms on queries and keys, dual attention in the first blocks."""

    num_heads: int
    num_blocks: int
    num_dual_blocks: int
    context_width: int
    pooled_width: int

    def unet_config(self) -> dict[str, Any]:
        """What the host's MMDiT is built with."""
        width = 64 * self.num_heads
        embedder = {"in_features": self.context_width, "out_features": width}
        return {
            "in_channels": 16,
            "patch_size": 2,
            "depth": self.num_heads,
            "num_blocks": self.num_blocks,
            "input_size": None,
            "pos_embed_scaling_factor": None,
            "qk_norm": "rms",
            "x_block_self_attn_layers": list(range(self.num_dual_blocks)),
            "adm_in_channels": self.pooled_width,
            "context_embedder_config": {"target": "torch.nn.Linear", "params": embedder},
        }


@dataclass(frozen=True, kw_only=True)
class PixArtArchitecture:
    """A narrow PixArt-Sigma."""

    width: int
    num_heads: int
    num_blocks: int
    context_width: int
    num_tokens: int

    def __post_init__(self) -> None:
        """Refuse what the host's class asserts against.

        Raises:
            ArchitectureError: If the width is not divisible by 4 and by the number of heads.
        """
        if self.width % 4 or self.width % self.num_heads:
            raise ArchitectureError(
                f"its width is {self.width}; expected a multiple of 4 and of its {self.num_heads} heads"
            )

    def unet_config(self) -> dict[str, Any]:
        """What the host's PixArtMS is built with."""
        return {
            "image_model": "pixart_sigma",
            "in_channels": 4,
            "patch_size": 2,
            "hidden_size": self.width,
            "num_heads": self.num_heads,
            "depth": self.num_blocks,
            "caption_channels": self.context_width,
            "model_max_length": self.num_tokens,
            "micro_condition": False,
        }


Architecture = SD3Architecture | PixArtArchitecture
_FAMILIES: dict[str, type[Architecture]] = {"sd3": SD3Architecture, "pixart": PixArtArchitecture}


def to_metadata(architecture: Architecture) -> dict[str, str]:
    """The safetensors metadata that `read_architecture` understands."""
    [family] = [name for name, kind in _FAMILIES.items() if isinstance(architecture, kind)]
    return {METADATA_KEY: json.dumps({"family": family, **asdict(architecture)})}


def read_architecture(metadata: dict[str, str] | None) -> Architecture:
    """Read a file's description of itself; every number is bounded before anything is built from it.

    Args:
        metadata: Metadata of the safetensors file.

    Returns:
        The architecture.

    Raises:
        ArchitectureError: If there is none, or it is not one of ours.
    """
    text = (metadata or {}).get(METADATA_KEY)
    if text is None:
        raise ArchitectureError(f'it has no "{METADATA_KEY}" in its metadata')
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f'its "{METADATA_KEY}" is no JSON: {error}') from error
    family = record.pop("family", None) if isinstance(record, dict) else None
    if not isinstance(family, str) or family not in _FAMILIES:
        raise ArchitectureError(f'its family is "{family}"; expected one of {sorted(_FAMILIES)}')
    return _build(_FAMILIES[family], record)


def _build(kind: type[Architecture], record: dict[str, Any]) -> Architecture:
    expected = {field.name for field in fields(kind)}
    if record.keys() != expected:
        raise ArchitectureError(f"it describes {sorted(record)}; expected {sorted(expected)}")
    wrong = {name: value for name, value in record.items() if not _is_sensible(name, value)}
    if wrong:
        raise ArchitectureError(
            f"{wrong} must be whole numbers from 1 to {_MAX_NUMBER} (blocks: {_MAX_BLOCKS})"
        )
    return kind(**record)


def _is_sensible(name: str, value: object) -> bool:
    least = 0 if name == "num_dual_blocks" else 1
    most = _MAX_BLOCKS if name.endswith("_blocks") else _MAX_NUMBER
    return type(value) is int and least <= value <= most
