"""The classifier reads held-out pictures, its file is refused when it is not whole, and its training learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image is not installed")

from metrics.accuracy import find_attributes
from metrics.classifier import CHECKPOINT, KIND, NUM_FEATURES, Classifier, load_classifier, pooled
from metrics.labels import HEADS, SITES, label_scenes
from metrics.observation import join, observe
from metrics.study.measure import render_scenes
from metrics.training import ClassifierTask, disturb, draw_rows, reading_loss
from safetensors.torch import load_file, save_file
from zoo.scenes import sample_scene
from zoo.training import Settings, run_training

NUM_HELD_OUT = 64


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.set_num_threads(1)
    return load_classifier()


def noise(count: int, side: int = 128) -> torch.Tensor:
    return torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(0))


def test_held_out_pictures_are_read_well(classifier):
    labels = label_scenes([sample_scene(0, index, "held-out") for index in range(NUM_HELD_OUT)])
    seen = observe(classifier, render_scenes(range(NUM_HELD_OUT), 192))
    findings = find_attributes(seen.reading, labels)
    assert findings.accuracy().mean() > 0.8
    assert findings.by_kind()["colour"] > 0.9
    assert findings.by_kind()["place"] > 0.9


def test_captions_of_other_pictures_are_not_found(classifier):
    labels = label_scenes([sample_scene(0, index, "held-out") for index in range(1, NUM_HELD_OUT + 1)])
    seen = observe(classifier, render_scenes(range(NUM_HELD_OUT), 128))
    assert find_attributes(seen.reading, labels).accuracy().mean() < 0.4


def test_every_head_answers_once_per_site():
    scores = Classifier()(torch.zeros(2, 3, 128, 128))
    assert {name: tuple(score.shape) for name, score in scores.items()} == {
        head.name: (2, len(SITES[head.site]), len(head.words)) for head in HEADS
    }


def test_what_is_seen_does_not_depend_on_the_batch(classifier):
    pictures = noise(3)
    whole, parts = observe(classifier, pictures), join([observe(classifier, one[None]) for one in pictures])
    assert torch.allclose(whole.summary, parts.summary, atol=1e-4)
    assert [tuple(maps.shape) for maps in whole.maps] == [(3, 48, 32, 32), (3, 96, 16, 16), (3, 192, 8, 8)]


@pytest.mark.parametrize("side", [64, 192, 272])
def test_pictures_of_any_size_are_read(classifier, side):
    seen = observe(classifier, noise(1, side))
    assert seen.summary.shape == (1, NUM_FEATURES)
    assert seen.summary.isfinite().all()


def test_the_summary_keeps_the_axes_of_most_variance():
    model = Classifier()
    vectors = torch.randn(800, 384, generator=torch.Generator().manual_seed(0)) * torch.linspace(
        3.0, 0.1, 384
    )
    model.fit_projection(vectors)
    projected = (vectors - model.centre) @ model.projection
    deviations = projected.std(dim=0)
    assert float(deviations.square().sum()) == pytest.approx(1.0, abs=1e-3)
    assert bool((deviations.diff() <= 1e-6).all()), "from most to least"


def test_pooling_gives_means_then_deviations():
    maps = torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 2.0], [0.0, 2.0]])])[None]
    expected = torch.tensor([[0.0, 1.0, 0.0, (4.0 / 3.0) ** 0.5]])
    assert torch.allclose(pooled(maps), expected)


# --- bad files -------------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'"none\.safetensors" gives no file.*zoo train classifier'):
        load_classifier(tmp_path / "none.safetensors")


@pytest.mark.parametrize("length", [0, 7, 1000, -1000])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(CHECKPOINT.read_bytes()[:length])
    with pytest.raises(ValueError, match="damaged or of another format"):
        load_classifier(path)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata={"kind": "something else"})
    with pytest.raises(ValueError, match='a file of kind "something else"; expected the zoo'):
        load_classifier(path)


def changed(path: Path, name: str, value: torch.Tensor) -> Path:
    save_file({**load_file(CHECKPOINT), name: value}, path, metadata={"kind": KIND})
    return path


def test_a_file_of_other_shapes_is_refused(tmp_path):
    path = changed(tmp_path / "shapes.safetensors", "centre", torch.zeros(3))
    with pytest.raises(ValueError, match="differ in name or shape: centre"):
        load_classifier(path)


def test_a_file_with_values_that_are_not_finite_is_refused(tmp_path):
    path = changed(tmp_path / "nan.safetensors", "centre", torch.full((384,), float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        load_classifier(path)


# --- training --------------------------------------------------------------------------------------------------


def test_half_of_every_batch_is_decoded():
    rows = draw_rows(400, torch.Generator().manual_seed(0))
    assert len(rows) == 16
    assert int((rows < 100).sum()) == 8


def test_disturbing_is_light_and_repeatable():
    pictures = noise(4).permute(0, 3, 1, 2).contiguous() * 0 + 0.5
    first, second = (disturb(pictures, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, pictures)
    assert float((first - pictures).abs().mean()) < 0.1


def test_certain_and_right_answers_cost_nothing():
    labels = label_scenes([sample_scene(0, index) for index in range(8)])
    scores = {
        head.name: 50.0 * torch.nn.functional.one_hot(labels[head.name].clamp(min=0), len(head.words)).float()
        for head in HEADS
    }
    assert float(reading_loss(scores, labels)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_training_lowers_the_loss_and_a_resumed_run_equals_an_uninterrupted_one(host_path, tmp_path):
    def task() -> ClassifierTask:
        return ClassifierTask(0, 1, tmp_path, num_pictures=64)

    whole, first, second = task(), task(), task()
    losses = [whole.advance(step, 0.0)[0] for step in range(14)]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    for step in range(7):
        first.advance(step, 0.0)
    second.restore(first.state())
    assert [second.advance(step, 0.0)[0] for step in range(7, 14)] == losses[7:]


@pytest.mark.slow
def test_an_exported_classifier_is_loaded_again(host_path, tmp_path):
    task = ClassifierTask(0, 1, tmp_path, num_pictures=64)
    run_training(task, Settings(minutes=0.001, seed=0, work=tmp_path, resume=False))
    task.export(tmp_path / "made.safetensors")
    assert load_classifier(tmp_path / "made.safetensors").projection.abs().sum() > 0.0
