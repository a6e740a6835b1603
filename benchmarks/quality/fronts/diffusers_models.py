"""The zoo's models as diffusers builds them: the same weights, behind the forward pass that ComfyUI's sampler calls.

Sampler, guidance, conditioning and decoding stay ComfyUI's own; only the code of the network is another. Weights go over by the
maps of names that ComfyUI and diffusers keep themselves, and a pass of both must agree before anything is drawn.

B pictures, C latent channels, h latent side, T text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from zoo.captions import POOLED_WIDTH, WIDTH
from zoo.sampling import Pipeline

_PATCH = 2
ROUNDING = 1e-4
"""Most that a pass of both networks may differ by, relative to the largest output; float32 adds up to about 1e-6."""

Weights = Mapping[str, Tensor]
Call = Callable[[Any, Tensor, Tensor, Tensor, Tensor | None], Tensor]


class EqualityError(RuntimeError):
    """Two networks of the same weights disagree."""


@dataclass(frozen=True)
class Kind:
    """How a family looks in diffusers.

    Attributes:
        build: From ComfyUI's network and the latent side to diffusers' network with its weights.
        call: That network on latents (B, C, h, h), timesteps (B,), context (B, T, D) and pooled (B, P), to (B, C, h, h).
        time_scale: Of the timesteps that ComfyUI passes; the noisiest one.
    """

    build: Callable[[Any, int], Any]
    call: Call
    time_scale: float


class HostNetwork(nn.Module):
    """A network of diffusers in the place of ComfyUI's."""

    def __init__(self, transformer: Any, call: Call) -> None:
        """Take the network and how it is called."""
        super().__init__()
        self.transformer, self._call, self.dtype = transformer, call, transformer.dtype

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None, **_: object
    ) -> Tensor:
        """(B, C, h, h) to the same, as ComfyUI calls its own; PixArt without `y`."""
        return self._call(self.transformer, x, timesteps, context, y)


def with_diffusers(pipeline: Pipeline, family: str) -> Pipeline:
    """Give the MODEL of a pipeline diffusers' network, and return the pipeline.

    Args:
        pipeline: Loaded for this alone.
        family: Name of the model.

    Raises:
        EqualityError: If a pass of both does not agree.
    """
    kind, model, side = KINDS[family], pipeline.model.model, pipeline.size // 8
    own = HostNetwork(kind.build(model.diffusion_model, side).eval().requires_grad_(False), kind.call)
    difference = disagreement(model.diffusion_model, own, (2, pipeline.channels, side, side), kind.time_scale)
    if not difference < ROUNDING:
        raise EqualityError(
            f"diffusers' {family} differs from ComfyUI's by {difference:.2g} of its largest output on the same weights; "
            f"expected less than {ROUNDING:g}; leave cache-dit out, or take a diffusers that fits this ComfyUI"
        )
    model.diffusion_model = own
    return pipeline


@torch.inference_mode()
def disagreement(host: Any, own: HostNetwork, shape: tuple[int, int, int, int], time_scale: float) -> float:
    """Return the largest difference of two networks on the same noise, over the largest output."""
    dice = torch.Generator().manual_seed(0)
    noisy = torch.randn(shape, generator=dice)
    context = torch.randn(shape[0], 8, WIDTH, generator=dice)
    pooled = torch.randn(shape[0], POOLED_WIDTH, generator=dice)
    time = torch.full((shape[0],), 0.7 * time_scale)
    expected = host(noisy, time, context=context, y=pooled, transformer_options={})
    got = own(noisy, time, context=context, y=pooled)
    return float((got - expected).abs().max() / expected.abs().max())


def _flux(host: Any, _: int) -> Any:
    from comfy.utils import flux_to_diffusers
    from diffusers import FluxTransformer2DModel

    given = host.params
    network = FluxTransformer2DModel(
        in_channels=given.in_channels * _PATCH**2,
        num_layers=given.depth,
        num_single_layers=given.depth_single_blocks,
        attention_head_dim=given.hidden_size // given.num_heads,
        num_attention_heads=given.num_heads,
        joint_attention_dim=given.context_in_dim,
        pooled_projection_dim=given.vec_in_dim,
        axes_dims_rope=tuple(given.axes_dim),
    )
    # diffusers' own conversion of Flux holds the width of FLUX.1 as a number, so ComfyUI's map is taken.
    return _mapped(network, host.state_dict(), flux_to_diffusers(vars(given)))


def _sd3(host: Any, side: int) -> Any:
    from diffusers import SD3Transformer2DModel
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    network = SD3Transformer2DModel(
        sample_size=side,
        num_layers=len(host.joint_blocks),
        attention_head_dim=host.hidden_size // host.num_heads,
        num_attention_heads=host.num_heads,
        joint_attention_dim=host.context_embedder.in_features,
        caption_projection_dim=host.hidden_size,
        pooled_projection_dim=POOLED_WIDTH,
        pos_embed_max_size=side // _PATCH,
        dual_attention_layers=tuple(host.x_block_self_attn_layers),
        qk_norm="rms_norm",
    )
    # The zoo's file holds no positions: ComfyUI computes them, for diffusers they are weights.
    positions = host.cropped_pos_embed((side, side)).reshape(1, -1, host.hidden_size)
    converted = convert_sd3_transformer_checkpoint_to_diffusers({**host.state_dict(), "pos_embed": positions})
    network.load_state_dict(converted)
    return network


def _pixart(host: Any, side: int) -> Any:
    from comfy.utils import pixart_to_diffusers
    from diffusers import PixArtTransformer2DModel

    network = PixArtTransformer2DModel(
        num_attention_heads=host.num_heads,
        attention_head_dim=host.hidden_size // host.num_heads,
        in_channels=host.in_channels,
        out_channels=host.out_channels,
        num_layers=host.depth,
        cross_attention_dim=host.hidden_size,
        sample_size=side,
        # ComfyUI lays the patches of a picture this small over the 32 of a larger one.
        interpolation_scale=side / _PATCH / _PIXART_BASE,
        use_additional_conditions=False,
        caption_channels=WIDTH,
    )
    keys = pixart_to_diffusers({"depth": host.depth, "hidden_size": host.hidden_size})
    return _mapped(network, host.state_dict(), keys)


_PIXART_BASE = 32


def _mapped(network: Any, weights: Weights, keys: Mapping[str, Any]) -> Any:
    """Load the weights that a map of ComfyUI names for each of diffusers' own."""
    network.load_state_dict({name: taken(weights, keys[name]) for name in network.state_dict()})
    return network


def taken(weights: Weights, source: Any) -> Tensor:
    """A weight by its name, or a part (axis, start, length) of it, changed by a function."""
    if isinstance(source, str):
        return weights[source]
    name, part, *changes = source
    found = weights[name] if part is None else weights[name].narrow(*part)
    for change in changes:
        found = change(found)
    return found


def _call_flux(network: Any, x: Tensor, time: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
    rows, columns = x.shape[2] // _PATCH, x.shape[3] // _PATCH
    packed = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=_PATCH, q=_PATCH)
    places = torch.cartesian_prod(torch.arange(1), torch.arange(rows), torch.arange(columns)).to(x)
    (tokens,) = network(
        packed,
        encoder_hidden_states=context,
        pooled_projections=pooled,
        timestep=time,
        img_ids=places,
        txt_ids=places.new_zeros(context.shape[1], 3),
        return_dict=False,
    )
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=_PATCH, q=_PATCH)


def _call_sd3(network: Any, x: Tensor, time: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
    found: Tensor = network(
        x, encoder_hidden_states=context, pooled_projections=pooled, timestep=time, return_dict=False
    )[0]
    return found


def _call_pixart(network: Any, x: Tensor, time: Tensor, context: Tensor, _: Tensor | None) -> Tensor:
    both: Tensor = network(x, encoder_hidden_states=context, timestep=time, return_dict=False)[0]
    return both[:, : x.shape[1]]


KINDS = {
    "flux": Kind(_flux, _call_flux, 1.0),
    "sd3": Kind(_sd3, _call_sd3, 1000.0),
    "pixart": Kind(_pixart, _call_pixart, 1000.0),
}
