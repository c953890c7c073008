"""The speed and the peak memory that a run records."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import TrainerControl

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


def test_shared_storage_counts_once_and_fake_tensors_count():
    A = torch.zeros(10, 10)
    assert storage_bytes([A, A[:3], A.T, torch.zeros(5)]) == 4 * 105
    assert storage_bytes([torch.empty(10, device="meta"), torch.empty(7, device="meta")]) == 4 * 17
    adam = torch.optim.Adam([nn.Parameter(A)])
    assert optimizer_tensors(adam) == []
