"""Judges answers: asks for the ratings that are not there, keeps every exchange, and takes the means."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..store.environment import describe_environment
from ..store.hold import held
from .client import Client, Reply
from .crew import share_out
from .folder import exchanges_log, finished, judge_folder, write_file, write_records
from .make_answers import Answers, Watch, make_answers
from .plan import Plan
from .questions import Question
from .rating import mean, means_by, rating_in
from .schema import Answer, Exchange, JudgeConfig, JudgeResult, Rating


@dataclass
class Standing:
    """How far the judging of one turn is."""

    question: Question
    turn: int
    texts: int = 0  # from the judge
    rating: float | None = None

    def is_settled(self, asks: int) -> bool:
        return self.rating is not None or self.texts >= asks


def standings(plan: Plan, config: JudgeConfig, results: Path) -> list[Standing]:
    """Of every turn of the plan's questions.

    Raises:
        InputError: the file of exchanges is not what it should be.
    """
    told: dict[tuple[str, int], list[Exchange]] = defaultdict(list)
    for exchange in exchanges_log(judge_folder(results, config)).read():
        if exchange.text is not None:
            told[str(exchange.question_id), exchange.turn].append(exchange)
    found = []
    for question in plan.questions:
        for turn in question.turn_numbers:
            texts = told[str(question.question_id), turn]
            ratings = [one.rating for one in texts if one.rating is not None]
            found.append(Standing(question, turn, len(texts), ratings[0] if ratings else None))
    return found


def run_judge(
    plan: Plan, results: Path, client: Client, workers: int, batch_size: int, watch: Watch
) -> JudgeResult:
    """Answers, asks the judge, and sums up; what is done already is not done again.

    Raises:
        InputError: the model cannot be loaded.
        WorkError: the judge cannot be reached, refuses, or does not answer; another process is at the same;
            or nothing can be written.
    """
    config = plan.judge
    assert config is not None
    earlier = finished(results, config)
    if earlier is not None:
        return earlier
    if not all(one.is_settled(config.asks) for one in standings(plan, config, results)):
        client.check()
    answers = make_answers(plan, results, batch_size, watch)
    folder = judge_folder(results, config)
    with held(folder):
        data = f"sha256:{config.question_set}"
        environment = describe_environment(plan.subject.checkpoint.identity, data, restarts=0)
        write_records(folder, config=config, environment=environment)
        found = standings(plan, config, results)
        _ask_all(plan, config, folder, found, answers, client, workers, watch)
        judged = [answers[one.question.key, one.turn] for one in found]
        write_file(folder / "answers.jsonl", "".join(answer.model_dump_json() + "\n" for answer in judged))
        result = sum_up(plan, config, found, judged)
        write_records(folder, result=result)
    return result


def sum_up(
    plan: Plan, config: JudgeConfig, found: Sequence[Standing], judged: Sequence[Answer]
) -> JudgeResult:
    """The means of settled turns."""
    ratings = tuple(
        Rating(
            question_id=one.question.question_id,
            category=one.question.category,
            turn=one.turn,
            rating=one.rating,
            reference=bool(plan.reference(one.question, one.turn)),
        )
        for one in found
    )
    rated = sum(one.rating is not None for one in ratings)
    return JudgeResult(
        id=config.judge_id(),
        run=config.run,
        model=config.answers.model,
        judge_model=config.judge_model,
        status="done" if rated else "failed",
        score=mean(ratings),
        turns=means_by("turn", ratings),
        categories=means_by("category", ratings),
        rated=rated,
        unrated=len(ratings) - rated,
        no_reference=sum(plan.lacks_reference(one.question, one.turn) for one in found),
        ended=dict(Counter(answer.ended for answer in judged)),
        questions=config.questions,
        question_set=config.question_set,
        prompts=config.prompts,
        ratings=ratings,
    )


def _ask_all(
    plan: Plan,
    config: JudgeConfig,
    folder: Path,
    found: Sequence[Standing],
    answers: Answers,
    client: Client,
    workers: int,
    watch: Watch,
) -> None:
    """Settles every standing, several at once."""
    todo = [one for one in found if not one.is_settled(config.asks)]
    if not todo:
        return
    watch.phase("ratings", len(found), len(found) - len(todo))
    with exchanges_log(folder).appending() as append:

        def settle(one: Standing) -> None:
            texts = [answers[one.question.key, turn].text for turn in range(1, one.turn + 1)]
            reference = plan.reference(one.question, one.turn)
            name, messages = plan.prompts.fill(one.question, texts, reference)
            request = {
                "model": config.judge_model,
                "messages": messages,
                "temperature": config.temperature,
                "max_tokens": config.max_tokens,
            }

            def keep(reply: Reply) -> None:
                append(_exchange(one, name, request, reply, client))

            while not one.is_settled(config.asks):
                one.rating = rating_in(client.ask(request, keep))
                one.texts += 1

        for _ in share_out(settle, todo, workers, client.stop):
            watch.step()


def _exchange(
    one: Standing, prompt: str, request: dict[str, object], reply: Reply, client: Client
) -> Exchange:
    return Exchange(
        question_id=one.question.question_id,
        turn=one.turn,
        prompt=prompt,
        request=request,
        status=reply.status,
        body=reply.body,
        text=None if reply.text is None else client.key.hide(reply.text),
        rating=None if reply.text is None else rating_in(reply.text),
        error=reply.error,
        seconds=round(reply.seconds, 3),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
