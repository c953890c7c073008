"""The items of ACL's reproducibility checklist, filled in from result folders; what is missing is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from .caption import (
    choice_words,
    code_words,
    data_words,
    machine_words,
    method_words,
    protocol_words,
    space_words,
    training_words,
)
from .load import Results
from .run_tables import GroupTable
from .significance import FOOTNOTE
from .summary import power_words
from .table import Chapter, Section, amount, counted, known, records_table, three_digits

MISSING = "MISSING"


def checklist(results: Results, groups: Sequence[GroupTable]) -> list[Chapter]:
    """Returns a section for each group of runs: a line an item of the checklist."""
    sections = [] if groups else [Section("", f"{MISSING}: no finished run.")]
    for made in groups:
        items = {
            name: text or f"{MISSING}: the folders do not say" for name, text in _items(made, results).items()
        }
        what = "what the folders say"
        table = records_table(list(items), [("item", str), (what, items.__getitem__)], left=(what,))
        lacking = [name for name, text in items.items() if text.startswith(MISSING)]
        words = f"Missing: {', '.join(lacking)}." if lacking else "Nothing is missing."
        sections.append(Section(made.group.title, words, [table]))
    return [Chapter("Reproducibility checklist", sections)]


def _items(made: GroupTable, results: Results) -> dict[str, str]:
    """Each item with its text; empty where the folders do not say."""
    runs = pd.concat([row.everything for row in made.group.all_rows])
    shown = pd.concat([row.runs for row in made.rows])
    studies = {
        f"{each.config.task} {each.config.method}": each
        for each in results.sweeps
        if each.config.checkpoint == made.group.first["checkpoint"]
    }
    chosen = [(row, name, choice) for row in made.rows for name, choice in row.choices.items()]
    in_grid = [f"{r.label} on {name}: {c.tried} in a grid" for r, name, c in chosen if c.tried > 1]
    grids = {name: sorted(set(runs[name])) for name in ("learning_rate", "batch_size")}
    seconds = known(runs["train_seconds"])
    trained = [
        f"{row.label} {amount(cost.trainable)} trained of {amount(cost.total)}"
        for row in made.rows
        if (cost := made.costs[row.label]).trainable is not None
    ]
    validation = [
        f"{row.label} on {column.name} {column.scale.number(sum(values) / len(values))}"
        for row in made.rows
        for column in made.columns
        if (values := known(column.of(row.runs)["selection_score"]))
    ]
    splits = [
        f"{c.name}: " + ", ".join(f"{split} {count:,}" for split, count in c.rows.items())
        for c in made.columns
    ]
    excluded = [f"{counted(count, 'run')} {status}" for status, count in results.left_out.items()]
    excluded += [f"{counted(len(results.unreadable), 'folder')} that cannot be read"] * bool(
        results.unreadable
    )
    languages = {str(o).rpartition("(")[2].rstrip(")") for o in runs["origin"] if "(" in str(o)}
    return {
        "model and parameters": f"{made.group.first['model']}: {'; '.join(trained)}" if trained else "",
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
        "bounds of hyperparameters": "; ".join(
            [f"{name}: {space_words(sweep.config)}" for name, sweep in studies.items()]
            + [
                f"{name.replace('_', ' ')} {', '.join(f'{value:g}' for value in values)} by a grid"
                for name, values in grids.items()
                if len(values) > 1
            ]
        ),
        "number of search trials": "; ".join(
            [f"{name}: {counted(sweep.result.finished, 'trial')}" for name, sweep in studies.items()]
            + in_grid
        ),
        "best hyperparameters": choice_words(made),
        "method of choosing": "; ".join(
            ["best score on the split that selects"] * bool(in_grid)
            + sorted({f"TPE, selected on {sweep.config.select_on}" for sweep in studies.values()})
            + [protocol_words(str(made.group.first["protocol"]))]
        ),
        "validation performance": ", ".join(validation),
        "seeds": ", ".join(map(str, sorted(set(shown["seed"])))),
        "statistics": FOOTNOTE if made.significance.comparisons else "",
        "power": power_words(made),
        "data and splits": f"{data_words(made.columns, runs)}; {'; '.join(splits)}",
        "excluded data": "; ".join(excluded) or "none: every run in the folders is in the tables",
        "languages": ", ".join(sorted(languages)) if made.group.is_chat else "English",
    }


def _versions(runs: pd.DataFrame) -> str:
    versions: dict[str, set[str]] = defaultdict(set)
    for found in runs["versions"]:
        for name, version in (found or {}).items():
            versions[name].add(str(version))
    return ", ".join(f"{name} {'/'.join(sorted(found))}" for name, found in sorted(versions.items()))
