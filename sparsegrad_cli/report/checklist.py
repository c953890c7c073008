"""The items of ACL's reproducibility checklist, filled in from result folders; what is missing is named."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..sweep.records import Sweep
from .caption import (
    choice_words,
    code_words,
    data_words,
    machine_words,
    method_words,
    space_words,
    training_words,
)
from .load import Results
from .run_tables import GroupTable
from .significance import FOOTNOTE
from .summary import power_words, protocol_words
from .table import Chapter, Section, amount, counted, known, table_of, three_digits

MISSING = "MISSING"


def checklist(results: Results, groups: Sequence[GroupTable]) -> list[Chapter]:
    """Returns a section for each group of runs: a line an item of the checklist."""
    if not groups:
        return [Chapter("Reproducibility checklist", [Section("", f"{MISSING}: no finished run.")])]
    sections = []
    for made in groups:
        items = _items(made, results)
        table = table_of(
            {"item": list(items), "what the folders say": list(items.values())},
            left=("what the folders say",),
        )
        lacking = [name for name, text in items.items() if text.startswith(MISSING)]
        words = f"Missing: {', '.join(lacking)}." if lacking else "Nothing is missing."
        sections.append(Section(made.group.title, words, [table]))
    return [Chapter("Reproducibility checklist", sections)]


def _items(made: GroupTable, results: Results) -> dict[str, str]:
    runs = pd.concat([row.everything for row in made.group.all_rows])
    shown = pd.concat([row.runs for row in made.rows])
    studies = [s for s in results.sweeps if s.config.checkpoint == made.group.first["checkpoint"]]
    tuned = [choice for row in made.rows for choice in row.choices.values() if choice.tried > 1]
    seconds = known(runs["train_seconds"])
    items = {
        "model and parameters": _parameters(made),
        "methods": method_words(made.rows),
        "code": code_words(zip(runs["git_revision"], runs["git_dirty"], strict=True)),
        "dependencies": _versions(runs),
        "computing infrastructure": machine_words(runs),
        "run time": f"{sum(seconds) / 3600:.2f} hours over {counted(len(seconds), 'run')}, "
        f"{three_digits(sum(seconds) / len(seconds))} s each on average; speeds in the tables"
        if seconds
        else "",
        "evaluation metrics": ", ".join(f"{c.task}: {', '.join(c.metrics)}" for c in made.columns),
        "training": training_words(shown),
        "bounds of hyperparameters": _bounds(runs, studies),
        "number of search trials": _trials(made, studies),
        "best hyperparameters": choice_words(made),
        "method of choosing": _choosing(studies, bool(tuned), str(made.group.first["protocol"])),
        "validation performance": _validation(made),
        "seeds": ", ".join(map(str, sorted(set(shown["seed"])))),
        "statistics": FOOTNOTE if made.significance.comparisons else "",
        "power": power_words(made),
        "data and splits": data_words(made.columns, runs) + "; " + _splits(made),
        "excluded data": _excluded(results),
        "languages": "English" if not made.group.is_chat else _languages(runs),
    }
    return {name: text or f"{MISSING}: the folders do not say" for name, text in items.items()}


def _parameters(made: GroupTable) -> str:
    words = [
        f"{row.label} {amount(cost.trainable)} trained of {amount(cost.total)}"
        for row in made.rows
        if (cost := made.costs[row.label]).trainable is not None
    ]
    return f"{made.group.first['model']}: {'; '.join(words)}" if words else ""


def _versions(runs: pd.DataFrame) -> str:
    versions: dict[str, set[str]] = {}
    for found in runs["versions"]:
        for name, version in (found or {}).items():
            versions.setdefault(name, set()).add(str(version))
    return ", ".join(f"{name} {'/'.join(sorted(found))}" for name, found in sorted(versions.items()))


def _bounds(runs: pd.DataFrame, studies: Sequence[Sweep]) -> str:
    words = [f"{s.config.task} {s.config.method}: {space_words(s.config)}" for s in studies]
    for name in ("learning_rate", "batch_size"):
        values = sorted(set(runs[name]))
        if len(values) > 1:
            words.append(f"{name.replace('_', ' ')} {', '.join(f'{value:g}' for value in values)} by a grid")
    return "; ".join(words)


def _trials(made: GroupTable, studies: Sequence[Sweep]) -> str:
    words = [f"{s.config.task} {s.config.method}: {counted(s.result.finished, 'trial')}" for s in studies]
    words += [
        f"{row.label} on {name}: {choice.tried} in a grid"
        for row in made.rows
        for name, choice in row.choices.items()
        if choice.tried > 1
    ]
    return "; ".join(words)


def _choosing(studies: Sequence[Sweep], tuned: bool, protocol: str) -> str:
    words = ["best score on the split that selects"] if tuned else []
    words += sorted({f"TPE, selected on {s.config.select_on}" for s in studies})
    return "; ".join([*words, protocol_words(protocol)])


def _validation(made: GroupTable) -> str:
    words = []
    for row in made.rows:
        for column in made.columns:
            values = known(column.of(row.runs)["selection_score"])
            if values:
                words.append(f"{row.label} on {column.name} {column.scale.number(sum(values) / len(values))}")
    return ", ".join(words)


def _splits(made: GroupTable) -> str:
    return "; ".join(
        f"{c.name}: " + ", ".join(f"{split} {count:,}" for split, count in c.rows.items())
        for c in made.columns
    )


def _excluded(results: Results) -> str:
    words = [f"{counted(count, 'run')} {status}" for status, count in results.left_out.items()]
    words += [counted(len(results.unreadable), "folder") + " that cannot be read"] * bool(results.unreadable)
    return "; ".join(words) or "none: every run in the folders is in the tables"


def _languages(runs: pd.DataFrame) -> str:
    return ", ".join(
        sorted(
            {str(origin).rpartition("(")[2].rstrip(")") for origin in runs["origin"] if "(" in str(origin)}
        )
    )
