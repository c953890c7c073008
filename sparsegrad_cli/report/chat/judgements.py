"""The columns that judgements make beside a table's rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from ...judge.records import JudgeConfig, Judgement
from ..rows import RowRuns
from ..table import Spread
from .table import Judge, Judged

# what must be the same for ratings to compare
OF_JUDGE = ("judge_model", "question_set", "prompts_asked", "references", "temperature", "max_tokens", "asks")
OF_ANSWERS = {"max_new_tokens"}


def judge_columns(
    judgements: Iterable[Judgement], rows: Sequence[RowRuns], checkpoint: str
) -> tuple[Judge, ...]:
    """A column for each way of judging that any row, or the starting checkpoint, was judged in.

    Args:
        checkpoint: identity of the weights that all runs of the rows start from.
    """
    by_column: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.result.score is not None:
            by_column[_column(judgement.config)].append(judgement)
    found: list[Judge] = []
    for _, own in sorted(by_column.items()):
        of_rows = tuple(_judged([j for j in own if j.config.run in set(row.runs["id"])]) for row in rows)
        starts = [j for j in own if j.config.run is None and j.config.answers.checkpoint == checkpoint]
        if any(of_rows) or starts:
            found.append(_judge(own[0].config, of_rows, _judged(starts)))
    return tuple(_named(found))


def _judge(config: JudgeConfig, rows: tuple[Judged | None, ...], before: Judged | None) -> Judge:
    shared = config.model_dump(include={"questions", "question_set", "prompts", "references"})
    return Judge(
        name=config.judge_model,
        model=config.judge_model,
        max_new_tokens=config.answers.max_new_tokens,
        rows=rows,
        before=before,
        **shared,
    )


def _named(judges: Sequence[Judge]) -> Iterator[Judge]:
    """Numbered where one model has several columns."""
    models = [judge.model for judge in judges]
    for place, judge in enumerate(judges):
        number = f" ({models[:place].count(judge.model) + 1})" if models.count(judge.model) > 1 else ""
        yield judge.model_copy(update={"name": f"{judge.model}{number}"})


def _judged(judgements: Sequence[Judgement]) -> Judged | None:
    """Runs that were judged several times, of answers with other seeds, count once, with the mean."""
    if not judgements:
        return None
    scores: dict[str | None, list[float]] = defaultdict(list)
    for judgement in judgements:
        scores[judgement.config.run].append(judgement.result.score)
    results = [judgement.result for judgement in judgements]
    return Judged(
        score=Spread.over(map(fmean, scores.values())),
        turns=_means(result.turns for result in results),
        categories=_means(result.categories for result in results),
        rated=sum(result.rated for result in results),
        unrated=sum(result.unrated for result in results),
    )


def _means(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """By name, over those that have it."""
    sums, counts = Counter[str](), Counter[str]()
    for means in found:
        sums.update(means)
        counts.update(means.keys())
    return {name: sums[name] / count for name, count in counts.items()}


def _column(config: JudgeConfig) -> str:
    """Equal for judgements whose ratings compare."""
    return config.model_dump_json(include={**dict.fromkeys(OF_JUDGE, True), "answers": OF_ANSWERS})
