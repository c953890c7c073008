"""The peak memory that a run records on a CPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sparsegrad_cli.training.callbacks import CostMeter
from sparsegrad_cli.training.memory import CPUPeak, live_bytes, optimizer_tensors, storage_bytes

ARGUMENTS = SimpleNamespace(device=torch.device("cpu"))
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
            meter.on_step_begin(ARGUMENTS, None, None)
            meter.sees_batch(self.model, self.optimizer, self.batch, [self.batch])
            self.step()
            meter.on_step_end(ARGUMENTS, None, None)

    def peak_of_next_step(self) -> int:
        measured = CPUPeak()
        measured.start(live_bytes(self.model, self.optimizer, [self.batch]))
        self.step()
        return measured.stop()


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_peak_covers_what_the_optimizers_state_grows_by(is_restarted):
    training, meter = Training(), CostMeter()
    training.watched_steps(meter, 20)
    if is_restarted:
        meter = CostMeter.from_state(meter.state())
        training.watched_steps(meter, 20)
    measured = training.peak_of_next_step()
    meter.on_train_end(ARGUMENTS, None, None)
    assert meter.peak_bytes == pytest.approx(measured, rel=0.05)
    assert meter.peak_bytes > 0.99 * measured


def test_shared_storage_counts_once_and_fake_tensors_count():
    A = torch.zeros(10, 10)
    assert storage_bytes([A, A[:3], A.T, torch.zeros(5)]) == 4 * 105
    assert storage_bytes([torch.empty(10, device="meta"), torch.empty(7, device="meta")]) == 4 * 17
    adam = torch.optim.Adam([nn.Parameter(A)])
    assert optimizer_tensors(adam) == []
