"""Which runs stand in one row of a table: those of one method with the same settings.

Task, seed and data make no row, nor does what is chosen for each task: how long it is trained, learning rate
and batch size. But where one task was run with several, these make rows too. So no cell averages two
configurations, and no two cells of a column were trained for different lengths unless their rows say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from ..config import METHOD_SETTINGS, RunConfig
from ..settings import names_in_id

METHODS = ("ft", "lora", "meprop", "sparsegrad")  # the order of rows
_OF_TABLE = {"model", "model_revision", "protocol", "device", "precision", "method"}
_WITHIN_ROW = {"task", "seed", "data_revision", "learning_rate", "batch_size"}
SCHEDULE = ("epochs", "max_steps", "max_train_examples", "eval_steps", "patience")
SETTINGS = tuple(name for name in names_in_id(RunConfig) if name not in _OF_TABLE | _WITHIN_ROW)

Setting = int | float | str | bool | None


@dataclass(frozen=True)
class RowRuns:
    """The runs of one row."""

    method: str
    suffix: str  # what tells the row from others, such as "density 0.02"; often empty
    runs: pd.DataFrame


def split_rows(runs: pd.DataFrame) -> list[RowRuns]:
    """The rows of one table, in order.

    Args:
        runs: finished runs that belong into one table, as `read_runs` has them.
    """
    groups: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    records = runs.to_dict("records")
    left_out = SCHEDULE if one_schedule_a_task(records) else ()
    for position, run in enumerate(records):
        settings = {name: None if name in left_out else value for name, value in settings_of(run).items()}
        groups[(run["method"], *settings.values())].append(position)
    telling = _telling_settings(groups)
    rows = []
    for (method, *values), positions in sorted(groups.items(), key=lambda group: _order(group[0])):
        named = dict(zip(SETTINGS, values, strict=True))
        words = [setting_words(name, named[name]) for name in SETTINGS if name in telling[method]]
        for recipe, part in _split_by_recipe(runs.iloc[positions]):
            suffix = ", ".join(word for word in [*words, recipe] if word)
            rows.append(RowRuns(method, suffix, part))
    return rows


def settings_of(run: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings that make a row; `epochs` counts for nothing where `max_steps` overrides it."""
    settings = {name: run[name] for name in SETTINGS}
    if settings["max_steps"] is not None:
        settings["epochs"] = None
    return settings


def schedule_of(run: Mapping[str, Setting]) -> dict[str, Setting]:
    """How long a run is trained, at most."""
    settings = settings_of(run)
    return {name: settings[name] for name in SCHEDULE}


def one_schedule_a_task(runs: Iterable[Mapping[str, Setting]]) -> bool:
    """Whether all runs on the same examples were trained for equally long."""
    seen: dict[tuple[Setting, Setting], dict[str, Setting]] = {}
    return all(
        seen.setdefault((run["task"], run["data_revision"]), schedule_of(run)) == schedule_of(run)
        for run in runs
    )


def recipe_words(learning_rate: float, batch_size: int) -> str:
    return f"lr {learning_rate:g}, batch {batch_size}"


def method_order(method: str) -> tuple[int, str]:
    """Sorts methods as tables list them, unknown ones last."""
    return (METHODS.index(method) if method in METHODS else len(METHODS), method)


def _telling_settings(groups: Iterable[tuple[Hashable, ...]]) -> dict[str, set[str]]:
    """For each method the settings that its rows must name, because they differ somewhere.

    A setting of some methods only is None for the others, which is no difference between them.
    """
    values: dict[str, dict[str, set[Hashable]]] = defaultdict(lambda: defaultdict(set))
    for method, *settings in groups:
        for name, value in zip(SETTINGS, settings, strict=True):
            values[name][str(method)].add(value)
    telling: dict[str, set[str]] = defaultdict(set)
    for name, by_method in values.items():
        everywhere = set().union(*by_method.values())
        if name in METHOD_SETTINGS:
            everywhere.discard(None)
        for method, own in by_method.items():
            if len(everywhere) > 1 or len(own) > 1:
                telling[method].add(name)
    return telling


def _split_by_recipe(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Parts in which every task has one learning rate and batch size, each with words for it.

    What a table of the paper or a default gave stays together, though it differs between tasks; a choice
    by hand has a row of its own.
    """
    if not _recipes_clash(runs):
        return [("", runs)]
    recipe = ["learning_rate", "batch_size"]
    pairs = runs[recipe].astype(str).agg(" ".join, axis=1)
    source = runs["hyperparameters_from"]
    listed = source.where(~source.str.contains("option"))
    of_pair = listed.groupby([runs["task"], runs["data_revision"], pairs]).transform("first")
    names = of_pair.where(of_pair.notna(), pairs)
    names = names.where(pairs.groupby(names).transform("nunique") > 1, pairs)
    if any(_recipes_clash(part) for _, part in runs.groupby(names)):
        names = pairs
    parts = []
    for name, part in runs.groupby(names):
        several = len(part[recipe].drop_duplicates()) > 1
        words = str(name) if several else recipe_words(*part[recipe].iloc[0])
        parts.append((not several, part["learning_rate"].min(), words, part))
    return [(words, part) for *_, words, part in sorted(parts, key=lambda entry: entry[:3])]


def _recipes_clash(runs: pd.DataFrame) -> bool:
    recipes = runs[["task", "data_revision", "learning_rate", "batch_size"]].drop_duplicates()
    return bool(recipes.duplicated(["task", "data_revision"]).any())


def _order(key: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    method, *values = key
    return (method_order(str(method)), *((value is not None, value or 0) for value in values))


def setting_words(name: str, value: Setting) -> str:
    """A setting as the command line has it; empty where it is not set."""
    if value is None or value is False or value == RunConfig.model_fields[name].default:
        return ""
    flag = name.replace("_", "-")
    if value is True:
        return flag
    if name == "basis_revision":
        return f"basis {str(value)[:8]}"
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"
