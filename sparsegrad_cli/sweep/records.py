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
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..config import Pruner, RunConfig, SelectOn
from ..settings import WHAT, Record, hash_of, identity, setting, settings_of
from ..store.folder import ResultKind, read_all
from ..store.records import DataRecord, ResultRecord, StoredResult, greater_is_better
from .space import Space, Value

TrialState = Literal["waiting", "running", "complete", "pruned", "diverged", "out-of-memory", "failed"]
FAILED: tuple[TrialState, ...] = ("diverged", "out-of-memory", "failed")
FINISHED: tuple[TrialState, ...] = ("complete", "pruned", *FAILED)
SEARCH = "The search"  # panel of the command's help


class SearchSettings(Record):
    """Settings of a search, besides those of its runs."""

    seed: int = setting("Seed of the sampler and of every trial's run.", WHAT, off=0, at_least=0)
    trials: int = setting(
        "Trials of each study in all, those done before included; W workers may do up to W - 1 more.",
        SEARCH,
        off=20,
        at_least=1,
    )
    space: str | None = setting(
        "A YAML of what else to search, or of other ranges: `density: {low: 0.002, high: 0.05, log: true}`, "
        "`batch_size: [16, 32]`.",
        SEARCH,
        off=None,
        default_help="the paper's learning rates and batch sizes",
    )
    select_on: SelectOn = setting(
        "dev, as in the paper; holdout: a part of train that no trial trains on, so that dev stays unseen.",
        SEARCH,
        off="dev",
    )
    pruner: Pruner = setting(
        "Ends a trial early at an evaluation: median ends it if it is worse than half of the complete ones.",
        SEARCH,
        off="median",
    )


SEARCH_SETTINGS = settings_of(SearchSettings)


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
    def is_settled(self) -> bool:
        """Whether no trial is to do, waiting or running."""
        return self.is_done and not self.count("waiting", "running")

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of the best score; of equal ones the first."""
        scores = [trial.score for trial in self.trials if trial.score is not None]
        if not scores:
            return None
        score = self.better(scores)
        return next(trial for trial in self.trials if trial.score == score)

    @property
    def better(self) -> Callable[[Iterable[float]], float]:
        """The function that picks the best of several scores: max, or min of losses."""
        return max if self.greater_is_better else min


Sweep = StoredResult[SweepConfig, SweepResult]  # a study and its folder, which may not be there yet

SWEEPS = ResultKind(
    "sweeps", SweepConfig, SweepResult, ("sweep", 1), "delete it and sweep again", id_of=SweepConfig.study_id
)


def read_sweeps(folders: Sequence[Path]) -> tuple[Sweep, ...]:
    """Returns every study in the folders; of copies, the one with the most finished trials."""
    furthest: dict[str, Sweep] = {}
    for sweep in read_all(SWEEPS, folders):
        known = furthest.setdefault(sweep.result.id, sweep)
        if sweep.result.finished > known.result.finished:
            furthest[sweep.result.id] = sweep
    return tuple(furthest.values())
