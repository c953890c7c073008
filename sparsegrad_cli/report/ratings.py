"""What judges gave to the answers of chat runs, by row, turn and category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from ..judge.records import Judgement
from .comparable import Group
from .table import (
    MeanStd,
)

BEFORE = "not trained"


@dataclass(frozen=True)
class Ratings:
    """What one judge gave to the answers of each row, by one set of questions in one wording."""

    name: str
    model: str
    config: Any  # JudgeConfig of any of the judgements
    scores: dict[str, MeanStd]  # label of a row, or `BEFORE` -> over the runs, each with its mean rating
    parts: dict[str, dict[str, float]]  # the same -> "turn 1", "math", ... -> mean
    unrated: dict[str, tuple[int, int]]  # the same -> answers without a rating, answers in all


def find_ratings(group: Group, judgements: Iterable[Judgement]) -> list[Ratings]:
    """Finds for each way of judging what it gave to the rows, and to the checkpoint that they start from."""
    by_column: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.result.score is not None:
            config = judgement.config
            alike = config.model_dump_json(exclude={"kind", "answers", "run", "questions", "prompts"})
            by_column[f"{alike}{config.answers.max_new_tokens}"].append(judgement)
    found = []
    for _, own in sorted(by_column.items()):
        judged = {row.label: [j for j in own if j.config.run in set(row.runs["id"])] for row in group.rows}
        start = group.first["checkpoint"]
        judged[BEFORE] = [j for j in own if j.config.run is None and j.config.answers.checkpoint == start]
        judged = {label: of_row for label, of_row in judged.items() if of_row}
        if judged:
            found.append(_ratings(own[0].config, judged))
    names = [ratings.model for ratings in found]
    return [
        replace(each, name=f"{each.model} ({names[: place + 1].count(each.model)})")
        if names.count(each.model) > 1
        else each
        for place, each in enumerate(found)
    ]


def _ratings(config: Any, judged: dict[str, list[Judgement]]) -> Ratings:
    scores, parts, unrated = {}, {}, {}
    for label, own in judged.items():
        by_run: dict[str | None, list[float]] = defaultdict(list)  # answers with other seeds count once
        of_parts: dict[str, list[float]] = defaultdict(list)
        for judgement in own:
            result = judgement.result
            by_run[judgement.config.run].append(float(result.score or 0.0))
            for name, mean in {
                **{f"turn {t}": m for t, m in result.turns.items()},
                **result.categories,
            }.items():
                of_parts[name].append(mean)
        scores[label] = MeanStd.over(map(fmean, by_run.values()))
        parts[label] = {name: fmean(values) for name, values in of_parts.items()}
        without = sum(j.result.unrated for j in own)
        unrated[label] = (without, without + sum(j.result.rated for j in own))
    return Ratings(config.judge_model, config.judge_model, config, scores, parts, unrated)
