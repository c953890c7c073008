"""`sparsegrad judge`: a language model answers questions, and a judge rates the answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..config import Device, Given, check_given
from ..errors import InputError, WorkError
from ..settings import WHAT, Record, config_id, setting, settings_of
from . import options as opt

if TYPE_CHECKING:
    from ..judge.answer import Answers
    from ..judge.judge import Plan
    from ..judge.records import JudgeResult

THE_JUDGE = "The judge"
UPDATES = 10  # lines of progress per phase, where there is no terminal
CUT_SHORT = {
    "--max-new-tokens": "by --max-new-tokens",
    "positions": "by the end of the model's positions",
    "no room": "empty, because the conversation fills the model's positions",
}


class AnswerSettings(Record):
    """Options of the answers."""

    run: Path | None = setting("Folder of a finished chat run, whose model answers.", WHAT, off=None)
    model: str | None = setting("Instead of --run: a model before training.", WHAT, off=None)
    category: tuple[str, ...] = setting("Ask only questions of this category; repeatable.", WHAT, off=())
    max_questions: int | None = setting(
        "Ask at most this many questions, evenly from the categories.", WHAT, off=None, at_least=1
    )
    max_new_tokens: int = setting("Tokens of an answer, at most.", WHAT, off=1024, at_least=1)
    batch_size: int = setting(
        "Questions answered at once: faster on a GPU; changes answers by rounding alone.",
        WHAT,
        off=1,
        at_least=1,
    )
    seed: int = setting("Seed of the answers that are sampled.", WHAT, off=0, at_least=0)
    device: Device = setting("Where to generate the answers.", WHAT, off="auto")
    precision: Literal["fp32", "bf16"] = setting(
        "Precision of the answers; bf16 takes half the memory, but rounds small updates away.",
        WHAT,
        off="fp32",
    )


class JudgeSettings(Record):
    """Options of the judge and its server."""

    endpoint: str | None = setting(
        "Base URL of any server that speaks OpenAI's protocol, such as http://localhost:8000/v1.",
        THE_JUDGE,
        off=None,
    )
    judge_model: str | None = setting("Name of the judge on the server.", THE_JUDGE, off=None)
    key_variable: str | None = setting(
        "Environment variable with the server's API key.",
        THE_JUDGE,
        off=None,
        default_help="OPENAI_API_KEY for https://api.openai.com, none for other servers",
    )
    references: Path | None = setting(
        "Reference answers in FastChat's format.",
        THE_JUDGE,
        off=None,
        default_help="those beside the questions",
    )
    prompts: Path | None = setting(
        "FastChat's judge_prompts.jsonl.", THE_JUDGE, off=None, default_help="prompts of our own"
    )
    workers: int = setting("Requests at once.", THE_JUDGE, off=4, at_least=1)
    retries: int = setting(
        "Retries of a failed request, each after a longer wait.", THE_JUDGE, off=6, at_least=0
    )
    timeout: float = setting("Seconds without a byte from the server.", THE_JUDGE, off=120.0, at_least=0.1)


OF_ANSWERS, OF_JUDGE = settings_of(AnswerSettings), settings_of(JudgeSettings)


@opt.takes_settings({**OF_ANSWERS, **OF_JUDGE})
def judge(
    *,
    questions: Annotated[
        Path, opt.option(help="Questions in FastChat's format, such as MT-Bench's.", panel=WHAT)
    ],
    given: Given,
    answers_only: Annotated[
        bool,
        opt.option("--answers-only", help="Answer the questions, ask no judge.", panel=THE_JUDGE),
    ] = False,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Have a model answer the questions of MT-Bench, both turns, and a judge rate each answer from 1 to 10.

    Every answer and rating is saved at once: the same command goes on where a stopped one was.
    """
    asked, server = _read_options(given, answers_only)
    from ..judge.answer import make_answers
    from ..judge.client import Client, read_key
    from ..judge.judge import plan, run_judge
    from ..training.inputs import quiet_libraries
    from .progress import Display

    client = None
    if server.endpoint is not None:
        key = read_key(server.endpoint, server.key_variable)
        client = Client(server.endpoint, key, server.retries, server.timeout)
    quiet_libraries(downloads=not (quiet or as_json))
    planned = plan(
        questions,
        run=asked.run,
        model=asked.model,
        judge_model=server.judge_model,
        references=server.references,
        prompts=server.prompts,
        categories=asked.category,
        max_questions=asked.max_questions,
        max_new_tokens=asked.max_new_tokens,
        seed=asked.seed,
        device=asked.device,
        precision=asked.precision,
    )
    if dry_run:
        _show_plan(planned, output, as_json)
        return 0
    with Display(quiet, updates=UPDATES) as display:
        progress = display.line("")
        if client is None:
            answers = make_answers(planned.model, planned.questions, output, asked.batch_size, progress)
        else:
            result = run_judge(planned, output, client, server.workers, asked.batch_size, progress)
    if client is None:
        _show_answers(planned, output, answers, as_json)
        return 0
    _show_result(planned, output, result, as_json, quiet)
    if result.status == "failed":
        raise WorkError(
            f"{result.judge_model} gave not one rating: its texts are in exchanges.jsonl; take another judge"
        )
    return 0


def _read_options(given: Given, answers_only: bool) -> tuple[AnswerSettings, JudgeSettings]:
    """Returns the options of the answers and of the judge.

    Raises:
        InputError: the judge has no address or no name, or has options where none is asked.
    """
    checked = check_given(given, {**OF_ANSWERS, **OF_JUDGE})
    of_judge = {name: value for name, value in checked.items() if name in OF_JUDGE}
    if answers_only and of_judge:
        options = ", ".join(OF_JUDGE[name].option for name in of_judge)
        raise InputError(f"{options}: of no use with --answers-only, which asks no judge")
    missing = [OF_JUDGE[name].option for name in ("endpoint", "judge_model") if name not in of_judge]
    if missing and not answers_only:
        raise InputError(
            f"{' and '.join(missing)}: say where the judge is and its name, or add --answers-only"
        )
    of_answers = {name: value for name, value in checked.items() if name in OF_ANSWERS}
    return AnswerSettings(**of_answers), JudgeSettings(**of_judge)


def _show_plan(plan: Plan, results: Path, as_json: bool) -> None:
    """Print what is done and what is to be done."""
    from ..judge.answer import stored_answers
    from ..judge.judge import turn_states

    answered = len(stored_answers(plan.model.config, plan.questions, results))
    wanted = len({(question.key, turn) for question, turn in plan.turns})
    name = plan.model.config.model
    document: dict[str, object] = {
        "model": name,
        "run": plan.model.run,
        "questions": len(plan.questions),
        "answers": {"done": answered, "to_do": wanted - answered},
    }
    lines = [
        f"{name}: {len(plan.questions)} questions",
        f"answers  {answered} of {wanted} done, {wanted - answered} to do on {plan.model.config.device}",
    ]
    if plan.judge is not None:
        settled = [state.is_settled(plan.judge.asks) for state in turn_states(plan, plan.judge, results)]
        todo = len(settled) - sum(settled)
        lacking = sum(plan.lacks_reference(question, turn) for question, turn in plan.turns)
        document |= {
            "id": config_id(plan.judge),
            "ratings": {"done": sum(settled), "to_do": todo},
            "no_reference": lacking,
        }
        lines.append(
            f"ratings  {sum(settled)} of {len(settled)} done, {todo} to do: a request each to "
            f"{plan.judge.judge_model}, more where one fails or holds no rating"
        )
        if lacking:
            lines.append(f"{lacking} turns are judged without the reference that their category asks for")
    print(json.dumps(document, indent=2) if as_json else "\n".join(lines))


def _show_answers(plan: Plan, results: Path, answers: Answers, as_json: bool) -> None:
    """Print where the answers are."""
    from ..judge.records import ANSWERS

    config = plan.model.config
    folder = ANSWERS.folder(results, config).path
    if as_json:
        made = [answers[question.key, turn].model_dump(mode="json") for question, turn in plan.turns]
        document = {"folder": str(folder), "config": config.model_dump(mode="json"), "answers": made}
        print(json.dumps(document, indent=2))
    else:
        print(f"{len(answers)} answers of {config.model}: {folder / 'answers.jsonl'}")


def _show_result(plan: Plan, results: Path, result: JudgeResult, as_json: bool, quiet: bool) -> None:
    """Print the means, as JSON or as a table."""
    from ..judge.records import JUDGEMENTS

    assert plan.judge is not None
    folder = JUDGEMENTS.folder(results, plan.judge).path
    if as_json:
        document = {**result.model_dump(mode="json"), "config": plan.judge.model_dump(mode="json")}
        print(json.dumps({**document, "folder": str(folder)}, indent=2))
    else:
        run = f", run {result.run}" if result.run else ""
        print(f"{result.model}{run}, judged by {result.judge_model}\n", flush=True)
        Console().print(_table(result))
        print("\n".join(["", *_notes(result)]))
    if not quiet:
        print(f"written: {folder}", file=sys.stderr)


def _table(result: JudgeResult) -> Table:
    """Returns a table with a row per category, and a column per turn and for both."""
    from ..judge.judge import mean, means_by

    table = Table(box=None, padding=(0, 2, 0, 0))
    turns = sorted({one.turn for one in result.ratings})
    table.add_column("category")
    for name in (*(f"turn {turn}" for turn in turns), "mean"):
        table.add_column(name, justify="right")
    categories = list(dict.fromkeys(one.category for one in result.ratings))
    for category in (*categories, None):
        ratings = [one for one in result.ratings if category in (one.category, None)]
        by_turn = means_by("turn", ratings)
        numbers = [*(by_turn.get(str(turn)) for turn in turns), mean(ratings)]
        cells = ["-" if number is None else f"{number:.2f}" for number in numbers]
        name = "all" if category is None else escape(category)
        table.add_row(name, *cells, style="bold" if category is None else None)
    return table


def _notes(result: JudgeResult) -> list[str]:
    """Returns lines that say what the numbers rest on."""
    notes = [
        f"{result.rated} ratings from 1 to 10 of {result.questions} questions; prompts: {result.prompts}"
    ]
    if result.unrated:
        notes.append(f"{result.unrated} turns have no rating and count for nothing: the judge gave none")
    if result.no_reference:
        notes.append(
            f"{result.no_reference} turns were judged without the reference that their category asks for"
        )
    short = {why: count for why, count in result.ended.items() if why != "end of turn"}
    if short:
        counts = ", ".join(f"{count} {CUT_SHORT[why]}" for why, count in short.items())
        notes.append(f"answers cut short: {counts}")
    return notes
