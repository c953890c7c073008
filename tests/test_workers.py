"""The worker pool with real processes: what they answer, how they die, and what becomes of their jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparsegrad_cli import hardware
from sparsegrad_cli.errors import InputError, is_device_error, is_out_of_memory
from sparsegrad_cli.hardware import count_workers, wait_without_spinning, worker_env
from sparsegrad_cli.progress import ProgressState
from sparsegrad_cli.workers import (
    Died,
    Failed,
    Finished,
    Message,
    WorkerPool,
    run_in_fresh_process,
)

from . import jobs
from .jobs import Answer, Ask

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def worker_processes() -> None:
    """Real ones, in place of those that the other tests take."""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import the job functions of this folder."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def messages(pool: WorkerPool) -> list[Message]:
    """All that the workers say until none of them has a job."""
    found: list[Message] = []
    while len(pool.idle()) < pool.workers:
        found += [event.message for event in pool.events(1.0)]
    return found


def test_a_worker_reports_its_progress_and_answers_one_job_after_the_other():
    with WorkerPool(1, "cpu") as pool:
        pool.submit(0, jobs.echo, Ask(text="first"))
        *progress, first = messages(pool)
        pool.submit(0, jobs.echo, Ask(text="second"))
        second = messages(pool)[-1]
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert [first.value.text, second.value.text] == ["first", "second"]
    assert isinstance(first.value, Answer)
    assert first.value.pid == second.value.pid != os.getpid()
    assert progress[0] == ProgressState(phase="train", total=2)
    assert progress[-1] == ProgressState(
        phase="train", done=1, total=2, loss=0.5, metric="accuracy", score=0.5, best=0.75
    )


FAILURES = [  # raised, reason, error
    ("input", "input", "postgresql://me:***@host failed"),
    ("work", "work", "postgresql://me:***@host failed"),
    ("bug", "bug", "KeyError: 'postgresql://me:***@host failed'"),
    ("memory", "memory", "MemoryError: postgresql://me:***@host failed"),
    ("CUBLAS_STATUS_ALLOC_FAILED", "memory", "RuntimeError: CUBLAS_STATUS_ALLOC_FAILED"),
    ("No space left on device", "disk", "RuntimeError: No space left on device"),
]


def test_an_exception_is_an_answer_without_passwords():
    with WorkerPool(1, "cpu") as pool:
        for raised, reason, error in FAILURES:
            pool.submit(0, jobs.fail, Ask(text=raised))
            assert messages(pool) == [Failed(reason=reason, error=error)]


def test_a_cuda_error_ends_its_worker_and_not_the_job_after_it():
    with WorkerPool(1, "cpu") as pool:
        pool.submit(0, jobs.echo, Ask())
        before = messages(pool)[-1]
        pool.submit(0, jobs.fail, Ask(text="CUDA error: an illegal memory access was encountered"))
        (failed,) = messages(pool)
        pool.submit(0, jobs.echo, Ask())
        after = messages(pool)[-1]
    assert isinstance(failed, Failed)
    assert failed.reason == "device"
    assert isinstance(before, Finished)
    assert isinstance(after, Finished)
    assert before.value.pid != after.value.pid


def test_a_worker_killed_in_the_middle_of_a_line_is_replaced_and_does_its_job_again(tmp_path):
    with WorkerPool(1, "cpu") as pool:
        pool.submit(0, jobs.die, Ask(text="2", file=tmp_path / "deaths"))
        *deaths, finished = messages(pool)
    assert [(death.how, death.signal, death.again) for death in deaths if isinstance(death, Died)] == [
        ("was killed by signal 9", 9, True)
    ] * 2
    assert isinstance(finished, Finished)
    assert finished.value.text == "alive"


def test_a_job_that_kills_every_worker_is_given_up(tmp_path):
    with WorkerPool(1, "cpu", tries=2) as pool:
        pool.submit(0, jobs.die, Ask(text="99", file=tmp_path / "deaths"))
        found = messages(pool)
        assert [death.again for death in found if isinstance(death, Died)] == [True, False]
        pool.submit(0, jobs.echo, Ask(text="the next"))
        assert isinstance(messages(pool)[-1], Finished)


def test_a_worker_that_ends_without_an_answer_is_quoted():
    died = run_in_fresh_process(jobs.leave, Ask())
    assert isinstance(died, Died)
    assert (died.how, died.signal, died.again) == ("ended with exit code 3 (some reason)", None, False)


def test_leaving_the_pool_interrupts_the_workers(tmp_path):
    with WorkerPool(1, "cpu") as pool:
        pool.submit(0, jobs.wait, Ask(file=tmp_path / "pid"))
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    assert (tmp_path / "pid").read_text() == "interrupted"


@pytest.mark.parametrize("job", ["wait", "report"])
def test_workers_die_with_their_parent(job, tmp_path):
    """A worker that reports to nobody is interrupted as others are: its work has not failed."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tests import jobs; "
            "from sparsegrad_cli.workers import run_in_fresh_process; "
            "run_in_fresh_process(getattr(jobs, sys.argv[2]), jobs.Ask(file=Path(sys.argv[1])))",
            str(tmp_path / "pid"),
            job,
        ],
        cwd=ROOT,
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: (tmp_path / "pid").read_text().strip("0123456789"))
    assert (tmp_path / "pid").read_text() == "interrupted"


def test_a_signal_is_deferred_to_where_the_work_can_be_interrupted():
    finished = run_in_fresh_process(jobs.defer, Ask())
    assert isinstance(finished, Finished)
    assert finished.value.text == "requested True, interrupted"


def test_workers_share_the_cores_or_have_one_gpu_each(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert worker_env(0, 1, "cpu") == {}
    assert worker_env(1, 2, "cpu") == {"OMP_NUM_THREADS": "4"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert worker_env(0, 1, "cuda") == {"CUDA_VISIBLE_DEVICES": "0"}
    assert worker_env(5, 8, "cuda") == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert worker_env(1, 2, "cuda")["CUDA_VISIBLE_DEVICES"] == "GPU-b"


@pytest.mark.parametrize(
    ("shares", "said", "policy", "line"),
    [
        ([3.0, 90.0, 95.0], None, None, None),  # two are not ours
        ([40.0, 90.0, 95.0], None, None, None),
        (
            [80.0, 90.0, 95.0],
            None,
            "PASSIVE",
            "0.8 of 1 cores busy: training is slower, speed figures will be low",
        ),
        ([80.0, 90.0, 95.0], "ACTIVE", "ACTIVE", None),
    ],
)
def test_threads_spin_unless_others_use_the_cores(monkeypatch, shares, said, policy, line):
    monkeypatch.setenv("OMP_WAIT_POLICY", said or "")
    if said is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    monkeypatch.setattr("psutil.cpu_percent", lambda seconds, percpu: shares)
    found = wait_without_spinning()
    assert found == line or line in found
    assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_a_worker_has_the_environment_of_its_place():
    with WorkerPool(2, "cuda") as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "visible_gpus", lambda: ["5", "7"])
        for worker in pool.idle():
            pool.submit(worker, jobs.environment, Ask(text="CUDA_VISIBLE_DEVICES"))
        found = [message.value.text for message in messages(pool) if isinstance(message, Finished)]
    assert sorted(found) == ["5", "7"]


@pytest.mark.parametrize(
    ("device", "asked", "per_gpu", "count"),
    [
        ("cpu", None, None, 1),
        ("cpu", 3, None, 3),
        ("cuda", None, None, 2),
        ("cuda", None, 3, 6),
        ("cuda", 1, None, 1),
    ],
)
def test_the_number_of_workers(device, asked, per_gpu, count, monkeypatch):
    monkeypatch.setattr(hardware, "visible_gpus", lambda: ["0", "1"])
    assert count_workers(device, asked, per_gpu) == count


@pytest.mark.parametrize(
    ("device", "asked", "per_gpu"), [("cpu", None, 2), ("cuda", 3, None), ("cuda", 5, 2)]
)
def test_workers_that_do_not_fit_are_refused(device, asked, per_gpu, monkeypatch):
    monkeypatch.setattr(hardware, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(InputError, match="--per-gpu"):
        count_workers(device, asked, per_gpu)


@pytest.mark.parametrize(
    ("error", "is_memory", "is_device"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA driver error: out of memory"), True, False),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            True,
            False,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"), True, False),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            True,
            False,
        ),
        (MemoryError(), True, False),
        (OSError(12, "Cannot allocate memory"), True, False),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
    ],
)
def test_out_of_memory_and_a_lost_device_are_told_apart(error, is_memory, is_device):
    assert (is_out_of_memory(error), is_device_error(error)) == (is_memory, is_device)
