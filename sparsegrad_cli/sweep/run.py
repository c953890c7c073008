"""A sweep on this machine: queues the trials, keeps the workers going, and writes what comes of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from optuna import Study

from ..errors import WorkError
from ..store.environment import describe_environment
from ..training.basis import BASES
from .crew import Crew
from .folder import sweep_folder, write_sweep, written_result
from .jobs import Job
from .plan import write_best
from .schema import Sweep
from .study import asked, release, snapshot, top_up

LOOK_SECONDS = 1.0  # between two looks at the studies
Watch = Callable[[Sequence[Sweep], int], None]


def run_sweep(
    studies: Sequence[Study],
    trials: int | None,
    workers: int,
    where: str | None,
    results: Path,
    watch: Watch,
    tell: Callable[[str], None],
) -> list[Sweep]:
    """Brings every study to its budget, together with whoever else works on the same storage.

    Args:
        studies: of one storage.
        trials: the budget of each; None: what was asked of it before.
        workers: processes on this machine.
        where: the storage, as the user named it.
        results: the results folder; a study's folder is brought up to date whenever one of its trials ends.
        watch: is shown the studies as they stand, and the number of workers, again and again.
        tell: is told a line when something happens to a worker.

    Returns:
        The studies as they ended.

    Raises:
        WorkError: the workers failed before the trials were done.
    """
    for study in studies:
        top_up(study, asked(study) if trials is None else trials)
    board = Board(studies, results)
    left = board.unsettled
    if left:
        names = [study.study_name for study in left]
        starts = [place * len(names) // workers for place in range(workers)]
        jobs = [
            Job(storage=where, results=str(results), studies=(*names[start:], *names[:start]))
            for start in starts  # apart, so that the trials of one study follow one another where they can
        ]
        device = board.sweeps[0].config.template.device
        try:
            with Crew(jobs, device, tell) as crew:
                while board.unsettled:
                    watch(board.sweeps, crew.at_work)
                    for worker in crew.look_after():
                        for study in board.unsettled:
                            release(study, worker)
                    if not crew.at_work and board.look():
                        raise WorkError(f"no worker is left; the last one {crew.error or 'ended'}")
                    time.sleep(LOOK_SECONDS)
                    board.look()
        finally:
            board.look()
    watch(board.sweeps, 0)
    for sweep in board.sweeps:  # the largest files by far, and no trial is left to need them
        shutil.rmtree(sweep_folder(results, sweep.config) / BASES, ignore_errors=True)
    write_best(results, board.sweeps)
    return board.sweeps


class Board:
    """The studies as they stand, on disk too."""

    def __init__(self, studies: Sequence[Study], results: Path) -> None:
        self._studies, self._results = studies, results
        self.sweeps = [snapshot(study) for study in studies]
        self._written = {s.result.id: written_result(results, s.config) for s in self.sweeps}
        self._write()

    @property
    def unsettled(self) -> list[Study]:
        """Those with trials that are waiting or running."""
        pairs = zip(self._studies, self.sweeps, strict=True)
        return [study for study, sweep in pairs if _is_unsettled(sweep)]

    def look(self) -> list[Study]:
        """Sees how those that were unsettled stand now; returns those that still are."""
        pairs = zip(self._studies, self.sweeps, strict=True)
        self.sweeps = [snapshot(study) if _is_unsettled(sweep) else sweep for study, sweep in pairs]
        self._write()
        return self.unsettled

    def _write(self) -> None:
        for sweep in self.sweeps:
            result = sweep.result
            before = self._written[result.id]
            if before is None or before.finished != result.finished:
                data = f"sha256:{sweep.config.template.data_revision}"
                environment = describe_environment(sweep.config.checkpoint, data, restarts=0)
                write_sweep(self._results, sweep, environment)
                self._written[result.id] = result


def _is_unsettled(sweep: Sweep) -> bool:
    return sweep.result.count("waiting", "running") > 0
