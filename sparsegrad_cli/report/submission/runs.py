"""Which runs make one submission to GLUE's leaderboard: those of one row of a table, of one seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import InputError
from ...store.run_folder import TEST_PREDICTIONS
from ...tasks import leaderboard
from ..caption import short_identity
from ..read import read_runs
from ..rows import settings_of, split_rows

OF_TABLE = ["model", "checkpoint", "protocol", "device", "precision"]


@dataclass(frozen=True)
class Wanted:
    """What narrows the choice; None: anything."""

    method: str | None = None
    seed: int | None = None
    model: str | None = None
    protocol: str | None = None


@dataclass(frozen=True)
class Candidate:
    """Runs that may be submitted together."""

    traits: dict[str, str]  # what they share, in words; empty where there is nothing to say
    predicted: pd.DataFrame  # those with test predictions, one a task
    others: pd.DataFrame  # finished runs of the same kind without test predictions

    @property
    def tasks(self) -> list[str]:
        return [task for task in leaderboard() if task in set(self.predicted["task"])]

    def words(self, names: Iterable[str] = ("model", "method", "settings", "protocol", "seed")) -> str:
        return ", ".join(self.traits[name] for name in names if self.traits[name])


def choose_runs(folders: Sequence[Path], wanted: Wanted) -> Candidate:
    """The runs of the one submission that is wanted.

    Raises:
        InputError: no run has test predictions, or several submissions could be made; lists them.
    """
    runs = read_runs(folders)
    done = runs[(runs["status"] == "done") & runs["task"].isin(list(leaderboard()))]
    has = done["folder"].map(lambda folder: (folder / TEST_PREDICTIONS).is_file()).astype(bool)
    predicted = done[has].drop_duplicates("same")
    where = ", ".join(map(str, folders))
    if predicted.empty:
        raise InputError(
            f"--glue-zip: no finished run in {where} has test predictions: sparsegrad finetune ... "
            "--predict-test makes them, of finished runs too where their model was kept"
        )
    found = _candidates(_narrow(predicted, wanted), done[~has])
    if len(found) > 1:
        telling = [name for name in found[0].traits if len({one.traits[name] for one in found}) > 1]
        listed = "; ".join(f"{one.words(telling)} ({', '.join(one.tasks)})" for one in found)
        options = [f"--{name}" for name in vars(wanted) if name in telling]
        how = " or ".join([", ".join(options), "the folders of its runs"] if options else ["their folders"])
        raise InputError(
            f"--glue-zip: the runs in {where} make {len(found)} submissions, choose one by {how}: {listed}"
        )
    return found[0]


def _narrow(predicted: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    for name, value in vars(wanted).items():
        if value is None:
            continue
        there = sorted(set(predicted[name]))
        predicted = predicted[predicted[name] == value]
        if predicted.empty:
            raise InputError(
                f"--{name} {value}: no such run has test predictions, there is {', '.join(map(str, there))}"
            )
    return predicted


def _candidates(predicted: pd.DataFrame, others: pd.DataFrame) -> list[Candidate]:
    return [
        _candidate(of_seed, row.suffix, others)
        for _, of_table in predicted.groupby(OF_TABLE, sort=True)
        for row in split_rows(of_table)
        for _, of_seed in row.runs.groupby("seed")
    ]


def _candidate(runs: pd.DataFrame, settings: str, others: pd.DataFrame) -> Candidate:
    first = runs.iloc[0].to_dict()
    traits = {
        "model": first["model"],
        "method": first["method"],
        "settings": settings,
        "protocol": f"{first['protocol']} protocol",
        "seed": f"seed {first['seed']}",
        "device": first["device"],
        "precision": first["precision"],
        "checkpoint": short_identity(first["checkpoint"]),
    }
    repeated = runs["task"][runs["task"].duplicated()]
    if not repeated.empty:
        raise InputError(
            f"--glue-zip: {traits['method']} {traits['seed']} has test predictions for {repeated.iloc[0]} "
            "by runs on different data: give the folders of the runs that you mean"
        )
    alike = [
        all(run[name] == first[name] for name in (*OF_TABLE, "method", "seed"))
        and settings_of(run) == settings_of(first)
        for run in others.to_dict("records")
    ]
    return Candidate(traits, runs, others.iloc[[i for i, same in enumerate(alike) if same]])
