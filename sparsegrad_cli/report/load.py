"""Result folders read into one frame of runs, a row a run, and records of everything else.

This is the only module of the report that reads folders. A folder that cannot be read is named and left out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from ..bench.config import Bench, read_benches
from ..config import METHOD_SETTINGS, RunConfig
from ..errors import InputError, UnreadableResultWarning
from ..gradients.schema import Gradients, read_gradients
from ..judge.records import Judgement, read_judgements
from ..settings import names_in_id
from ..store.folder import COUNTS, RUNS, ResultFolder, find_results, read_all
from ..store.records import CountConfig, CountResult, Environment, Result, StoredResult
from ..sweep.records import Sweep, read_sweeps
from .peft_json import read_peft_results

PREDICTIONS = "predictions.parquet"
UNFINISHED = "unfinished"  # the status of a run without a result: it is going on, or was killed

# settings that may differ between the rows of a table: those of single methods, and how a step is carried out
STEP_SETTINGS = ("accumulation_steps", "gradient_checkpointing", "basis_revision")
RECIPE = ("learning_rate", "sparse_learning_rate", "batch_size")  # what is tuned for each method and task
SCHEDULE = ("epochs", "max_steps", "max_train_examples", "eval_steps", "patience")  # how long it is trained
IDENTITY = ("model", "model_revision", "task", "task_revision", "data_revision", "method", "seed")
ROW_SETTINGS = tuple(
    name
    for name in names_in_id(RunConfig)
    if name in {*METHOD_SETTINGS, *STEP_SETTINGS} and name not in RECIPE
)
# all else must be equal for runs to be compared
SHARED = tuple(
    name
    for name in names_in_id(RunConfig)
    if name not in {*ROW_SETTINGS, *RECIPE, *SCHEDULE, *IDENTITY, "data", "basis"}
)


@dataclass(frozen=True)
class Results:
    """What result folders hold."""

    runs: pd.DataFrame  # see `read_runs`
    benches: tuple[Bench, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    gradients: tuple[Gradients, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    parts: tuple[StoredResult[CountConfig, CountResult], ...] = ()  # counts of models' parameters
    peft: tuple[dict[str, Any], ...] = ()  # see `peft_json.read_peft_results`
    unreadable: tuple[str, ...] = ()  # a message for each folder that was left out
    folders: tuple[Path, ...] = field(default=())

    @property
    def done(self) -> pd.DataFrame:
        """The finished runs, each once: of two with the same configuration and seed, the first."""
        return self.runs[self.runs["status"] == "done"].drop_duplicates("same").reset_index(drop=True)

    @property
    def left_out(self) -> dict[str, int]:
        """How many runs have no score, by their status."""
        return self.runs.loc[self.runs["status"] != "done", "status"].value_counts().to_dict()


def load_results(folders: Sequence[Path]) -> Results:
    """Reads everything in the folders: results folders, folders above runs, or single runs and other results.

    Result files of PEFT are read too: those that are given, and those that lie in the folders themselves.

    Raises:
        InputError: a folder is missing, or nothing in any of them is there or can be read.
    """
    theirs = read_peft_results(folders)
    folders = [folder for folder in folders if not folder.is_file()]
    runs, unreadable = read_runs(folders)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnreadableResultWarning)
        found = Results(
            runs,
            benches=read_benches(folders),
            sweeps=read_sweeps(folders),
            gradients=read_gradients(folders),
            judgements=read_judgements(folders),
            parts=read_all(COUNTS, folders),
            peft=tuple(theirs),
            folders=tuple(folders),
        )
    unreadable += [str(each.message).removeprefix("left out: ") for each in caught]
    found = replace(found, unreadable=tuple(dict.fromkeys(unreadable)))
    others = (found.benches, found.sweeps, found.gradients, found.judgements, found.parts, found.peft)
    if runs.empty and not any(others):
        where = ", ".join(map(str, folders))
        if found.unreadable:
            more = f"; and {len(found.unreadable) - 1} more" if len(found.unreadable) > 1 else ""
            raise InputError(f"{where}: nothing in it can be read: {found.unreadable[0]}{more}")
        raise InputError(f"{where}: no run in it; `sparsegrad finetune --output {folders[0]}` makes some")
    return found


def read_runs(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Reads every run in the folders; one that is found twice counts once.

    Returns:
        One row a run, as the files have it (None stays None): the keys of `RunConfig`; those of `Result`,
        with the keys of its `parameters` and `data` beside them, `epochs` as `epochs_taken` and
        `accumulation_steps` as `parts_taken`; of `Environment` checkpoint, git_revision, git_dirty, versions
        and, in words, hardware; `folder`; `recipe`, the values of `RECIPE`; and `same`, equal for runs whose
        configurations come to the same.
        Then a message for each folder that cannot be read.

    Raises:
        InputError: a folder is missing.
    """
    found: dict[Path, ResultFolder[RunConfig, Result]] = {}
    for run in find_results(RUNS, folders):
        found.setdefault(run.path.resolve(), run)
    rows, unreadable = [], []
    for run in found.values():
        try:
            rows.append(_read_run(run))
        except InputError as error:
            unreadable.append(str(error))
    frame = pd.DataFrame(rows, dtype=object)
    if frame.empty:
        return pd.DataFrame(columns=["status", "same", "score_name", *RunConfig.model_fields]), unreadable
    return frame.where(frame.notna(), None), unreadable


def records(runs: pd.DataFrame) -> list[Mapping[Hashable, Any]]:
    """Returns each run as a dict; `to_dict` does so a column at a time, and there are a hundred."""
    columns = list(runs.columns)
    return [dict(zip(columns, values, strict=True)) for values in runs.to_numpy(object)]


def _read_run(run: ResultFolder[RunConfig, Result]) -> dict[str, Any]:
    config = run.config
    common = {
        **config.model_dump(),
        "id": config.run_id(),
        "same": _deciding(config).run_id(),
        "recipe": tuple(getattr(config, name) for name in RECIPE),
        "folder": run.path,
    }
    if run.result() is None:
        return {**common, "status": UNFINISHED, "score": None, "score_name": None}
    stored = run.read()
    result, environment = stored.result, stored.environment
    if result.status == "done" and result.score is None:
        raise InputError(f"{run.path / 'result.json'}: the run is done but has no score")
    return {
        **common,
        **result.model_dump(exclude={"parameters", "data", "epochs", "accumulation_steps"}),
        "epochs_taken": result.epochs,
        "parts_taken": result.accumulation_steps,
        **(result.parameters.model_dump() if result.parameters else {}),
        **result.data.model_dump(),
        "checkpoint": environment.checkpoint,
        "git_revision": environment.git_revision,
        "git_dirty": environment.git_dirty,
        "versions": environment.versions,
        "hardware": hardware_words(environment),
    }


def _deciding(config: RunConfig) -> RunConfig:
    """The configuration without what decides nothing: where the data lay, and epochs under `max_steps`."""
    return config.model_copy(update={"data": "", **({"epochs": 0.0} if config.max_steps else {})})


def hardware_words(environment: Environment) -> str:
    """Returns the GPU's name, or the processor's with its threads."""
    hardware = environment.hardware
    threads = hardware.get("threads", "?")
    processor = f"{hardware.get('processor', 'processor unknown')}, {threads} thread{'s' * (threads != 1)}"
    return str(hardware.get("gpu", processor))


@dataclass(frozen=True)
class Predictions:
    """Of several runs on the same examples of the split that gives the score.

    Of a loss, labels are the numbers of tokens that count and predictions the mean losses over them.
    """

    labels: np.ndarray  # examples
    predictions: np.ndarray  # examples x runs
    trees: np.ndarray | None  # examples: which conversation tree each is cut from; None: they are independent
    place: dict[Path, int]  # folder of a run -> its column
    missing: dict[Path, str]  # folder of a run that has no column -> why


def read_predictions(folders: Sequence[Path], is_loss: bool = False) -> Predictions:
    """Reads the predictions of runs; those of other examples than most runs have are left out."""
    columns = ["tokens", "loss"] if is_loss else ["label", "prediction"]
    found: dict[Path, pd.DataFrame] = {}
    missing: dict[Path, str] = {}
    for folder in folders:
        try:
            found[folder] = _scored(folder / PREDICTIONS, columns)
        except FileNotFoundError:
            missing[folder] = f"no {PREDICTIONS}"
        except (OSError, KeyError, pyarrow.ArrowException):
            missing[folder] = f"{PREDICTIONS} cannot be read"
    examples = {folder: rows[["idx", "label"]].to_numpy(float).tobytes() for folder, rows in found.items()}
    usual = max(examples.values(), key=list(examples.values()).count, default=b"")
    missing |= {folder: f"{PREDICTIONS} of other examples" for folder in found if examples[folder] != usual}
    same = [folder for folder in found if examples[folder] == usual]
    if not same:
        return Predictions(np.empty(0), np.empty((0, 0)), None, {}, missing)
    first = found[same[0]]
    return Predictions(
        labels=first["label"].to_numpy(float),
        predictions=np.column_stack([found[folder]["prediction"].to_numpy(float) for folder in same]),
        trees=pd.factorize(first["tree"])[0] if "tree" in first else None,
        place={folder: column for column, folder in enumerate(same)},
        missing=missing,
    )


def read_classes(folder: Path) -> int:
    """Returns how many classes a run told apart: the logits of an example, else the labels that occur."""
    path = folder / PREDICTIONS
    if "logits" in pyarrow.parquet.read_schema(path).names:
        return len(pd.read_parquet(path, columns=["logits"])["logits"].iloc[0])
    return int(pd.read_parquet(path, columns=["label"])["label"].nunique())


def _scored(path: Path, columns: list[str]) -> pd.DataFrame:
    """The examples of the first split, which gives the score, in the order of their `idx`."""
    names = pyarrow.parquet.read_schema(path).names
    rows = pd.read_parquet(path, columns=["split", "idx", *columns, *(["tree"] if "tree" in names else [])])
    scored = rows[rows["split"] == rows["split"].iloc[0]]
    scored = scored.rename(columns=dict(zip(columns, ["label", "prediction"], strict=True)))
    return scored.sort_values("idx", ignore_index=True)


def read_log(folder: Path, score_name: str) -> pd.DataFrame:
    """Reads what a run logged.

    Returns:
        `step`, `loss` (of training) and `score` (the main metric on the split that selects), one of the two
        missing; empty where the run kept no log.

    Raises:
        InputError: a line is not what it should be.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows: list[dict[str, float]] = []
    for number, line in enumerate(lines, 1):
        try:
            entry: Any = json.loads(line)
            kind, value = "loss", entry.get("loss")
            if isinstance(selection := entry.get("selection"), dict):
                kind, value = "score", selection[score_name]
            rows.append({"step": int(entry["step"]), kind: float(value)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number}: not one that sparsegrad wrote ({error!r})") from None
    return pd.DataFrame(rows, columns=["step", "loss", "score"]).sort_values("step")
