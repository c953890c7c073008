"""The folders of answers and judgements: found by what decides them, read for a report without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import WorkError
from ..store.atomic import write_text
from ..store.find_results import finished_in, told
from ..store.read_record import read_record
from ..store.schema import Environment, Record
from .log import Log
from .schema import Answer, AnswersConfig, Exchange, JudgeConfig, JudgeResult

ADVICE = "take the folder away and judge anew"


@dataclass(frozen=True)
class Judgement:
    """One finished judgement as it is on disk."""

    folder: Path
    config: JudgeConfig
    result: JudgeResult
    environment: Environment


def answers_folder(results: Path, config: AnswersConfig) -> Path:
    """The folder `<results>/answers/<id>`."""
    return results / "answers" / config.answers_id()


def judge_folder(results: Path, config: JudgeConfig) -> Path:
    """The folder `<results>/judge/<id>`."""
    return results / "judge" / config.judge_id()


def answers_log(folder: Path) -> Log[Answer]:
    return Log(folder / "answers.jsonl", Answer)


def exchanges_log(folder: Path) -> Log[Exchange]:
    return Log(folder / "exchanges.jsonl", Exchange)


def finished(results: Path, config: JudgeConfig) -> JudgeResult | None:
    """The result of a judgement with this configuration, if there is one.

    Raises:
        InputError: its file is not what it should be.
    """
    path = judge_folder(results, config) / "result.json"
    return read_record(JudgeResult, path, ADVICE) if path.exists() else None


def write_records(folder: Path, **records: Record) -> None:
    """Writes each as `<name>.json`, in their order.

    Raises:
        WorkError: it cannot be written.
    """
    for name, record in records.items():
        write_file(folder / f"{name}.json", record.model_dump_json(indent=2) + "\n")


def write_file(path: Path, text: str) -> None:
    """Atomically.

    Raises:
        WorkError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise WorkError(f"cannot write to {path.parent}: {error.strerror}; see --output") from None


def is_judge(folder: Path) -> bool:
    """Whether `folder` holds a judgement, finished or not, rather than a run."""
    return told(folder, "kind") == "judge"


def read_judgements(folders: Sequence[Path]) -> tuple[Judgement, ...]:
    """Every finished judgement in the folders: results folders, or single judgements.

    Raises:
        InputError: a file is not what it should be.
    """
    return tuple(_read(folder) for folder in finished_in(folders, "judge", is_judge))


def _read(folder: Path) -> Judgement:
    kinds = {"config": JudgeConfig, "result": JudgeResult, "environment": Environment}
    return Judgement(
        folder, *(read_record(kind, folder / f"{name}.json", ADVICE) for name, kind in kinds.items())
    )
