"""Which studies stand in one table, and which of them in one row.

A study is to a table what a run is, but for the hyperparameters that it searches: these are None.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ...sweep.folder import ReadSweep
from ...sweep.schema import SweepConfig
from ..build import KINDS, columns_of
from ..read import hardware_words
from ..rows import split_rows
from ..table import Column
from .params import space_words


@dataclass(frozen=True)
class StudyRow:
    """The studies of one method with the same settings; one a column, None where there is none."""

    method: str
    suffix: tuple[str, ...]  # what tells the row from others; often empty
    studies: tuple[ReadSweep | None, ...]

    @property
    def lines(self) -> list[str]:
        """The row's label."""
        return [self.method, *self.suffix]


@dataclass(frozen=True)
class Group:
    """Studies of one model and checkpoint, one kind of data, protocol, device and precision, that select on
    the same examples; of chat tasks, by the loss over the same tokens.
    """

    kind: str  # "GLUE", "chat", "own" or "synthetic"
    frame: pd.DataFrame  # a row a study, as `read_runs` has runs
    columns: tuple[Column, ...]
    rows: tuple[StudyRow, ...]

    @property
    def config(self) -> SweepConfig:
        """Of any study: what all have in common."""
        return next(iter(self.labelled.values())).sweep.config

    @property
    def labelled(self) -> dict[str, ReadSweep]:
        """Every study by its task and what tells it from the others of that task."""
        return {
            " ".join(word for word in (column.task, column.mark, *row.lines) if word): study
            for place, column in enumerate(self.columns)
            for row in self.rows
            if (study := row.studies[place])
        }


def group_studies(sweeps: Sequence[ReadSweep]) -> list[Group]:
    """The tables that studies come to, those of one model together."""
    found: dict[tuple[str, ...], list[ReadSweep]] = defaultdict(list)
    for read in sweeps:
        found[_key(read.sweep.config)].append(read)
    return [_group(key[1], studies) for key, studies in sorted(found.items())]


def _key(config: SweepConfig) -> tuple[str, ...]:
    run, kind = config.template, KINDS[config.data.completeness]
    tokens = [] if config.greater_is_better else [run.loss_on, run.chat_format, run.length]
    if tokens and kind == "GLUE":
        kind = "chat"
    shared = (run.model, kind, config.select_on, config.checkpoint, run.protocol, run.device, run.precision)
    return (*shared, *map(str, tokens))


def _group(kind: str, studies: list[ReadSweep]) -> Group:
    frame = pd.DataFrame([_as_run(study, place) for place, study in enumerate(studies)], dtype=object)
    frame = frame.where(frame.notna(), None)
    columns = columns_of(frame)
    alike: dict[tuple[str, ...], list[ReadSweep]] = defaultdict(list)
    for row in split_rows(frame):
        settings = row.suffix.split(", ") if row.suffix else []
        alike[(row.method, *settings)] += [studies[place] for place in row.runs["place"]]
    rows = [
        StudyRow(method, (*settings, *words), tuple(_in_column(part, column) for column in columns))
        for (method, *settings), own in alike.items()
        for words, part in _split_by_search(own)
    ]
    return Group(kind, frame, columns, tuple(rows))


def _as_run(study: ReadSweep, place: int) -> dict[str, object]:
    config, environment = study.sweep.config, study.environment
    searched = dict.fromkeys(config.space.parameters)
    known = (
        {
            "git_revision": environment.git_revision,
            "git_dirty": environment.git_dirty,
            "hardware": hardware_words(environment),
        }
        if environment
        else {}
    )
    return {
        **config.template.model_dump(),
        **searched,
        "learning_rate": 0.0,  # make no rows
        "batch_size": 0,
        "score_name": config.score_name,
        "metrics": {config.score_name: 0.0},
        "origin": config.data.origin,
        "completeness": config.data.completeness,
        "rows": config.data.rows,
        **known,
        "known": environment is not None,
        "place": place,
    }


def _split_by_search(studies: list[ReadSweep]) -> list[tuple[tuple[str, ...], list[ReadSweep]]]:
    """Parts that have one study a task, each with words for how it searches, where that takes several."""
    tasks = [(s.sweep.config.task, s.sweep.config.template.data_revision) for s in studies]
    if len(set(tasks)) == len(tasks):
        return [((), studies)]
    hows = [_how(study.sweep.config) for study in studies]
    names = dict.fromkeys(name for how in hows for name in how)
    telling = [name for name in names if len({how.get(name) for how in hows}) > 1]
    parts: dict[tuple[str, ...], list[ReadSweep]] = defaultdict(list)
    for how, study in zip(hows, studies, strict=True):
        parts[tuple(how[name] for name in telling if name in how)].append(study)
    return list(parts.items())


def _how(config: SweepConfig) -> dict[str, str]:
    return {
        "seed": f"seed {config.template.seed}",
        "pruner": f"pruner {config.pruner}",
        **space_words(config),
    }


def _in_column(studies: list[ReadSweep], column: Column) -> ReadSweep | None:
    for study in studies:
        config = study.sweep.config
        if (config.task, config.template.data_revision) == (column.task, column.data_revision):
            return study
    return None
