"""The SLURM pool on a cluster of this machine: the numbers of `finetune`, whoever is requeued or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from ..processes import wait_for
from .grids import restarts, scores
from .processes import half_way, holder
from .slurm_node import missing, slurm_node

needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="needs pip install 'sparsegrad[slurm]'"
)
needs_slurm = pytest.mark.skipif(bool(missing()), reason=missing() or "SLURM is here")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a cluster of this machine is found."""
    try:
        with slurm_node(tmp_path_factory.mktemp("slurm")) as env:
            yield env
    except OSError as error:
        pytest.skip(str(error))


def queue(env: dict[str, str]) -> list[str]:
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], env=env, capture_output=True, text=True)
    return done.stdout.split()


def started_now(env: dict[str, str], task: str) -> bool:
    """Lets a requeued task start, for which SLURM waits for two minutes; returns whether it runs."""
    subprocess.run(["scontrol", "update", f"jobid={task}", "StartTime=now"], env=env, capture_output=True)
    time.sleep(0.5)
    states = subprocess.run(["squeue", "-h", "-j", task, "-o", "%T"], env=env, capture_output=True, text=True)
    return "RUNNING" in states.stdout


@pytest.mark.cluster
@needs_submitit
@needs_slurm
def test_a_requeued_and_a_killed_task_go_on_and_make_the_numbers_of_finetune(
    begin, write, finetuned, tmp_path, slurm, monkeypatch
):
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    results = tmp_path / "results"
    path = write(seeds=[1], methods=["sparsegrad"])
    command = ("run", "--engine", "slurm", path, "--output", results, "--checkpoint-minutes", "0")
    running = begin(*command)
    folder = half_way(results)
    (task,) = queue(slurm)
    subprocess.run(["scontrol", "requeue", task], env=slurm, check=True)
    wait_for(lambda: holder(folder) is None)
    wait_for(lambda: started_now(slurm, task))
    half_way(results)
    pid = holder(folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    code, _, err = running.end()
    assert code == 0, err
    assert "its worker was requeued by SLURM; it goes on with a new one" in err
    assert "its worker ended in SLURM" in err
    assert scores(results) == {folder.name: finetuned[folder.name]}
    assert restarts(results) == [2]
    assert {path.name for path in results.iterdir()} == {"bases", "runs"}
    assert queue(slurm) == []


@pytest.mark.cluster
@needs_submitit
@needs_slurm
def test_a_sweep_does_its_trials_as_tasks(begin, document, tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    given = ("--model", document["models"][0], "--data", document["data"], "--task", "cola", "--method", "ft")
    short = ("--trials", "2", "--max-steps", "4", "--length", "24", "--batch-size", "8")
    code, _, err = begin(
        "sweep", "--engine", "slurm", *given, *short, "--workers", "2", "--output", tmp_path / "results"
    ).end()
    assert code == 0, err
    assert "2 of 2 done" in err
    assert not list((tmp_path / "results").glob(".sparsegrad-*"))


@needs_submitit
def test_without_a_cluster_it_is_refused_in_a_line(begin, write, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = begin("run", "--engine", "slurm", write(), "--output", tmp_path / "r").end()
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "there is no sbatch here" in err
    assert not (tmp_path / "r").exists()
