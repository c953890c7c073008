"""The zip that GLUE's leaderboard takes: eleven files of test predictions, written whole and read again."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from ...errors import InputError, WorkError
from ...settings import Record
from ...store.io import write_atomically
from ...store.run_folder import TEST_PREDICTIONS
from ...tasks import get_task, leaderboard
from ...tasks.task import Task, TestSplit
from .missing import missing_words
from .runs import Candidate, Wanted, choose_runs

HEADER = "index\tprediction"


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
        """What a person is told."""
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
    """Writes the predictions of one method, model, protocol and seed as GLUE's leaderboard wants them.

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
    """Reads a submission and holds it against what the leaderboard asks for.

    Raises:
        WorkError: it is something else; says which file and line.
    """
    with zipfile.ZipFile(path) as packed:
        wanted = [split.file for splits in leaderboard().values() for split in splits]
        if sorted(packed.namelist()) != sorted(wanted):
            raise WorkError(f"the zip holds {', '.join(packed.namelist())}, not {', '.join(wanted)}")
        for name, splits in leaderboard().items():
            for split in splits:
                _check_lines(get_task(name), split, packed.read(split.file).decode().splitlines())


def _check_lines(task: Task, split: TestSplit, lines: list[str]) -> None:
    if lines[:1] != [HEADER] or len(lines) != 1 + split.rows:
        raise WorkError(f"{split.file}: {len(lines)} lines, not the header and {split.rows} rows")
    for index, line in enumerate(lines[1:]):
        place, _, answer = line.partition("\t")
        if place != str(index) or not _is_answer(task, answer):
            raise WorkError(f"{split.file}:{index + 2}: {line!r} is not {index} and a label of {task.name}")


def _is_answer(task: Task, text: str) -> bool:
    if task.is_regression:
        lowest, highest = task.range
        return re.fullmatch(r"\d\.\d+", text) is not None and lowest <= float(text) <= highest
    return text in (task.labels if task.test[0].class_names else map(str, range(len(task.labels))))


def _answers(chosen: Candidate, fill_majority: bool) -> tuple[list[Answers], dict[str, str]]:
    """Every file's source, and every file's text; what is missing or short is told at once."""
    runs = {run["task"]: run for run in chosen.predicted.to_dict("records")}
    answers, texts, short, missing = [], {}, [], []
    for name, splits in leaderboard().items():
        task, run = get_task(name), runs.get(name)
        predicted = None if run is None else _read(run["folder"])
        for split in splits:
            found = None if predicted is None else predicted[predicted["split"] == split.name]
            filled = run is None and fill_majority and split.majority is not None
            if filled:
                predictions = [split.majority] * split.rows
            elif found is None or found.empty:
                missing.append((name, split))
                continue
            else:
                short += _gaps(split, found, run["folder"])
                predictions = found.sort_values("idx")["prediction"]
            rows = [f"{i}\t{_written(task, value)}" for i, value in enumerate(predictions)]
            texts[split.file] = "\n".join([HEADER, *rows, ""])
            label = task.labels[split.majority] if filled else None
            run_id = None if filled else run["id"]
            answers.append(Answers(file=split.file, rows=len(rows), run=run_id, filled_with=label))
    if short or missing:
        words = [*short, *([missing_words(chosen, missing)] if missing else [])]
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
    if task.is_regression:
        lowest, highest = task.range
        return f"{min(max(prediction, lowest), highest):.5f}"
    return task.labels[int(prediction)] if task.test[0].class_names else str(int(prediction))
