"""What a sweep is and what it came to, typed: `results/sweeps/<id>/` holds

config.json       SweepConfig
environment.json  Environment of the process that wrote the result
result.json       SweepResult; written anew whenever a command sees the study
best.yaml         the best parameters, for `finetune --params` and `run`
plot.png          history, learning rate against score, importances
runs/             a run's folder for each trial, as in `store.records`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import Field

from ..config import Pruner, RunConfig, SelectOn
from ..settings import Record, hash_of, identity
from ..store.records import DataRecord, ResultRecord, greater_is_better
from .space import Space, Value

TrialState = Literal["waiting", "running", "complete", "pruned", "diverged", "out-of-memory", "failed"]
FAILED: tuple[TrialState, ...] = ("diverged", "out-of-memory", "failed")


class SweepConfig(Record):
    """Everything that decides which study a trial belongs to."""

    sweep: Literal[1] = 1  # tells a sweep's folder from a run's; the version of this schema
    given: dict[str, Any]  # settings as asked for; what is searched is overwritten
    select_on: SelectOn  # "dev", or a part held out of train
    pruner: Pruner
    space: Space
    template: RunConfig  # what `given` comes to
    checkpoint: str  # identity of the starting weights, as in `Environment`
    score_name: str  # what is searched for: the main metric at a trial's best evaluation
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
        """Sixteen hexadecimal digits: equal on machines that keep the same things in other places."""
        left_out = {"model", *self.space.parameters}  # a place's name; the revision says what lies there
        run = identity(self.template, left_out)
        return hash_of([run, self.space.model_dump(mode="json"), self.select_on, self.pruner])

    def study_name(self) -> str:
        """What Optuna and people call the study: `demo rte lora 0123456789abcdef`."""
        model = self.model if self.model.count("/") < 2 else self.model.rstrip("/").rpartition("/")[2]
        return f"{model} {self.task} {self.method} {self.study_id()}"


class TrialRecord(Record):
    """One trial of the budget; attempts that were killed or stopped are not trials of their own."""

    slot: int  # place in the budget, from 0
    number: int  # Optuna's, of the attempt that counts
    state: TrialState
    params: dict[str, Value] = Field(default_factory=dict)
    score: float | None = None  # at the best evaluation; of complete trials only
    reason: str | None = None  # why it was pruned or failed
    evaluations: dict[int, float] = Field(default_factory=dict)  # number of it, from 1 -> score
    run: str | None = None  # id of the run's folder
    worker: str | None = None  # host and process
    started: str | None = None  # ISO 8601, UTC
    ended: str | None = None
    seconds: float | None = None
    attempts: int = 1  # 1 + times that it was killed or stopped, and tried again
    same_as: int | None = None  # number of a trial with the same parameters, whose value this is


class SweepResult(ResultRecord):
    """`result.json`: a study as it stands."""

    study: str
    asked: int  # the budget: trials in all
    trials: tuple[TrialRecord, ...]  # in the order of their slots
    greater_is_better: bool = True  # of two scores; False of a loss
    importances: dict[str, float] = Field(
        default_factory=dict
    )  # of the complete trials (PED-ANOVA); empty of too few

    def count(self, *states: TrialState) -> int:
        """Trials in any of the states."""
        return sum(trial.state in states for trial in self.trials)

    @property
    def finished(self) -> int:
        """Trials that count for the budget."""
        return self.count("complete", "pruned", *FAILED)

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of the best score; of equal ones the first."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.score is not None]
        if not complete:
            return None
        score = self.better(trial.score for trial in complete)
        return next(trial for trial in complete if trial.score == score)

    @property
    def better(self) -> Callable[[Iterable[float]], float]:
        """The best of several scores: their maximum, of losses their minimum."""
        return max if self.greater_is_better else min


class Sweep(Record):
    """A study: what was asked, and what it has come to."""

    config: SweepConfig
    result: SweepResult
