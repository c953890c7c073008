"""Which runs may be compared, and which setting of a method stands for it.

A *group* holds runs that share all that would make a comparison unfair: model, checkpoint, protocol, device,
precision, data, how long they train. Within a group a *row* is a method with one choice of its own settings
(rank, density, ...), and a column is a task with one set of examples.

Learning rate and batch size make no rows. For each task a row shows the rate that did best on the split that
selects; where some rows tried more rates than all tried, among those that all did.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from ..config import RunConfig
from ..methods import order_and_colour
from ..store.records import LOSS, greater_is_better
from ..tasks import get_task, task_names
from ..tasks.task import Task
from .load import ROW_SETTINGS, SCHEDULE, SHARED, records
from .table import Scale, counted, listed, metric_words, scale_of, short_model

Run = Mapping[Hashable, Any]  # a row of the frame of runs
Recipe = tuple[Any, ...]  # values of `RECIPE`
KINDS = {"complete": "GLUE", "partial": "GLUE", "custom": "own", "synthetic": "synthetic"}
PAPERS = {"density": 0.01, "mask": "dynamic", "calibration_steps": 30}
LINES = 6  # rows that a table or a panel of a figure holds at most before settings get a table of their own


@dataclass(frozen=True)
class TaskColumn:
    """One task with one set of examples and one main metric."""

    task: str
    score_name: str  # the main metric
    metrics: tuple[str, ...]  # the main one first
    data_revision: str  # SHA-256 over the examples
    completeness: str
    rows: dict[str, int]  # split -> rows
    known: Task | None  # of GLUE; None: a user's
    mark: str = ""  # tells two columns of one task apart

    @property
    def name(self) -> str:
        return f"{self.task} ({self.mark})" if self.mark else self.task

    @property
    def scale(self) -> Scale:
        return scale_of(self.score_name)

    @property
    def majority(self) -> float | None:
        """The accuracy of always saying the commonest class."""
        return self.known.majority if self.known else None

    @property
    def note(self) -> str:
        """What must be said of the data in the head of the column."""
        return "" if self.completeness == "complete" else self.completeness

    def of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Returns the runs that stand in the column."""
        here = runs["task"].eq(self.task) & runs["data_revision"].eq(self.data_revision)
        return runs[here & runs["score_name"].eq(self.score_name)]


@dataclass(frozen=True)
class Choice:
    """Why a row shows the recipe it shows, on one task."""

    recipe: Recipe
    tried: int  # recipes that it was chosen among
    rates: tuple[float, ...]  # learning rates among them, in order
    at_edge: bool  # a lower or higher rate than those tried may be better


@dataclass(frozen=True)
class Row:
    """A method with one choice of settings, each task at the recipe chosen for it."""

    method: str
    settings: dict[str, Any]  # of ROW_SETTINGS, those that are not as in the method's reference row
    runs: pd.DataFrame  # at the chosen recipes
    everything: pd.DataFrame  # at every recipe
    choices: dict[str, Choice]  # by the name of the column

    @property
    def label(self) -> str:
        return f"{self.method} ({self.suffix})" if self.suffix else self.method

    @property
    def suffix(self) -> str:
        """The settings in words; those that are not set are named where nothing else is."""
        words = [text for pair in self.settings.items() if (text := setting_words(*pair))]
        return ", ".join(words or [f"no {name.replace('_', '-')}" for name in self.settings])


@dataclass(frozen=True)
class Group:
    """Runs that may be compared."""

    kind: str  # of the data: "GLUE", "own", "synthetic" or "chat"
    runs: pd.DataFrame
    differs: tuple[str, ...] = ()  # how it is trained, where another group of the same model differs in that

    @property
    def first(self) -> pd.Series:
        """Any run: for what all share."""
        return self.runs.iloc[0]

    @property
    def is_chat(self) -> bool:
        return self.first["score_name"] == LOSS

    @property
    def title(self) -> str:
        """Model and tasks, and what sets the group apart from the usual."""
        first, tasks = self.first, [column.name for column in self.columns]
        where = tasks[0] if len(tasks) == 1 else counted(len(tasks), "task")
        data = {"synthetic": "SYNTHETIC data", "own": "own data"}.get(self.kind, "")
        words = [
            f"{short_model(first['model'])} on {where}",
            data,
            f"blocks {first['blocks']}" if first["blocks"] not in (None, "all") else "",
            "loss on all turns" if first["loss_on"] == "all" else "",
            first["precision"] if first["precision"] != "fp32" else "",
            f"{first['protocol']} protocol",
            "the rest of the model frozen" if first["freeze_rest"] and not self.is_chat else "",
            *self.differs,
        ]
        return ", ".join(filter(None, words))

    @cached_property
    def columns(self) -> tuple[TaskColumn, ...]:
        """The tasks, in GLUE's order."""
        order = task_names()
        keys = ["task", "data_revision", "score_name"]
        found = [_column(part) for _, part in self.runs.groupby(keys, sort=True)]
        found.sort(key=lambda c: (order.index(c.task) if c.task in order else len(order), c.task))
        tasks = [column.task for column in found]
        return tuple(
            replace(column, mark=f"data {column.data_revision[:6]}" if tasks.count(column.task) > 1 else "")
            for column in found
        )

    @cached_property
    def all_rows(self) -> list[Row]:
        """Every method with every choice of its settings, each method's reference first."""
        by_key: dict[Recipe, list[int]] = defaultdict(list)
        for position, run in enumerate(records(self.runs)):
            by_key[(run["method"], *(run[name] for name in ROW_SETTINGS))].append(position)
        parts = {key: self.runs.iloc[positions] for key, positions in by_key.items()}
        ordered = sorted(parts, key=lambda key: _reference_first(key, parts[key]))
        references = {key[0]: key for key in reversed(ordered)}
        common = self._common_recipes([parts[key] for key in references.values()])
        rows = []
        for key in ordered:
            pairs = zip(ROW_SETTINGS, key[1:], references[key[0]][1:], strict=True)
            settings = {name: value for name, value, usual in pairs if value != usual}
            rows.append(_choose(key[0], settings, parts[key], self.columns, common))
        return rows

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the comparison: each method's reference; its other settings too if they are few."""
        first = {row.method: row for row in reversed(self.all_rows)}
        alike = [row for row in self.all_rows if set(row.choices) >= set(first[row.method].choices)]
        return alike if len(alike) <= LINES else [row for row in self.all_rows if row is first[row.method]]

    @property
    def ablations(self) -> dict[str, list[Row]]:
        """Methods that were run with several settings, those that are not all in the comparison."""
        shown = {row.label for row in self.rows}
        by_method: dict[str, list[Row]] = defaultdict(list)
        for row in self.all_rows:
            by_method[row.method].append(row)
        return {m: rows for m, rows in by_method.items() if {row.label for row in rows} - shown}

    @property
    def average_over(self) -> tuple[TaskColumn, ...]:
        """The tasks of the average: those that every row has, or all; empty where there are not two."""
        counted = [
            column
            for column in self.columns
            if (column.known is None or column.known.in_average) and not self.is_chat
        ]
        shared = [c for c in counted if all(c.name in row.choices for row in self.rows)]
        chosen = shared if len(shared) > 1 else counted
        distinct = len({column.task for column in chosen}) == len(chosen)
        return tuple(chosen) if len(chosen) > 1 and distinct else ()

    def varies(self, method: str) -> list[str]:
        """Returns the settings that differ between a method's rows."""
        rows = [row for row in self.all_rows if row.method == method]
        return [name for name in ROW_SETTINGS if any(name in row.settings for row in rows)]

    def settings_words(self, row: Row) -> str:
        """Returns all that tells a row from others of its method; of the reference too."""
        values = row.runs.iloc[0]
        words = (setting_words(name, values[name]) for name in self.varies(row.method))
        return ", ".join(filter(None, words))

    def _common_recipes(self, parts: Sequence[pd.DataFrame]) -> dict[str, set[Recipe]]:
        """For each column the recipes to choose among, if some methods tried all that others did, and more.

        Methods whose rates are of other scales choose among their own; the caption says how many each tried.
        """
        common = {}
        for column in self.columns:
            tried = [set(column.of(part)["recipe"]) for part in parts if len(column.of(part))]
            shared = set.intersection(*tried) if tried else set()
            counts = {len(found) for found in tried}
            if len(counts) > 1 and len(shared) == min(counts):
                common[column.name] = shared
        return common


def split_groups(done: pd.DataFrame) -> list[Group]:
    """Splits finished runs into groups, the largest first.

    Args:
        done: as `load.Results.done` has them.
    """
    if done.empty:
        return []
    chat = done["score_name"].eq(LOSS)
    kind = done["completeness"].map(KINDS).mask(chat & done["completeness"].eq("complete"), "chat")
    # losses over other tokens do not compare: of chat tasks the data count too
    data = (done["task"] + done["data_revision"]).where(chat, "")
    keys = done[list(SHARED)].assign(model=done["model"], checkpoint=done["checkpoint"], kind=kind, data=data)
    keyed = keys.apply(lambda row: json.dumps([str(value) for value in row]), axis=1)
    groups = []
    for _, runs in done.groupby(keyed, sort=True):
        parts = _by_schedule(runs)
        for part in parts:
            schedule = zip(SCHEDULE, schedule_of(part.iloc[0].to_dict()), strict=True)
            differs = [text for name, value in schedule if (text := setting_words(name, value))]
            groups.append(Group(kind[part.index[0]], part, tuple(differs) if len(parts) > 1 else ()))
    groups.sort(key=lambda group: (group.is_chat, group.kind == "synthetic", -len(group.runs)))
    return [_told_apart(group, [each for each in groups if each.title == group.title]) for group in groups]


def _told_apart(group: Group, twins: Sequence[Group]) -> Group:
    """The group, with what it does not share with others of the same title."""
    telling = [n for n in (*SHARED, "checkpoint") if len({str(each.first[n]) for each in twins}) > 1]
    words = (f"{name.replace('_', '-')} {str(group.first[name])[:19]}" for name in telling)
    return replace(group, differs=(*group.differs, *words))


def schedule_of(run: Run) -> tuple[Any, ...]:
    """Returns how long a run is trained at most; `epochs` counts for nothing where `max_steps` is set."""
    return tuple(
        None if name == "epochs" and run["max_steps"] is not None else run[name] for name in SCHEDULE
    )


def setting_words(name: str, value: Any) -> str:
    """Returns a setting as the command line has it; empty where it is not set, or off."""
    if value is None or value is False or value == RunConfig.model_fields[name].default:
        return ""
    flag = name.replace("_", "-")
    if value is True:
        return flag
    if name == "basis_revision":
        return f"basis {str(value)[:8]}"
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"


def glue_task(name: str) -> Task | None:
    """Returns the GLUE task of that name; None: it is a user's or of chat."""
    found = get_task(name) if name in task_names() else None
    return found if isinstance(found, Task) else None


def _column(runs: pd.DataFrame) -> TaskColumn:
    """The column of runs that share task, examples and main metric."""
    first = runs.iloc[0]
    known, score_name = glue_task(first["task"]), first["score_name"]
    if known and known.score_name == score_name:
        metrics = tuple(f"{metric}{suffix}" for suffix in known.suffixes for metric in known.metrics)
    else:
        names = (name for found in runs["metrics"] for name in found if not name.endswith("_before"))
        metrics = tuple(dict.fromkeys([score_name, *names]))
    return TaskColumn(
        **{name: first[name] for name in ("task", "score_name", "data_revision", "completeness", "rows")},
        metrics=metrics,
        known=known,
    )


def _by_schedule(runs: pd.DataFrame) -> list[pd.DataFrame]:
    """One part if every task has one schedule, else a part for each schedule."""
    schedules = pd.Series([str(schedule_of(run)) for run in records(runs)], index=runs.index)
    if schedules.groupby(runs["task"] + runs["data_revision"]).nunique().max() == 1:
        return [runs]
    return [part for _, part in runs.groupby(schedules)]


def _reference_first(key: tuple[Any, ...], runs: pd.DataFrame) -> tuple[Any, ...]:
    """Sorts methods, and a method's settings by tasks and runs, then by nearness to the paper's."""
    named = dict(zip(ROW_SETTINGS, key[1:], strict=True))
    papers = sum(named.get(name, value) == value for name, value in PAPERS.items() if name in named)
    set_ones = sum(value is not None for value in named.values())
    words = [str(value) if isinstance(value, str | bool | None) else f"{value:020.6f}" for value in key[1:]]
    return order_and_colour(key[0]), key[0], -runs["task"].nunique(), -len(runs), -papers, set_ones, words


def at_recipe(runs: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Returns the runs with these values of `RECIPE`."""
    return runs[[each == recipe for each in runs["recipe"]]]


def _choose(
    method: str,
    settings: dict[str, Any],
    runs: pd.DataFrame,
    columns: Sequence[TaskColumn],
    common: Mapping[str, Collection[Recipe]],
) -> Row:
    """Takes for each task the recipe that is best on the split that selects, over the seeds that all have."""
    choices, chosen = {}, []
    for column in columns:
        here = column.of(runs)
        if here.empty:
            continue
        every = set(here["recipe"])
        tried = every.intersection(common.get(column.name, every)) or every
        parts = {recipe: at_recipe(here, recipe) for recipe in sorted(every, key=str)}
        seeds = set.intersection(*(set(parts[recipe]["seed"]) for recipe in tried))
        sign = 1 if greater_is_better(column.score_name) else -1
        scores = {recipe: sign * _selection_score(part, seeds) for recipe, part in parts.items()}
        best = max((recipe for recipe in parts if recipe in tried), key=lambda recipe: scores[recipe])
        rates = sorted({recipe[0] for recipe in tried})
        # a rate that others did not try can show that none beyond it is better
        outdone = {best[0], *(recipe[0] for recipe in parts if scores[recipe] <= scores[best])}
        at_edge = len(rates) > 1 and best[0] in (min(outdone), max(outdone))
        choices[column.name] = Choice(best, len(tried), tuple(rates), at_edge)
        chosen.append(parts[best])
    return Row(method, settings, pd.concat(chosen), runs, choices)


def _selection_score(runs: pd.DataFrame, seeds: set[int]) -> float:
    """The mean over the seeds; of runs that kept no selection score, their score."""
    common = runs[runs["seed"].isin(seeds)] if seeds else runs
    selected = common["selection_score"].astype(float)
    return float(selected.where(selected.notna(), common["score"].astype(float)).mean())


def tasks_words(columns: Sequence[TaskColumn]) -> str:
    """Returns the metric of the only task, or `average of cola, mrpc and rte`."""
    if len(columns) == 1:
        return metric_words(columns[0].score_name)
    return f"average of {listed([column.name for column in columns])}"
