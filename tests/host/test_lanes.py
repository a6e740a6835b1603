"""What makes a lane: everything that changes what the network computes for a branch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import real
import torch

BASE: dict[str, Any] = {
    "base_model": object(),
    "x": torch.zeros(2, 16, 8, 8),
    "context": torch.zeros(2, 8, 48),
    "control": None,
    "options": {"uuids": ["a", "b"], "cond_or_uncond": [0, 1]},
}


def _lanes(host: real.Host, **changes: Any) -> list[Any]:
    given = BASE | changes
    given["options"] = BASE["options"] | changes.get("options", {})
    lanes: list[Any] = host.module("nodes.lanes").lanes_of(*given.values())
    return lanes


@pytest.mark.parametrize(
    "change",
    [
        {"base_model": object()},
        {"x": torch.zeros(2, 16, 8, 16)},
        {"x": torch.zeros(2, 16, 8, 8, dtype=torch.float16)},
        {"context": torch.zeros(2, 16, 48)},
        {"control": {"output": []}},
        {"options": {"uuids": ["c", "d"]}},
        {"options": {"cond_or_uncond": [1, 0]}},
        {"options": {"patches": {"attn1_patch": [print]}}},
        {"options": {"patches_replace": {"dit": {("double_block", 1): print}}}},
        {"options": {"optimized_attention_override": print}},
        {"options": {"context_window": SimpleNamespace(index_list=[0, 1])}},
    ],
    ids=lambda change: "+".join(
        key for part in change.values() for key in (part if isinstance(part, dict) else change)
    ),
)
def test_what_changes_the_function_changes_the_lane(host: real.Host, change: dict[str, Any]) -> None:
    assert not set(_lanes(host)) & set(_lanes(host, **change))


def test_the_weights_of_a_lane_are_the_hooks_at_the_strength_of_the_moment(host: real.Host) -> None:
    """ComfyUI lays hooked LoRAs over the weights before each pass, as strong as their keyframes say by then."""
    lora, patcher = SimpleNamespace(strength=0.0), SimpleNamespace(current_hooks=None)
    model = SimpleNamespace(current_patcher=patcher)
    seen = [_lanes(host, base_model=model)[0]]
    patcher.current_hooks = SimpleNamespace(hooks=[lora])
    for strength in (0.0, 0.5, 0.5):
        lora.strength = strength
        seen.append(_lanes(host, base_model=model)[0])
    assert len(set(seen)) == 1, "the same lane, so that what is outdated gives its room back"
    assert [lane.weights for lane in seen] == [(), *(((lora, s),) for s in (0.0, 0.5, 0.5))]


def test_batched_and_separate_are_the_same_lanes(host: real.Host) -> None:
    alone = [
        _lanes(
            host, x=BASE["x"][:1], context=BASE["context"][:1], options={"uuids": [u], "cond_or_uncond": [i]}
        )[0]
        for u, i in (("a", 0), ("b", 1))
    ]
    assert alone == _lanes(host)


def test_equal_patches_are_the_same_lane_whatever_dictionary_holds_them(host: real.Host) -> None:
    patches = {"dit": {("double_block", 1): print, ("single_block", 0): len}}
    turned = {"dit": dict(reversed(patches["dit"].items()))}
    assert _lanes(host, options={"patches_replace": patches}) == _lanes(
        host, options={"patches_replace": turned}
    )


def test_bound_methods_of_one_object_are_the_same_patch(host: real.Host) -> None:
    """A method is a new object at every look; as a patch it is still the same."""
    owner = SimpleNamespace()

    class Owner:
        def patch(self) -> None: ...

    owner = Owner()
    first, second = ({"patches": {"attn1_patch": [owner.patch]}} for _ in range(2))
    assert _lanes(host, options=first) == _lanes(host, options=second)
    assert _lanes(host, options=first) != _lanes(host, options={"patches": {"attn1_patch": [Owner().patch]}})


def test_session_is_gone_from_the_guider_after_the_run(
    host: real.Host, flux: Any, cached: Callable[..., Any]
) -> None:
    from comfy.patcher_extension import WrappersMP

    seen: list[bool] = []

    def outside(executor: Any, *args: Any, **kwargs: Any) -> Any:
        result = executor(*args, **kwargs)
        seen.append("feature_cache" in executor.class_obj.model_options["transformer_options"])
        return result

    flux.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "outside", outside)
    real.sample(cached(flux))
    assert seen == [False]


def test_calls_of_the_network_outside_a_run_pass_through(flux: Any, cached: Callable[..., Any]) -> None:
    """A node that asks the network for something by itself gets the network's own answer."""
    import comfy.model_management

    model = cached(flux)
    comfy.model_management.load_models_gpu([model])
    x, sigma = torch.randn(1, 16, 8, 8), torch.tensor([0.5])
    context, pooled = real.conditioning(1)[0]
    options = {"wrappers": model.wrappers, "uuids": ["a"], "cond_or_uncond": [0]}
    with torch.inference_mode():
        plain = flux.model.apply_model(x, sigma, c_crossattn=context, y=pooled["pooled_output"])
        wrapped = flux.model.apply_model(
            x, sigma, c_crossattn=context, y=pooled["pooled_output"], transformer_options=options
        )
    assert torch.equal(plain, wrapped)
