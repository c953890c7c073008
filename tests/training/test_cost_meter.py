"""The speed and the peak memory that a run records."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, TrainerControl

from sparsegrad_cli.core import calibrate
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import MethodConfig
from sparsegrad_cli.models.random import random_classifier
from sparsegrad_cli.training.callbacks import CostMeter
from sparsegrad_cli.training.memory import CPUPeak, live_bytes, optimizer_tensors, storage_bytes

ARGUMENTS = SimpleNamespace(device=torch.device("cpu"))
CONTROL = TrainerControl()
GROWTH = 2_000  # entries that the optimizer's state grows by at each step


class GrowingAdam(torch.optim.SGD):
    """An optimizer whose state grows from step to step, as that of a masked Adam does."""

    def step(self) -> None:
        for p in self.param_groups[0]["params"]:
            self.state[p][len(self.state[p])] = torch.zeros(GROWTH)


class Training:
    """A model that takes steps on batches of one size."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8))
        self.optimizer = GrowingAdam(self.model.parameters(), lr=0.1)
        self.batch = torch.zeros(32, 64)

    def step(self) -> None:
        self.model(self.batch).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def watched_steps(self, meter: CostMeter, count: int) -> None:
        for _ in range(count):
            meter.on_step_begin(ARGUMENTS, None, CONTROL)
            meter.sees_batch(self.model, self.optimizer, {"input_ids": self.batch})
            self.step()
            meter.on_step_end(ARGUMENTS, None, CONTROL)

    def peak_of_next_step(self) -> int:
        measured = CPUPeak()
        measured.start(live_bytes(self.model, self.optimizer, [self.batch]))
        self.step()
        return measured.stop()


class Clock:
    """A device and a clock: steps take what they are said to, and waits for the device are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
        self.now, self.waits = 0.0, 0
        self.arguments = SimpleNamespace(device=torch.device(device))
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr(torch.cuda, "synchronize", self.wait)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)

    def wait(self) -> None:
        self.waits += 1

    def steps(self, meter: CostMeter, *seconds: float, saves_last: bool = False) -> None:
        self.now += 0.25  # an evaluation or a checkpoint
        for number, each in enumerate(seconds, 1):
            control = TrainerControl(should_save=saves_last and number == len(seconds))
            meter.on_step_begin(self.arguments, None, control)
            self.now += each
            meter.on_step_end(self.arguments, None, control)


def test_speed_is_that_of_the_median_step_after_burn_in(monkeypatch):
    clock, meter = Clock(monkeypatch, "cpu"), CostMeter()
    assert meter.speed_quartiles() is None
    clock.steps(meter, 100, 100, 100, 2, 2, 50)
    meter = CostMeter.from_state(meter.state())
    clock.steps(meter, 100, 100, 100, 1, 4)
    assert meter.speed_quartiles() == (1 / 4, 1 / 2, 1 / 2)


def test_a_gpu_is_waited_for_once_in_a_window_of_steps(monkeypatch):
    clock, meter = Clock(monkeypatch, "cuda"), CostMeter()
    clock.steps(meter, *[1.0] * CostMeter.BURN_IN)
    clock.waits = 0
    clock.steps(meter, *[1.0] * 8, *[3.0] * 96, saves_last=True)
    assert clock.waits == 2 * 11
    assert meter.speed_quartiles() == (1 / 3, 1 / 3, 1 / 3)
    assert meter.peak_bytes == 5
    clock.steps(meter, 7.0)
    meter.on_epoch_end(clock.arguments, None, CONTROL)
    assert meter.step_seconds[-1] == 7.0
    assert min(meter.step_seconds) >= 1.0


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_peak_covers_what_the_optimizers_state_grows_by(is_restarted):
    training, meter = Training(), CostMeter()
    training.watched_steps(meter, 20)
    if is_restarted:
        meter = CostMeter.from_state(meter.state())
        training.watched_steps(meter, 20)
    measured = training.peak_of_next_step()
    meter.on_train_end(ARGUMENTS, None, CONTROL)
    assert meter.peak_bytes == pytest.approx(measured, rel=0.05)
    assert meter.peak_bytes > 0.99 * measured


SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
SHAPE |= {"vocab_size": 99}
REAL = {
    "ft": MethodConfig(),
    "meprop": MethodConfig(density=0.02, place="backward"),
    "sparsegrad": MethodConfig(density=0.02, place="optimizer"),
    "sparsegrad block": MethodConfig(density=0.02, mask="block"),
}


class RealTraining(Training):
    """A model that a method trains on random batches of one size: it moves other entries at each step."""

    def __init__(self, variant: str) -> None:
        torch.manual_seed(0)
        config = BertConfig(**SHAPE)
        loaded = random_classifier(config)
        basis = None
        if variant.startswith("sparsegrad"):
            basis = calibrate(loaded.model, [self.inputs() for _ in range(3)], 2, 1)
        method_config = replace(REAL[variant], freeze_rest=True)
        method = get_method(variant.split()[0])(loaded.model, loaded.head, method_config, basis)
        self.model, self.optimizer = method.model.train(), method.optimizer(1e-3)
        self.batch = self.inputs()["input_ids"]

    def inputs(self) -> dict[str, Tensor]:
        return {"input_ids": torch.randint(99, (8, 32)), "labels": torch.randint(2, (8,))}

    def step(self) -> None:
        self.model(**self.inputs()).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


@pytest.mark.parametrize("variant", REAL)
def test_the_peak_of_real_optimizers_is_that_of_the_last_step(variant):
    """A masked Adam holds moments of more entries at each step; at the second, which is read, of few."""
    training, meter = RealTraining(variant), CostMeter()
    training.watched_steps(meter, 2)
    early = meter.peak_bytes
    training.watched_steps(meter, 40)
    last = training.peak_of_next_step()
    meter.on_train_end(ARGUMENTS, None, CONTROL)
    assert meter.peak_bytes == pytest.approx(last, rel=0.01)
    assert (early < 0.98 * last) == (variant in ("meprop", "sparsegrad"))


def test_shared_storage_counts_once_and_fake_tensors_count():
    A = torch.zeros(10, 10)
    assert storage_bytes([A, A[:3], A.T, torch.zeros(5)]) == 4 * 105
    assert storage_bytes([torch.empty(10, device="meta"), torch.empty(7, device="meta")]) == 4 * 17
    adam = torch.optim.Adam([nn.Parameter(A)])
    assert optimizer_tensors(adam) == []
