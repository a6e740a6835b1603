"""The training loop and its parts, without a host."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field

import pytest
import torch
from safetensors import safe_open
from torch import nn
from zoo.training import Average, Settings, Workers, initialise, run_training, warmup_cosine, write_checkpoint


@dataclass
class CountingTask:
    name: str = "counting"
    seen: list[int] = field(default_factory=list)

    def advance(self, step, progress):
        assert 0.0 <= progress < 1.0
        self.seen.append(step)
        return 1.0, 4

    def state(self):
        return {"last": self.seen[-1]}

    def restore(self, state):
        self.seen = [state["last"]]


def _settings(tmp_path, *, minutes=0.0005, resume=False):
    return Settings(minutes=minutes, seed=0, work=tmp_path, resume=resume)


def test_the_loop_stops_at_its_budget_and_logs(tmp_path):
    task = CountingTask()
    log = run_training(task, _settings(tmp_path))
    assert task.seen == list(range(len(task.seen)))
    with log.open(encoding="ascii") as file:
        assert next(csv.reader(file)) == ["step", "seconds", "images", "loss", "images_per_second"]


def test_a_resumed_run_goes_on_where_it_stopped(tmp_path):
    first = CountingTask()
    run_training(first, _settings(tmp_path))
    second = CountingTask()
    run_training(second, _settings(tmp_path, minutes=0.001, resume=True))
    assert second.seen[0] == first.seen[-1]
    assert second.seen[1] == first.seen[-1] + 1


def test_a_resumed_run_drops_log_rows_after_its_state(tmp_path):
    task = CountingTask()
    log = run_training(task, _settings(tmp_path))
    last = task.seen[-1]
    with log.open("a", encoding="ascii") as file:
        file.write(f"{last},1.0,4,0.5,4.0\n{last + 100},9.0,4,0.5,4.0\n")
    run_training(CountingTask(), _settings(tmp_path, resume=True))
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["step", str(last)]


def test_resuming_without_a_state_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="start without --resume"):
        run_training(CountingTask(), _settings(tmp_path, resume=True))


def test_shares_of_a_batch_give_the_gradient_of_the_whole():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    batch = torch.randn(8, 3)
    model(batch).square().mean().backward()
    whole = model.weight.grad.clone()
    workers = Workers(model, 2)
    loss = workers.differentiate([lambda part=part: model(part).square().mean() for part in batch.chunk(2)])
    torch.testing.assert_close(model.weight.grad, whole)
    assert loss == pytest.approx(float(model(batch).square().mean().detach()))


def test_optimisers_of_different_parameters_all_step():
    models = [nn.Linear(2, 2), nn.Linear(2, 2)]
    before = [model.weight.detach().clone() for model in models]
    for model in models:
        model.weight.grad = torch.ones(2, 2)
    Workers(models[0], 2).step([torch.optim.SGD([model.weight], lr=1.0) for model in models])
    for model, weight in zip(models, before, strict=True):
        torch.testing.assert_close(model.weight.detach(), weight - 1.0)


def test_convolutions_get_finite_weights_too():
    model = nn.Conv2d(4, 4, 2)
    nn.init.constant_(model.weight, float("nan"))
    initialise(model)
    assert torch.isfinite(model.weight).all()


def test_the_average_follows_slowly():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average(model, decay=0.9)
    nn.init.ones_(model.weight)
    average.update(model, step=1000)
    assert float(average.tensors["weight"]) == pytest.approx(0.1)


def test_the_learning_rate_rises_and_falls():
    assert warmup_cosine(0, 0.0, 100) == pytest.approx(0.01)
    assert warmup_cosine(500, 0.0, 100) == pytest.approx(1.0)
    assert warmup_cosine(500, 1.0, 100) == pytest.approx(0.02)


def test_uninitialised_layers_get_finite_weights():
    model = nn.Linear(4, 4)
    nn.init.constant_(model.weight, float("nan"))
    initialise(model)
    assert torch.isfinite(model.weight).all()


def test_a_checkpoint_is_half_precision_and_readable(tmp_path):
    path = tmp_path / "folder" / "model.safetensors"
    write_checkpoint({"a": torch.ones(2, 2)}, path, {"kind": "test"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "kind": "test"}
        assert file.get_tensor("a").dtype == torch.float16
    assert path.stat().st_mode & 0o777 == 0o644
