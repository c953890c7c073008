"""A process that does trials, one after the other, until its studies have none left.

It reads a job from its standard input, and stops as by Ctrl-C when that is closed, as it is when its parent
dies. A trial that is stopped so is queued again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from optuna import Study
from optuna.trial import TrialState

from ..errors import InputError, WorkError
from ..store.io import redact
from ..training.inputs import quiet_libraries
from ..training.resolve import Sources
from .folder import sweep_folder
from .jobs import Job, worker_name
from .plan import sources_of
from .schema import SweepConfig
from .storage import open_storage, storage_errors
from .study import (
    OUTCOME,
    REASON,
    SLOT,
    WORKER,
    attempts,
    config_of,
    counting,
    fail_stale,
    is_settled,
    is_waiting,
    load_study,
    queue,
    values_of,
)
from .trial import FailedError, Objective, SpareError, Stop

IDLE_SECONDS = 2.0  # between two looks at studies whose last trials others are doing
FAILURES = 3  # of trials in a row, after which something else than their values must be wrong
LOST = "Cannot tell a"  # Optuna's, of a trial that was given to another while its worker seemed dead
STOPPED = 130


def main() -> None:
    """Do the job that is asked for; the exit code is 0, 1 for work that failed, 130 when stopped."""
    job = Job.model_validate_json(sys.stdin.readline())
    stop = Stop()
    stop.listen()
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    quiet_libraries(downloads=False)
    try:
        with storage_errors():
            storage = open_storage(job.storage, Path(job.results))
            Worker(Path(job.results), stop).work([load_study(storage, name) for name in job.studies])
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except (InputError, WorkError) as error:
        print(redact(str(error)), file=sys.stderr)
        sys.exit(1)


class Worker:
    """Does the trials of studies.

    Args:
        results: the results folder.
        stop: where it may be stopped.
    """

    def __init__(self, results: Path, stop: Stop) -> None:
        self._results, self._stop = results, stop
        self._name = worker_name(os.getpid())
        self._sources: tuple[str, Sources] | None = None  # of the study that was worked on last

    def work(self, studies: list[Study]) -> None:
        """Does trials until no study has one that waits, or runs elsewhere and may come back.

        Raises:
            WorkError: several trials in a row failed, for reasons that are not their values'.
        """
        while studies := [study for study in studies if not self._work_on(study)]:
            with self._stop.heeded():
                time.sleep(IDLE_SECONDS)

    def _work_on(self, study: Study) -> bool:
        """Does the waiting trials of a study; whether none is left, here or elsewhere."""
        fail_stale(study)
        while is_waiting(study):
            config = config_of(study)
            folder = sweep_folder(self._results, config)
            with self._stop.heeded():
                sources = self._sources_of(study, config)
            objective = Objective(study, config, sources, folder, self._name, self._stop)
            try:
                study.optimize(objective, n_trials=1, catch=(FailedError, SpareError))
            except KeyboardInterrupt:
                self._queue_again(study)
                raise
            except ValueError as error:
                if not str(error).startswith(LOST):
                    raise
            self._count_failures(study)
        return is_settled(study)

    def _sources_of(self, study: Study, config: SweepConfig) -> Sources:
        if self._sources is None or self._sources[0] != study.study_name:
            self._sources = None  # the last study's data go before this one's come
            self._sources = (study.study_name, sources_of(config.given, config.select_on))
        return self._sources[1]

    def _queue_again(self, study: Study) -> None:
        """Queues the trial that was stopped, if no other process has by now."""
        for slot, tries in attempts(study).items():
            trial = counting(tries)
            mine = trial.state == TrialState.FAIL and trial.user_attrs.get(WORKER) == self._name
            if mine and OUTCOME not in trial.user_attrs:
                queue(study, slot, values_of(trial))

    def _count_failures(self, study: Study) -> None:
        mine = [
            trial
            for trial in study.get_trials(deepcopy=False)
            if SLOT in trial.user_attrs and trial.user_attrs.get(WORKER) == self._name
        ]
        last = mine[-FAILURES:]
        if len(last) == FAILURES and all(trial.state == TrialState.FAIL for trial in last):
            reason = last[-1].user_attrs.get(REASON)
            raise WorkError(f"{FAILURES} trials in a row failed in {study.study_name}: {reason}")


def _stop_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
