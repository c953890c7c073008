"""Processes that share a study, with trials that train nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import optuna
from optuna import Study, Trial

from sparsegrad_cli.sweep.space import Range, Value, suggest
from sparsegrad_cli.sweep.storage import open_storage, registered
from sparsegrad_cli.sweep.study import (
    config_of,
    is_settled,
    needs_trial,
    open_study,
    release_dead,
    sampler_of,
    sign,
    top_up,
)

from ..processes import DEADLINE, in_a_fork
from .fabricate import make_config

SPACE = {"learning_rate": Range(low=1e-4, high=1e-2, log=True), "batch_size": (4, 8)}
CONFIG = make_config(space=SPACE)


def in_processes(function: Callable[..., None], *arguments: object, count: int = 1) -> list[int | None]:
    """Calls a function in several processes that begin at once.

    Args:
        function: is called with a barrier, which every process is to wait at, and the arguments.

    Returns:
        How each process ended: 0, or minus the number of the signal that killed it.
    """
    return in_a_fork(_fork_all, function, arguments, count)


def _fork_all(function: Callable[..., None], arguments: tuple[object, ...], count: int) -> list[int | None]:
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(count, timeout=DEADLINE)
    processes = [fork.Process(target=function, args=(barrier, *arguments)) for _ in range(count)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(DEADLINE)
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def study_in(where: str) -> Study:
    """The study of the tests in a storage; it is made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_study(open_storage(where, Path("unused")), CONFIG)


def begin(barrier: Barrier, where: str) -> None:
    """Makes the study, at the same moment as others."""
    barrier.wait()
    study_in(where)


def ask(barrier: Barrier, where: str, trials: int) -> None:
    """Asks for trials, at the same moment as others."""
    study = study_in(where)
    barrier.wait()
    top_up(study, trials)


def work(barrier: Barrier, where: str, given: Path, trials: int = 0) -> None:
    """Does trials as `Worker` does, having asked for some; writes which it was given to a file in `given`."""
    study, name = study_in(where), f"worker {os.getpid()}"
    barrier.wait()
    if trials:
        top_up(study, trials)
    given.mkdir(exist_ok=True)
    with registered(study._storage, name), (given / f"{os.getpid()}.jsonl").open("w") as record:

        def objective(trial: Trial) -> float:
            sign(trial, name)
            print(trial.number, file=record, flush=True)
            return 1 / (1 + abs(_values(trial)["learning_rate"] - 1e-3))

        while True:
            release_dead(study, name)
            while needs_trial(study):
                study.optimize(objective, n_trials=1)
            if is_settled(study):
                return
            time.sleep(0.05)


def die(barrier: Barrier, where: str, begun: bool) -> None:
    """Takes a trial and is killed over it.

    Args:
        begun: after it has signed the trial and has its values; False: before.
    """
    study, name = study_in(where), f"worker {os.getpid()}"
    barrier.wait()

    def objective(trial: Trial) -> float:
        if begun:
            sign(trial, name)
            _values(trial)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("we are dead")

    with registered(study._storage, name):
        study.optimize(objective, n_trials=1)


def given_trials(given: Path) -> list[int]:
    """The numbers of the trials that processes were given by `work`."""
    return [int(line) for path in sorted(given.glob("*.jsonl")) for line in path.read_text().splitlines()]


def until(is_so: Callable[[], bool]) -> None:
    """Waits."""
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _values(trial: Trial) -> dict[str, Value]:
    trial.study.sampler = sampler_of(trial)
    return suggest(trial, config_of(trial.study).space)
