"""The records of a sweep. A study of one method on one task is a folder `results/sweeps/<id>/`:

config.json       SweepConfig
environment.json  Environment of the process that wrote the result
result.json       SweepResult; written anew whenever a trial ends
best.yaml         the best hyperparameters, for `finetune --params` and `run`
plot.png          history, learning rate against score, importances
runs/             the folder of each trial's run, as in `store.records`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..config import Pruner, RunConfig, SelectOn
from ..settings import Record, hash_of, identity
from ..store.find import read_all
from ..store.folder import ResultKind
from ..store.records import DataRecord, Environment, ResultRecord, greater_is_better
from .space import Space, Value

TrialState = Literal["waiting", "running", "complete", "pruned", "diverged", "out-of-memory", "failed"]
FAILED: tuple[TrialState, ...] = ("diverged", "out-of-memory", "failed")
FINISHED: tuple[TrialState, ...] = ("complete", "pruned", *FAILED)


class SweepConfig(Record):
    """Everything that decides which study a trial belongs to."""

    sweep: Literal[1] = 1  # marks a sweep's config.json; the version of this record
    given: dict[str, Any]  # settings as the user gave them; what is searched is overwritten
    select_on: SelectOn  # "dev", or a part held out of train
    pruner: Pruner
    space: Space
    template: RunConfig  # what `given` resolves to
    checkpoint: str  # identity of the starting weights, as in `Environment`
    score_name: str  # the objective: this metric at a trial's best evaluation
    data: DataRecord

    @property
    def task(self) -> str:
        return self.template.task

    @property
    def method(self) -> str:
        return self.template.method

    @property
    def model(self) -> str:
        return self.template.model

    @property
    def greater_is_better(self) -> bool:
        """Whether the score is maximised; a loss is minimised."""
        return greater_is_better(self.score_name)

    def study_id(self) -> str:
        """Returns sixteen hexadecimal digits, equal on machines that keep the same files in other places."""
        left_out = {"model", *self.space.parameters}  # a path, where the revision identifies the content
        run = identity(self.template, left_out)
        return hash_of([run, self.space.model_dump(mode="json"), self.select_on, self.pruner])

    def study_name(self) -> str:
        """Returns the study's name in Optuna and in messages: `demo rte lora 0123456789abcdef`."""
        model = self.model if self.model.count("/") < 2 else self.model.rstrip("/").rpartition("/")[2]
        return f"{model} {self.task} {self.method} {self.study_id()}"


class TrialRecord(Record):
    """One trial of the budget; attempts that were killed or interrupted are not trials of their own."""

    index: int  # in the budget, from 0
    number: int  # Optuna's, of the last attempt
    state: TrialState
    params: dict[str, Value] = Field(default_factory=dict)
    score: float | None = None  # at the best evaluation; of complete trials only
    reason: str | None = None  # why it was pruned or failed
    evaluations: dict[int, float] = Field(default_factory=dict)  # number of the evaluation, from 1 -> score
    run: str | None = None  # id of the run's folder
    worker: str | None = None  # host, process id and the random part of the sweep's name
    started: str | None = None  # ISO 8601, UTC
    ended: str | None = None
    seconds: float | None = None
    attempts: int = 1  # 1 + the times that it was killed or interrupted, and tried again
    same_as: int | None = None  # number of an earlier trial with the same parameters, whose run this is


class SweepResult(ResultRecord):
    """`result.json`: the state of a study."""

    study: str
    asked: int  # the budget: trials in all
    trials: tuple[TrialRecord, ...]  # in the order of their index
    greater_is_better: bool = True  # False: the score is a loss
    importances: dict[str, float] = Field(default_factory=dict)  # PED-ANOVA; empty of few complete trials

    def count(self, *states: TrialState) -> int:
        """Returns the number of trials in any of the states."""
        return sum(trial.state in states for trial in self.trials)

    @property
    def finished(self) -> int:
        """Number of trials that count for the budget."""
        return self.count(*FINISHED)

    @property
    def is_done(self) -> bool:
        return self.finished >= self.asked

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of the best score; of equal ones the first."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        if not complete:
            return None
        score = self.better(trial.score for trial in complete if trial.score is not None)
        return next(trial for trial in complete if trial.score == score)

    @property
    def better(self) -> Callable[[Iterable[float]], float]:
        """The function that picks the best of several scores: max, or min of losses."""
        return max if self.greater_is_better else min


class Sweep(Record):
    """A study: its configuration and its state."""

    config: SweepConfig
    result: SweepResult


SWEEPS = ResultKind(
    "sweeps", SweepConfig, SweepResult, ("sweep", 1), "delete it and sweep again", id_of=SweepConfig.study_id
)


@dataclass(frozen=True)
class ReadSweep:
    """A study with its folder and what it ran on; both are None of a study that only a storage holds."""

    sweep: Sweep
    folder: Path | None = None
    environment: Environment | None = None


def read_sweeps(folders: Sequence[Path]) -> tuple[ReadSweep, ...]:
    """Returns every study in the folders; see `store.find`.

    Of a study that lies in several folders, as after copying, the one with the most finished trials.
    """
    furthest: dict[str, ReadSweep] = {}
    for stored in read_all(SWEEPS, folders):
        found = ReadSweep(
            Sweep(config=stored.config, result=stored.result), stored.folder, stored.environment
        )
        known = furthest.setdefault(stored.result.id, found)
        if stored.result.finished > known.sweep.result.finished:
            furthest[stored.result.id] = found
    return tuple(furthest.values())
