"""A sweep on this machine: run workers until every study has its trials, and write what they found."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml
from optuna import Study

from ..config import Device, Tracker
from ..errors import InputError, WorkError
from ..store.environment import describe_environment
from ..store.io import lock, write_error, write_text
from ..training.basis import BASES
from ..training.params import Best
from ..workers import Died, Failed, Pool, WorkerPool
from .records import SWEEPS, Sweep, read_sweeps
from .study import budget, release, snapshot, top_up
from .trial import SweepJob, work, worker_name

LOOK_SECONDS = 1.0  # between two looks at the studies
LOCK_SECONDS = 60.0  # that another process may take to write a study's files
BEST = "best.yaml"
HEADER = "# The best that `sparsegrad sweep` found; `sparsegrad finetune --params` and `run` read it.\n"
Watch = Callable[[Sequence[Sweep], int], None]
OpenPool = Callable[[int, Device], Pool]


def run_sweep(
    studies: Sequence[Study],
    trials: int | None,
    workers: int,
    where: str | None,
    results: Path,
    watch: Watch,
    say: Callable[[str], None],
    report_to: tuple[Tracker, ...] = (),
    open_pool: OpenPool | None = None,
) -> list[Sweep]:
    """Bring every study to its budget, together with all other processes that work on the same storage.

    Args:
        studies: of one storage.
        trials: the budget of each; None: as before.
        workers: processes of the pool.
        where: the storage, as the user named it.
        results: the results folder; a study's folder is written whenever one of its trials ends.
        watch: called about every second with the studies as they are, and the number of workers at work.
        say: called with a line when something happens to a worker.
        report_to: trackers that hear of each trial.
        open_pool: of so many workers on a device; None: processes of this machine.

    Returns:
        The studies in the end.

    Raises:
        WorkError: the workers failed before the trials were done.
    """
    for study in studies:
        top_up(study, budget(study) if trials is None else trials)
    monitor = StudyMonitor(studies, results)
    if monitor.unsettled:
        try:
            _run_workers(monitor, workers, where, results, watch, say, report_to, open_pool or WorkerPool)
        finally:
            monitor.look()
    watch(monitor.sweeps, 0)
    for sweep in monitor.sweeps:  # the largest files by far, and no trial is left to need them
        shutil.rmtree(sweep.folder / BASES, ignore_errors=True)
    write_best(results, monitor.sweeps)
    return monitor.sweeps


def _run_workers(
    monitor: StudyMonitor,
    workers: int,
    where: str | None,
    results: Path,
    watch: Watch,
    say: Callable[[str], None],
    report_to: tuple[Tracker, ...],
    open_pool: OpenPool,
) -> None:
    names = [study.study_name for study in monitor.unsettled]
    to_do = sum(max(1, sweep.result.asked - sweep.result.finished) for sweep in monitor.sweeps)
    token, error = secrets.token_hex(4), "ended without an error"
    with open_pool(min(workers, to_do), monitor.sweeps[0].config.template.device) as pool:
        for worker in range(pool.workers):
            start = worker * len(names) // pool.workers  # so that one worker does a study's trials if it can
            order = (*names[start:], *names[:start])
            job = SweepJob(
                storage=where, results=str(results), studies=order, token=token, report_to=report_to
            )
            pool.submit(worker, work, job)
        while monitor.unsettled:
            watch(monitor.sweeps, pool.workers - len(pool.idle()))
            deadline = time.monotonic() + LOOK_SECONDS
            for event in pool.events(LOOK_SECONDS):
                match event.message:
                    case Died(how, pid, again=again):
                        say(f"worker {event.worker + 1} {how}" + ("; started again" if again else ""))
                        error = how
                        for study in monitor.unsettled:
                            release(study, worker_name(token, pid))
                    case Failed(error=reason):
                        say(f"worker {event.worker + 1} failed: {reason}")
                        error = f"failed: {reason}"
            time.sleep(max(0.0, deadline - time.monotonic()))
            monitor.look()
            if monitor.unsettled and len(pool.idle()) == pool.workers:
                raise WorkError(f"no worker is left; the last one {error}")


class StudyMonitor:
    """The state of studies, in memory and in their folders."""

    def __init__(self, studies: Sequence[Study], results: Path) -> None:
        self._studies, self._results = studies, results
        self.sweeps = [snapshot(study, results) for study in studies]
        self._written = [self._finished_on_disk(sweep) for sweep in self.sweeps]
        self.look()

    @property
    def unsettled(self) -> list[Study]:
        """Studies with trials that are to do, waiting or running."""
        pairs = zip(self._studies, self.sweeps, strict=True)
        return [study for study, sweep in pairs if not sweep.result.is_settled]

    def look(self) -> None:
        """Update the studies that were unsettled, and write those of which a trial has ended."""
        for place, study in enumerate(self._studies):
            if not self.sweeps[place].result.is_settled:
                self.sweeps[place] = snapshot(study, self._results)
            finished = self.sweeps[place].result.finished
            if self._written[place] != finished:
                write_sweep(self._results, self.sweeps[place])
                self._written[place] = finished

    def _finished_on_disk(self, sweep: Sweep) -> int | None:
        try:
            stored = SWEEPS.folder(self._results, sweep.config).result()
        except InputError:
            return None  # unreadable: it is written anew
        return None if stored is None else stored.finished


def write_sweep(results: Path, sweep: Sweep) -> None:
    """Write a study's three files, the result last; raises WorkError if they cannot be written."""
    data = f"sha256:{sweep.config.template.data_revision}"
    folder = SWEEPS.folder(results, sweep.config)
    with folder.lock(LOCK_SECONDS):
        folder.write("config.json", sweep.config)
        folder.write("environment.json", describe_environment(sweep.config.checkpoint, data, restarts=0))
        folder.write("result.json", sweep.result)


def write_best(results: Path, sweeps: Iterable[Sweep]) -> None:
    """Write `best.yaml` for each study that has a best trial, and one of all into `sweeps/`."""
    for sweep in sweeps:
        _write_entries(sweep.folder / BEST, [sweep])
    with lock(results / SWEEPS.place, LOCK_SECONDS):  # sweeps that share the folder write it too
        _write_entries(results / SWEEPS.place / BEST, read_sweeps([results]))


def _write_entries(path: Path, sweeps: Iterable[Sweep]) -> None:
    entries = [best_of(sweep).model_dump(exclude_none=True) for sweep in sweeps if sweep.result.best]
    if not entries:
        return
    try:
        write_text(path, HEADER + yaml.safe_dump(entries, sort_keys=False))
    except OSError as error:
        raise write_error(path, error) from None


def best_of(sweep: Sweep) -> Best:
    """Returns the entry of a study that has a best trial."""
    config, best = sweep.config, sweep.result.best
    assert best is not None
    return Best(
        model=config.model,
        task=config.task,
        method=config.method,
        params=dict(best.params),
        score_name=config.score_name,
        score=best.score,
        select_on=config.select_on,
        protocol=config.template.protocol,
        trials=sweep.result.finished,
        study=sweep.result.id,
    )
