"""TeaCache's published polynomials, by model: coefficients from the highest power to the constant.

"TeaCache" is ali-vilab/TeaCache, "ComfyUI-TeaCache" welltop-cn/ComfyUI-TeaCache, "vllm-omni" vllm-project/vllm-omni,
"TRT-LLM" NVIDIA/TensorRT-LLM. There are none for SD3, SD3.5, PixArt, Chroma and Flux.1 schnell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IDENTITY = "identity"
"""Name of P(d) = d, for a model that nobody has calibrated."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What tells published networks from each other.

    Attributes:
        family: Name of the adapter.
        blocks: Name and length of each list of blocks.
        width: Numbers per token.
        in_channels: Numbers per token of the network's input.
        guided: Whether the network is told a guidance scale.
    """

    family: str
    blocks: tuple[tuple[str, int], ...]
    width: int
    in_channels: int
    guided: bool


@dataclass(frozen=True, slots=True)
class Published:
    """One polynomial and where it was published; `shape` only where the network is one this pack supports."""

    coefficients: tuple[float, ...]
    source: str
    shape: Shape | None = None


FLUX_DEV = Shape("flux", (("double_blocks", 19), ("single_blocks", 38)), 3072, 64, guided=True)

PUBLISHED: Mapping[str, Published] = {
    IDENTITY: Published((0.0, 0.0, 0.0, 1.0, 0.0), "no calibration: the change itself"),
    "flux.1-dev": Published(
        (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861), "TeaCache, TeaCache4FLUX", FLUX_DEV
    ),
    "flux.1-kontext-dev": Published(
        (-1046.55119, 312.563399, -16.9500694, 0.410995971, 0.0374537863), "ComfyUI-TeaCache", FLUX_DEV
    ),
    # The same numbers as for Wan 2.1: most likely a copy, not a calibration.
    "flux.2-dev": Published(
        (257151.496, -35422.9917, 1402.86849, -13.5890334, 0.132517977), "TRT-LLM; equals wan2.1-i2v-480p-ret"
    ),
    "longcat-image": Published((652.598, -424.1615, 84.5526, -4.5923, 0.1694), "vllm-omni"),
    "qwen-image": Published(
        (-450.0, 280.0, -45.0, 3.2, -0.02), "vllm-omni, set by hand; also z-image, flux.2"
    ),
    "lumina-next": Published(
        (393.76566581, -603.50993606, 209.10239044, -23.00726601, 0.86377344),
        "TeaCache; Lumina 2, first version",
    ),
    "lumina-2": Published(
        (225.7042019806413, -608.8453716535591, 304.1869942338369, 124.21267720116742, -1.4089066892956552),
        "TeaCache; Lumina 2, second version",
    ),
    "lumina-2-comfyui": Published(
        (-874.643948, 466.059906, -75.1559762, 5.32836175, -0.0327258296), "ComfyUI-TeaCache"
    ),
    "hidream-i1-full": Published(
        (-31360.5009, -712.425503, 49.1363285, 8.2651549, 0.108053901), "TeaCache; of the timestep embedding"
    ),
    "hidream-i1-dev": Published(
        (1.39997273, -4.30130469, 5.01534416, -2.20504164, 0.93942874), "ComfyUI-TeaCache"
    ),
    "hidream-i1-fast": Published(
        (2.26509623, -6.88864563, 7.61123826, -3.10849353, 0.99927602), "ComfyUI-TeaCache"
    ),
    "hunyuan-image-3": Published(
        (104.117826, -126.848482, 56.8168652, -10.418257, 0.678098549), "vllm-omni; of the timestep embedding"
    ),
    "bagel": Published((1333131.29, -168644.226, 7950.5074, -163.747873, 1.26352397), "vllm-omni"),
    "stable-audio": Published(
        (121.774905457, -153.744942616, 68.053685746, -12.281286413, 1.073390501), "vllm-omni"
    ),
    "ltx-video": Published((21.4700694, -12.8016453, 2.31279151, 0.792487521, 0.00969274326), "TeaCache"),
    "hunyuan-video": Published((733.226126, -401.131952, 67.5869174, -3.149878, 0.0961237896), "TeaCache"),
    "mochi": Published((-3512.41319, 811.675948, -60.9400215, 2.42429681, 0.00305291719), "TeaCache"),
    "cosmos": Published((271.156237, -91.9775607, 2.2443725, 2.08355751, 0.14177633), "TeaCache"),
    "cogvideox-2b": Published((-31.0658903, 25.4732368, -5.92380459, 1.75769064, -0.00361568434), "TeaCache"),
    "cogvideox-5b": Published(
        (-1538.80483, 843.202495, -134.363087, 7.97131516, -0.0523162339), "TeaCache; also its I2V, ConsisID"
    ),
    "cogvideox-1.5-5b": Published(
        (250.210439, -165.061612, 35.7804877, -0.781551492, 0.0358559703), "TeaCache"
    ),
    "cogvideox-1.5-5b-i2v": Published(
        (122.842302, -104.088754, 26.2981677, -0.306009921, 0.037121322), "TeaCache"
    ),
    "open-sora-1.2": Published((217.546007, -118.329252, 26.8662585, -0.0459364272, 0.048442624), "TeaCache"),
    "open-sora-plan": Published((205943.668, -14875.9286, 306.085986, 1.3141808, 0.00239658469), "TeaCache"),
    "latte": Published((-2464.34137, 308.044764, 80.7447667, -4.11385132, 0.111001402), "TeaCache"),
    "wan2.1-t2v-1.3b": Published(
        (2396.76752, -1311.10545, 201.331979, -8.29855975, 0.137887774), "TeaCache; of the timestep embedding"
    ),
    "wan2.1-t2v-14b": Published(
        (-5784.54975374, 5449.50911966, -1811.16591783, 256.27178429, -13.02252404), "TeaCache"
    ),
    "wan2.1-i2v-480p": Published(
        (-302.33167, 223.948934, -52.546397, 5.8734844, -0.201973289), "TeaCache; of the timestep embedding"
    ),
    "wan2.1-i2v-720p": Published(
        (-114.36346466, 65.26524496, -18.82220707, 4.91518089, -0.23412683),
        "TeaCache; of the timestep embedding",
    ),
    "wan2.1-t2v-1.3b-ret": Published(
        (-52186.2437, 9230.41404, -528.275948, 13.6987616, -0.0499875664),
        "TeaCache; of the timestep embedding",
    ),
    "wan2.1-t2v-14b-ret": Published(
        (-303318.725, 49053.7029, -2655.30556, 58.7365115, -0.315583525),
        "TeaCache; of the timestep embedding",
    ),
    "wan2.1-i2v-480p-ret": Published(
        (257151.496, -35422.9917, 1402.86849, -13.5890334, 0.132517977), "TeaCache; of the timestep embedding"
    ),
    "wan2.1-i2v-720p-ret": Published(
        (8107.0546, 2133.93892, -372.934672, 16.6203073, -0.0417769401), "TeaCache; of the timestep embedding"
    ),
}


def published_for(shape: Shape | None) -> tuple[str, ...]:
    """Return the names of what was published for networks of this shape, in the order of the table."""
    return tuple(name for name, entry in PUBLISHED.items() if shape is not None and entry.shape == shape)
