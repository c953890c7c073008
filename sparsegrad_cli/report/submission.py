"""The zip that GLUE's leaderboard takes: eleven files of test predictions, written whole and read again.

Its runs are those of one row of a table, of one seed.
"""

from __future__ import annotations

import math
import re
import shlex
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from ..config import SETTINGS
from ..errors import InputError, WorkError
from ..settings import Record
from ..store.folder import RUNS, ResultFolder
from ..store.io import write_atomically
from ..store.records import TEST_PREDICTIONS
from ..tasks import get_task, leaderboard
from ..tasks.task import Task, TestSplit
from .caption import short_identity
from .comparable import schedule_of, split_groups
from .load import ROW_SETTINGS, SHARED, read_runs, records

HEADER = "index\tprediction"
ALWAYS_NAMED = {"model", "data", "method", "seed"}
NO_OPTION = {"task", "model_revision", "data_revision"}  # of a run's configuration
OF_TASK = {"learning_rate", "batch_size"}  # chosen for each task anew


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
    """Returns the runs of the one submission that is wanted; each task at its row's best setting.

    Raises:
        InputError: no run has test predictions, or several submissions could be made; lists them.
    """
    runs, _ = read_runs(folders)
    done = runs[(runs["status"] == "done") & runs["task"].isin(list(leaderboard()))]
    has = [(folder / TEST_PREDICTIONS).is_file() for folder in done.get("folder", ())]
    where = ", ".join(map(str, folders))
    if not any(has):
        raise InputError(
            f"--glue-zip: no finished run in {where} has test predictions: sparsegrad finetune ... "
            "--predict-test makes them, of finished runs too where their model was kept"
        )
    predicted, others = done[has].drop_duplicates("same"), done[[not each for each in has]]
    found = _candidates(_narrow(predicted, wanted), others)
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
        _candidate(of_seed, ", ".join(filter(None, (group.settings_words(row), *group.differs))), others)
        for group in split_groups(predicted)
        for row in group.all_rows
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
    shared = ("model", "checkpoint", "method", "seed", *SHARED, *ROW_SETTINGS)
    alike = [
        all(run[name] == first[name] for name in shared) and schedule_of(run) == schedule_of(first)
        for run in records(others)
    ]
    return Candidate(traits, runs, others.iloc[[i for i, same in enumerate(alike) if same]])


class Answers(Record):
    """One file of a submission."""

    file: str
    rows: int
    run: str | None  # the run that predicted it; None: filled with one class
    filled_with: str | None  # that class


class Submission(Record):
    """What was written and checked."""

    path: str
    made_of: str  # model, method, settings, protocol and seed, in words
    files: tuple[Answers, ...]

    def lines(self) -> Iterator[str]:
        """Yields what is printed."""
        yield f"GLUE submission of {self.made_of}"
        for answers in self.files:
            source = f"run {answers.run}" if answers.run else f"NO RUN: every row says {answers.filled_with}"
            yield f"  {answers.file:<11} {answers.rows:>6} rows  {source}"
        rows = sum(answers.rows for answers in self.files)
        yield (
            f"checked: {self.path} was read again: {len(self.files)} files by the leaderboard's names, "
            f"{rows} rows, every index, every label"
        )


def write_submission(
    path: Path, folders: Sequence[Path], wanted: Wanted, fill_majority: bool = False
) -> Submission:
    """Write the predictions of one method, model, protocol and seed as GLUE's leaderboard wants them.

    Args:
        path: the zip; it is there whole and checked, or as it was.
        folders: as `build_report` takes them.
        fill_majority: answer WNLI with its commonest class where no run predicted it.

    Raises:
        InputError: there are no such runs, or several, or they lack a file or rows of one; says what to do.
        WorkError: the zip cannot be written, or does not come back as it was written.
    """
    chosen = choose_runs(folders, wanted)
    answers, texts = _answers(chosen, fill_majority)

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for file, text in texts.items():
                packed.writestr(file, text)
        check_zip(temporary)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise WorkError(f"--glue-zip: cannot write {path} ({error.strerror})") from None
    return Submission(path=str(path), made_of=chosen.words(), files=tuple(answers))


def check_zip(path: Path) -> None:
    """Read a submission and hold it against what the leaderboard asks for.

    Raises:
        WorkError: it is something else; says which file and line.
    """
    with zipfile.ZipFile(path) as packed:
        wanted = [split.file for splits in leaderboard().values() for split in splits]
        if sorted(packed.namelist()) != sorted(wanted):
            raise WorkError(f"the zip holds {', '.join(packed.namelist())}, not {', '.join(wanted)}")
        for name, splits in leaderboard().items():
            for split in splits:
                _check_lines(_task(name), split, packed.read(split.file).decode().splitlines())


def _task(name: str) -> Task:
    found = get_task(name)
    assert isinstance(found, Task)
    return found


def _check_lines(task: Task, split: TestSplit, lines: list[str]) -> None:
    if lines[:1] != [HEADER] or len(lines) != 1 + split.rows:
        raise WorkError(f"{split.file}: {len(lines)} lines, not the header and {split.rows} rows")
    for index, line in enumerate(lines[1:]):
        place, _, answer = line.partition("\t")
        if place != str(index) or not _is_answer(task, answer):
            raise WorkError(f"{split.file}:{index + 2}: {line!r} is not {index} and a label of {task.name}")


def _is_answer(task: Task, text: str) -> bool:
    if task.range is not None:
        lowest, highest = task.range
        return re.fullmatch(r"\d\.\d+", text) is not None and lowest <= float(text) <= highest
    labels = task.labels or ()
    return text in (labels if task.test[0].class_names else map(str, range(len(labels))))


def _answers(chosen: Candidate, fill_majority: bool) -> tuple[list[Answers], dict[str, str]]:
    """Every file's source, and every file's text; what is missing or short is told at once."""
    runs = {run["task"]: run for run in records(chosen.predicted)}
    answers, texts, short, missing = [], {}, [], []
    for name, splits in leaderboard().items():
        task, run = _task(name), runs.get(name)
        predicted = None if run is None else _read(run["folder"])
        for split in splits:
            found = None if predicted is None else predicted[predicted["split"] == split.name]
            label = run_id = None
            if run is None and fill_majority and split.majority is not None:
                predictions = [split.majority] * split.rows
                label = (task.labels or ())[split.majority]
            elif run is None or found is None or found.empty:
                missing.append((name, split))
                continue
            else:
                short += _gaps(split, found, run["folder"])
                predictions = list(found.sort_values("idx")["prediction"])
                run_id = run["id"]
            rows = [f"{i}\t{_written(task, value)}" for i, value in enumerate(predictions)]
            texts[split.file] = "\n".join([HEADER, *rows, ""])
            answers.append(Answers(file=split.file, rows=len(rows), run=run_id, filled_with=label))
    if short or missing:
        words = [*short, *([_missing_words(chosen, missing)] if missing else [])]
        raise InputError(f"--glue-zip: {chosen.words()} makes no whole submission: {'; '.join(words)}")
    return answers, texts


def _read(folder: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(folder / TEST_PREDICTIONS, columns=["split", "idx", "prediction"])
    except (OSError, ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder / TEST_PREDICTIONS}: cannot be read ({reason}); delete it and predict again"
        ) from None


def _gaps(split: TestSplit, found: pd.DataFrame, folder: Path) -> list[str]:
    """Why the leaderboard would refuse the rows of a file, if it would."""
    if len(found) != split.rows:
        return [f"{split.file} has {len(found)} of {split.rows} rows ({folder}): its test data are not whole"]
    if sorted(found["idx"]) != list(range(split.rows)):
        return [f"{split.file}: idx is not 0 to {split.rows - 1} ({folder}): its test data are not GLUE's"]
    if not found["prediction"].map(math.isfinite).all():
        return [f"{split.file}: a prediction is not a number ({folder})"]
    return []


def _written(task: Task, prediction: float) -> str:
    """A prediction as the leaderboard reads it: a class's name or id, or a score inside the task's range."""
    if task.range is not None:
        lowest, highest = task.range
        return f"{min(max(prediction, lowest), highest):.5f}"
    return (task.labels or ())[int(prediction)] if task.test[0].class_names else str(int(prediction))


def _missing_words(chosen: Candidate, missing: Sequence[tuple[str, TestSplit]]) -> str:
    """What a submission lacks, and what to type for it.

    Args:
        missing: splits that no run has predicted, each after its task.
    """
    words = [f"no predictions for {', '.join(f'{split.file} ({task})' for task, split in missing)}"]
    commands: dict[str, list[str]] = {}
    for task in dict.fromkeys(task for task, _ in missing):
        commands.setdefault(_command(chosen, task), []).append(task)
    for command, (first, *others) in commands.items():
        also = f" (and so with --task {', '.join(others)})" if others else ""
        words.append(f"sparsegrad finetune --task {first} {command} --predict-test{also}")
    for task, split in missing:
        if split.optional and task in chosen.tasks:
            words.append(
                f"{split.file} needs {split.path}.jsonl.gz or {split.tsv} in the directory given to --data"
            )
        if split.majority is not None:
            words.append(f"{split.file} is filled with one class by --fill-missing majority")
    return "; ".join(words)


def _command(chosen: Candidate, task: str) -> str:
    """The options of the run that is there for the task; else those of another task that all tasks share."""
    for runs in (chosen.predicted, chosen.others):
        of_task = runs[runs["task"] == task]
        if not of_task.empty:
            return _options(of_task["folder"].iloc[0], leave_out=NO_OPTION)
    return _options(chosen.predicted["folder"].iloc[0], leave_out=NO_OPTION | OF_TASK)


def _options(folder: Path, leave_out: set[str]) -> str:
    config = ResultFolder(RUNS, folder).config
    usual = {"precision": "fp32", **({"epochs": config.epochs} if config.max_steps else {})}
    words = []
    for name, setting in SETTINGS.items():
        value = getattr(config, name)
        default = setting.off if setting.default_help else setting.default_for(is_chat=False)
        is_left_open = value in (None, False, setting.off, usual.get(name, default))
        if name in leave_out or (is_left_open and name not in ALWAYS_NAMED):
            continue
        words += setting.words(value)
    results = folder.parent.parent  # of results/runs/<id>
    if results != Path("results"):
        words += ["--output", str(results)]
    return shlex.join(words)
