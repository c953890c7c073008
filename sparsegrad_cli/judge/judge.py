"""A judge's ratings of answers: resolve what to judge, ask for the ratings that are missing, take the means.

Every request and its reply is kept, so that a command that was stopped asks nothing twice.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from statistics import fmean

from ..progress import Progress
from ..settings import config_id, hash_of
from ..store.environment import describe_environment
from ..store.io import write_error, write_text
from .answer import AnsweringModel, Answers, find_model, make_answers
from .client import Client
from .questions import (
    BY_REFERENCE,
    Prompt,
    Question,
    default_prompts,
    fill_prompt,
    prompts_hash,
    question_set,
    read_prompts,
    read_questions,
    read_references,
    references_shown,
    select_questions,
)
from .records import (
    JUDGEMENTS,
    Answer,
    Exchange,
    JudgeConfig,
    JudgeResult,
    Precision,
    Rating,
    RecordLog,
    Reply,
    Request,
)

# as FastChat: the first number in double brackets; without any, the first in single ones
RATING_PATTERNS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
LOWEST, HIGHEST = 1, 10
EXCHANGES = "exchanges.jsonl"


@dataclass(frozen=True)
class Plan:
    """What is answered and judged."""

    model: AnsweringModel
    questions: tuple[Question, ...]
    prompts: Mapping[str, Prompt]
    references: Mapping[str, list[str]]  # question id -> one text per turn, where the judge is shown them
    judge: JudgeConfig | None  # None: answers alone

    @property
    def turns(self) -> list[tuple[Question, int]]:
        """Every turn of every question."""
        return [(question, turn) for question in self.questions for turn in question.turn_numbers]

    def reference(self, question: Question, turn: int) -> list[str]:
        """Returns the reference answers to the turns up to this one; none unless all are there."""
        texts = self.references.get(str(question.question_id), [])[:turn]
        return texts if len(texts) == turn and all(texts) else []

    def lacks_reference(self, question: Question, turn: int) -> bool:
        """Returns whether a turn is judged without a reference answer though its category asks for one."""
        return question.category in BY_REFERENCE and not self.reference(question, turn)


def plan(
    questions: Path,
    *,
    run: Path | None = None,
    model: str | None = None,
    judge_model: str | None = None,
    references: Path | None = None,
    prompts: Path | None = None,
    categories: Sequence[str] = (),
    max_questions: int | None = None,
    max_new_tokens: int = 1024,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "fp32",
) -> Plan:
    """Read the files, find the model, and check that all fit together; see the options of the command.

    Args:
        judge_model: None: nothing is judged.

    Raises:
        InputError: an option or a file is wrong.
        WorkError: the cache of the hub cannot be written.
    """
    chosen = select_questions(read_questions(questions), categories, max_questions)
    prompts_read = read_prompts(prompts) if prompts else default_prompts()
    shown = references_shown(chosen, read_references(references) if references else None)
    answering = find_model(run, model, max_new_tokens, seed, device, precision)
    judge = None
    if judge_model is not None:
        asked = prompts_hash(prompts_read)
        judge = JudgeConfig(
            answers=answering.config,
            run=answering.run,
            judge_model=judge_model,
            questions=len(chosen),
            question_set=question_set(chosen),
            prompts=asked if prompts else "default",
            prompts_asked=asked,
            references=hash_of(shown),
        )
    return Plan(answering, chosen, prompts_read, shown, judge)


@dataclass
class TurnState:
    """How far the judging of one turn is."""

    question: Question
    turn: int
    texts: int = 0  # of the judge
    rating: float | None = None

    def is_settled(self, asks: int) -> bool:
        """Returns whether there is a rating, or were too many texts without one."""
        return self.rating is not None or self.texts >= asks


def turn_states(plan: Plan, config: JudgeConfig, results: Path) -> list[TurnState]:
    """Returns the state of every turn of the plan's questions, from the exchanges on disk."""
    ratings: dict[tuple[str, int], list[float | None]] = defaultdict(list)
    for exchange in RecordLog(JUDGEMENTS.folder(results, config).path / EXCHANGES, Exchange).read():
        if exchange.text is not None:
            ratings[str(exchange.question_id), exchange.turn].append(exchange.rating)
    states = []
    for question, turn in plan.turns:
        found = ratings[str(question.question_id), turn]
        rating = next((one for one in found if one is not None), None)
        states.append(TurnState(question, turn, len(found), rating))
    return states


def run_judge(
    plan: Plan, results: Path, client: Client, workers: int, batch_size: int, progress: Progress
) -> JudgeResult:
    """Answer, ask the judge, and take the means; nothing that is on disk is done again.

    Raises:
        InputError: the model cannot be loaded.
        WorkError: the judge cannot be reached, refuses or does not answer; another process judges the same;
            or a file cannot be written.
    """
    config = plan.judge
    assert config is not None
    folder = JUDGEMENTS.folder(results, config)
    earlier = folder.result()
    if earlier is not None:
        return earlier
    if not all(state.is_settled(config.asks) for state in turn_states(plan, config, results)):
        client.check()
    answers = make_answers(plan.model, plan.questions, results, batch_size, progress)
    with folder.lock():
        data = f"sha256:{config.question_set}"
        folder.begin(describe_environment(plan.model.checkpoint.identity, data, restarts=0))
        states = turn_states(plan, config, results)
        log = RecordLog(folder.path / EXCHANGES, Exchange)
        _ask_all(plan, config, log, states, answers, client, workers, progress)
        judged = [answers[state.question.key, state.turn] for state in states]
        try:
            write_text(folder.path / "answers.jsonl", "".join(a.model_dump_json() + "\n" for a in judged))
        except OSError as error:
            raise write_error(folder.path, error) from None
        result = _summarize(plan, config, states, judged)
        folder.finish(result)
    return result


def _ask_all(
    plan: Plan,
    config: JudgeConfig,
    log: RecordLog[Exchange],
    states: Sequence[TurnState],
    answers: Answers,
    client: Client,
    workers: int,
    progress: Progress,
) -> None:
    """Settle every turn, `workers` requests at once; after an error, those under way end and are kept."""
    todo = [state for state in states if not state.is_settled(config.asks)]
    if not todo:
        return
    done = len(states) - len(todo)
    progress.phase("ratings", len(states), done)
    with log.appending() as append:

        def rate(state: TurnState) -> None:
            texts = [answers[state.question.key, turn].text for turn in range(1, state.turn + 1)]
            reference = plan.reference(state.question, state.turn)
            prompt, messages = fill_prompt(plan.prompts, state.question, texts, reference)
            request: Request = {
                "model": config.judge_model,
                "messages": messages,
                "temperature": config.temperature,
                "max_tokens": config.max_tokens,
            }

            def keep(reply: Reply) -> None:
                append(
                    Exchange(
                        **reply.model_dump(),
                        question_id=state.question.question_id,
                        turn=state.turn,
                        prompt=prompt,
                        request=request,
                        rating=None if reply.text is None else rating_in(reply.text),
                    )
                )

            while not state.is_settled(config.asks):
                state.rating = rating_in(client.ask(request, keep))
                state.texts += 1

        errors: list[Exception] = []

        def settle(state: TurnState) -> None:
            if not client.stop.is_set():
                try:
                    rate(state)
                except Exception as error:
                    errors.append(error)
                    client.stop.set()

        # unlike those of a ThreadPoolExecutor, its threads do not keep Ctrl-C from ending the process
        with ThreadPool(min(workers, len(todo))) as pool:
            try:
                for number, _ in enumerate(pool.imap_unordered(settle, todo), done + 1):
                    if not errors:
                        progress.step(number)
            finally:
                client.stop.set()
    if errors:
        raise errors[0]  # the others followed from it


def _summarize(
    plan: Plan, config: JudgeConfig, states: Sequence[TurnState], judged: Sequence[Answer]
) -> JudgeResult:
    """Returns the result of settled turns."""
    ratings = tuple(
        Rating(
            question_id=state.question.question_id,
            category=state.question.category,
            turn=state.turn,
            rating=state.rating,
            reference=bool(plan.reference(state.question, state.turn)),
        )
        for state in states
    )
    rated = sum(one.rating is not None for one in ratings)
    return JudgeResult(
        id=config_id(config),
        run=config.run,
        model=config.answers.model,
        judge_model=config.judge_model,
        status="done" if rated else "failed",
        score=mean(ratings),
        turns=means_by("turn", ratings),
        categories=means_by("category", ratings),
        rated=rated,
        unrated=len(ratings) - rated,
        no_reference=sum(plan.lacks_reference(question, turn) for question, turn in plan.turns),
        ended=dict(Counter(answer.ended for answer in judged)),
        questions=config.questions,
        question_set=config.question_set,
        prompts=config.prompts,
        ratings=ratings,
    )


def rating_in(text: str) -> float | None:
    """Returns the rating in a judge's text; None where there is none from 1 to 10."""
    found = next((match for pattern in RATING_PATTERNS if (match := pattern.search(text))), None)
    rating = float(found[1]) if found else None
    return rating if rating is not None and LOWEST <= rating <= HIGHEST else None


def mean(ratings: Iterable[Rating]) -> float | None:
    """Returns the mean of the ratings that are there; None where there is none."""
    numbers = [one.rating for one in ratings if one.rating is not None]
    return fmean(numbers) if numbers else None


def means_by(key: str, ratings: Iterable[Rating]) -> dict[str, float]:
    """Returns the mean of each "turn" or "category" (`key`) that has one, in the order of the ratings."""
    groups: dict[str, list[Rating]] = defaultdict(list)
    for one in ratings:
        groups[str(getattr(one, key))].append(one)
    return {name: found for name, group in groups.items() if (found := mean(group)) is not None}
