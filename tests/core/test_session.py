"""The session on a toy whose block triples its stream: 1 -> 3 -> 9."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import toy
from torch import Tensor, nn

import cache_core
from cache_core import CacheError, FeatureError, Level, Site

ONE, TEN = torch.ones(1, 1), torch.full((1, 1), 10.0)


def test_computes_reuses_and_counts() -> None:
    session, network = toy.open_session(toy.fora(interval=2, anchor="start")), toy.ToyDiT()
    assert toy.call(session, network, ONE, [toy.lane()]).item() == 9
    # The MLP outputs of the first call were 2 and 6; they are added to whatever comes in.
    assert toy.call(session, network, TEN, [toy.lane()]).item() == 18
    assert network.num_runs == 2
    report = session.close(seconds=1.0)
    assert (report.num_computed, report.num_reused, report.refresh_ratio) == (2, 2, 0.5)
    assert (report.peak_bytes, report.end_bytes) == (8, 0)


def test_branches_keep_their_own_features() -> None:
    session, network = toy.open_session(toy.fora(interval=2, anchor="start")), toy.ToyDiT()
    both = [toy.lane("cond"), toy.lane("uncond")]
    toy.call(session, network, torch.cat((ONE, TEN)), both)
    assert toy.call(session, network, torch.zeros(2, 1), both).flatten().tolist() == [8, 80]


def test_branches_are_found_by_name_not_by_order() -> None:
    session, network = toy.open_session(toy.fora(interval=2, anchor="start")), toy.ToyDiT()
    toy.call(session, network, torch.cat((ONE, TEN)), [toy.lane("cond"), toy.lane("uncond")])
    swapped = toy.call(session, network, torch.zeros(2, 1), [toy.lane("uncond"), toy.lane("cond")])
    assert swapped.flatten().tolist() == [80, 8]


def test_branch_without_history_computes_while_the_other_reuses() -> None:
    session, network = toy.open_session(toy.fora(interval=2, anchor="start")), toy.ToyDiT()
    toy.call(session, network, ONE, [toy.lane("cond")])
    mixed = toy.call(session, network, torch.cat((TEN, TEN)), [toy.lane("cond"), toy.lane("new")])
    assert mixed.flatten().tolist() == [18, 90]
    report = session.close(seconds=1.0)
    assert (report.calls[1].computed, report.calls[1].reused) == ((1, 1), (1, 1))


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": (2, 2)},
        {"dtype": torch.float16},
        {"device": torch.device("meta")},
        {"variant": "skip-layer guidance"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_lane_recomputes_once_then_resumes(changed: dict[str, object]) -> None:
    session, network = toy.open_session(toy.fora(interval=3, anchor="start"), steps=6), toy.ToyDiT()
    toy.call(session, network, ONE, [toy.lane()])
    toy.call(session, network, ONE, [toy.lane(**changed)])
    assert network.num_runs == 4
    toy.call(session, network, ONE, [toy.lane(**changed)])
    assert network.num_runs == 4


def test_a_lane_under_other_weights_recomputes_once_and_keeps_no_more_than_before() -> None:
    session, network = toy.open_session(toy.fora(interval=4, anchor="start"), steps=4), toy.ToyDiT()
    light, heavy = (toy.lane(weights=(("lora", strength),)) for strength in (0.0, 1.0))
    runs = []
    for lane in (light, heavy, heavy, light):
        toy.call(session, network, ONE, [lane])
        runs.append(network.num_runs)
        assert session.store.num_bytes == 8
    assert runs == [2, 4, 4, 6]


def test_a_lane_that_decides_forgets_what_it_showed_under_other_weights() -> None:
    session, network = toy.open_session(toy.threshold(threshold=100.0)), toy.ToyDiT()
    for strength in (0.0, 0.0, 1.0, 1.0):
        toy.call(session, network, ONE, [toy.lane(weights=strength)])
    assert [call.full for call in session.close(seconds=1.0).calls] == [True, False, True, False]


def test_a_lane_that_comes_twice_in_a_call_is_never_cached() -> None:
    session, network = toy.open_session(toy.fora(interval=4, anchor="start")), toy.ToyDiT()
    twice = [toy.lane(), toy.lane()]
    for _ in range(2):
        assert toy.call(session, network, torch.cat((ONE, TEN)), twice).flatten().tolist() == [9, 90]
    assert session.close(seconds=1.0).num_reused == 0
    assert session.store.peak_bytes == 0


def test_a_lane_that_becomes_ambiguous_is_forgotten() -> None:
    session, network = toy.open_session(toy.fora(interval=4, anchor="start")), toy.ToyDiT()
    toy.call(session, network, ONE, [toy.lane()])
    assert session.store.num_bytes == 8
    toy.call(session, network, torch.cat((ONE, TEN)), [toy.lane(), toy.lane()])
    assert session.store.num_bytes == 0
    assert toy.call(session, network, TEN, [toy.lane()]).item() == 90


def test_reuse_that_is_not_allowed_computes() -> None:
    policy, network = toy.fora(interval=2, anchor="start"), toy.ToyDiT()
    session = toy.open_session(policy, reuse_from=0.8, reuse_to=0.6)
    toy.call(session, network, ONE, [toy.lane()], sigma=0.9)
    assert toy.call(session, network, TEN, [toy.lane()], sigma=0.81).item() == 90
    toy.call(session, network, TEN, [toy.lane()], sigma=0.59)
    assert network.num_runs == 6
    toy.call(session, network, TEN, [toy.lane()], sigma=0.8)


def test_features_that_branches_cannot_share_are_refused() -> None:
    session, network = toy.open_session(toy.fora()), toy.ToyDiT()
    with pytest.raises(FeatureError, match=r"'blocks.0.mlp' has shape \(3, 1\), which 2 branches"):
        toy.call(session, network, torch.ones(3, 1), [toy.lane("a"), toy.lane("b")])


def test_an_exception_ends_the_call_and_the_patches() -> None:
    session, network = toy.open_session(toy.fora()), toy.ToyDiT()
    with pytest.raises(RuntimeError):
        toy.call(session, network, torch.ones(1, 1, dtype=torch.int32).requires_grad_(), [toy.lane()])
    with pytest.raises(KeyboardInterrupt):
        network.blocks[1].register_forward_hook(_interrupt)
        toy.call(session, network, ONE, [toy.lane()])
    assert session.call is None
    assert all("forward" not in vars(module) for module in network.modules())


def test_skipped_work_that_nobody_makes_good_is_an_error() -> None:
    """A stack whose last block is not run in a reused call must not give a plausible wrong picture."""
    session, network = toy.open_session(toy.fora(interval=2, anchor="start")), _Leaky()
    with session.open_call(1.0), session.open_pass(network, [toy.lane()]) as opened:
        opened.settle(_Leaky.site, (ONE,))
    with pytest.raises(CacheError, match=r"leaky.0.residual"):  # noqa: SIM117 - the pass raises on leaving
        with session.open_call(0.5), session.open_pass(network, [toy.lane()]) as opened:
            opened.promise(_Leaky.site)


def test_unknown_networks_are_refused_with_what_is_supported() -> None:
    session = toy.open_session(toy.fora())
    with pytest.raises(cache_core.UnsupportedModelError, match=r"Linear.*Supported families: .*flux"):
        toy.call(session, nn.Linear(1, 1), ONE, [toy.lane()])


def test_known_class_with_other_blocks_is_refused() -> None:
    network = toy.ToyDiT()
    del network.blocks
    with pytest.raises(cache_core.UnsupportedModelError, match="has no list 'blocks'"):
        toy.call(toy.open_session(toy.fora()), network, ONE, [toy.lane()])


def _interrupt(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    raise KeyboardInterrupt


class _Leaky(nn.Module):
    site = Site(level=Level.MODULE, path="leaky", index=0, part="residual")


@cache_core.ADAPTERS.register
class _LeakyAdapter(cache_core.Adapter):
    name = "leaky"
    classes = (cache_core.adapter.class_name(_Leaky),)

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        return []

    @property
    def patch_size(self) -> int:
        return 1

    def block_sites(self, level: Level) -> tuple[Site, ...]:
        return (_Leaky.site,)

    def block_patches(self, level: Level, router: cache_core.Router) -> Iterator[cache_core.ForwardPatch]:
        return iter(())
