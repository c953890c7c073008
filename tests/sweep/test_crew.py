"""Where workers work: a GPU each, or a share of the cores."""

from __future__ import annotations

import os

import pytest
import torch

from sparsegrad_cli.sweep.crew import Crew
from sparsegrad_cli.sweep.jobs import Job

JOB = Job(storage=None, results="results", studies=())


def environments(workers: int, device: str) -> list[dict[str, str]]:
    crew = Crew([JOB] * workers, device, tell=lambda line: None)
    return [member.environment for member in crew._members]


@pytest.mark.parametrize(
    ("visible", "names"), [(None, ["0", "1", "0"]), ("5,2", ["5", "2", "5"]), ("7", ["7", "7", "7"])]
)
def test_gpus_are_dealt_out_in_turn(monkeypatch, visible, names):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [found["CUDA_VISIBLE_DEVICES"] for found in environments(3, "cuda")] == names


def test_cores_are_shared_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert environments(1, "cpu") == [{}]
    assert environments(3, "cpu") == [{"OMP_NUM_THREADS": "2"}] * 3
    assert environments(20, "cpu")[0] == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert environments(3, "cpu") == [{}] * 3
