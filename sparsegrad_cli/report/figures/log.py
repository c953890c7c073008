"""A run's `metrics.jsonl`, read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import InputError


@dataclass(frozen=True)
class Log:
    """What a run logged, by optimizer step."""

    loss: pd.Series
    score: pd.Series  # the main metric on the split that selects, as the metric gives it


def read_log(folder: Path, score_name: str) -> Log:
    """The log of the run in `folder`; empty where it kept none.

    Raises:
        InputError: a line is not what it should be.
    """
    path = folder / "metrics.jsonl"
    loss, score = {}, {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if "selection" in entry:
                score[int(entry["step"])] = float(entry["selection"][score_name])
            else:
                loss[int(entry["step"])] = float(entry["loss"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}: not one that sparsegrad wrote ({error!r})") from None
    return Log(*(pd.Series(values, dtype=float).sort_index() for values in (loss, score)))
