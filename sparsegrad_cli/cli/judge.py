"""`sparsegrad judge`: a language model answers questions, and a judge rates the answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..config import Device
from ..errors import InputError, WorkError
from ..settings import config_id
from . import options as opt

if TYPE_CHECKING:
    from ..judge.answer import Answers
    from ..judge.judge import Plan
    from ..judge.records import JudgeResult

WORKERS, RETRIES, TIMEOUT = 4, 6, 120.0  # defaults; an option that was not given is None
UPDATES = 10  # lines of progress per phase, where there is no terminal
CUT_SHORT = {
    "--max-new-tokens": "by --max-new-tokens",
    "positions": "by the end of the model's positions",
    "no room": "empty, because the conversation fills the model's positions",
}

Precision = StrEnum("Precision", ["fp32", "bf16"])


answering = partial(typer.Option, rich_help_panel=opt.WHAT)
judging = partial(typer.Option, rich_help_panel="The judge", show_default=False)


def judge(
    questions: Annotated[Path, answering(help="Questions in FastChat's format, such as MT-Bench's.")],
    run: Annotated[Path | None, answering(help="Folder of a finished chat run, whose model answers.")] = None,
    model: Annotated[str | None, answering(help="Instead of --run: a model before training.")] = None,
    category: Annotated[
        list[str] | None, answering(help="Ask only questions of this category; repeatable.")
    ] = None,
    max_questions: Annotated[
        int | None, answering(min=1, help="Ask at most this many questions, evenly from the categories.")
    ] = None,
    max_new_tokens: Annotated[int, answering(min=1, help="Tokens of an answer, at most.")] = 1024,
    batch_size: Annotated[
        int,
        answering(
            min=1, help="Questions answered at once: faster on a GPU; changes answers by rounding alone."
        ),
    ] = 1,
    seed: Annotated[int, answering(min=0, help="Seed of the answers that are sampled.")] = 0,
    device: Annotated[Device, answering(help="Where to generate the answers.")] = "auto",
    precision: Annotated[
        Precision,
        answering(
            help="Precision of the answers; bf16 takes half the memory, but rounds small updates away."
        ),
    ] = Precision.fp32,
    endpoint: Annotated[
        str | None,
        judging(
            help="Base URL of any server that speaks OpenAI's protocol, such as http://localhost:8000/v1."
        ),
    ] = None,
    judge_model: Annotated[str | None, judging(help="Name of the judge on the server.")] = None,
    key_variable: Annotated[
        str | None,
        judging(
            help="Environment variable with the server's API key. Default: OPENAI_API_KEY for "
            "https://api.openai.com, none for other servers."
        ),
    ] = None,
    references: Annotated[
        Path | None,
        judging(help="Reference answers in FastChat's format. Default: those beside the questions."),
    ] = None,
    prompts: Annotated[
        Path | None, judging(help="FastChat's judge_prompts.jsonl. Default: prompts of our own.")
    ] = None,
    workers: Annotated[int | None, judging(min=1, help=f"Requests at once. Default: {WORKERS}.")] = None,
    retries: Annotated[
        int | None,
        judging(min=0, help=f"Retries of a failed request, each after a longer wait. Default: {RETRIES}."),
    ] = None,
    timeout: Annotated[
        float | None,
        judging(min=0.1, help=f"Seconds without a byte from the server. Default: {TIMEOUT:g}."),
    ] = None,
    answers_only: Annotated[
        bool, judging("--answers-only", help="Answer the questions, ask no judge.")
    ] = False,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Have a model answer the questions of MT-Bench, both turns, and a judge rate each answer from 1 to 10.

    Every answer and rating is kept at once: the same command goes on where a stopped one was.
    """
    for_judge = {
        "--endpoint": endpoint,
        "--judge-model": judge_model,
        "--key-variable": key_variable,
        "--references": references,
        "--prompts": prompts,
        "--workers": workers,
        "--retries": retries,
        "--timeout": timeout,
    }
    _check_options(answers_only, for_judge)
    from ..judge.answer import make_answers
    from ..judge.client import Client, read_key
    from ..judge.judge import plan, run_judge
    from ..training.inputs import quiet_libraries
    from .progress import Display

    client = None
    if endpoint is not None:
        key = read_key(endpoint, key_variable)
        client = Client(endpoint, key, RETRIES if retries is None else retries, timeout or TIMEOUT)
    quiet_libraries(downloads=not (quiet or as_json))
    planned = plan(
        questions,
        run=run,
        model=model,
        judge_model=judge_model,
        references=references,
        prompts=prompts,
        categories=category or (),
        max_questions=max_questions,
        max_new_tokens=max_new_tokens,
        seed=seed,
        device=device,
        precision="bf16" if precision is Precision.bf16 else "fp32",
    )
    if dry_run:
        _show_plan(planned, output, as_json)
        return 0
    with Display(quiet, updates=UPDATES) as display:
        progress = display.line("")
        if client is None:
            answers = make_answers(planned.model, planned.questions, output, batch_size, progress)
        else:
            result = run_judge(planned, output, client, workers or WORKERS, batch_size, progress)
    if client is None:
        _show_answers(planned, output, answers, as_json)
        return 0
    _show_result(planned, output, result, as_json, quiet)
    if result.status == "failed":
        raise WorkError(
            f"{judge_model} gave not one rating: its texts are in exchanges.jsonl; take another judge"
        )
    return 0


def _check_options(answers_only: bool, for_judge: Mapping[str, object]) -> None:
    """Refuse a judge without an address or a name, and its options where no judge is asked.

    Raises:
        InputError: names the options.
    """
    given = [name for name, value in for_judge.items() if value is not None]
    if answers_only and given:
        raise InputError(f"{', '.join(given)}: of no use with --answers-only, which asks no judge")
    missing = [name for name in ("--endpoint", "--judge-model") if for_judge[name] is None]
    if missing and not answers_only:
        raise InputError(
            f"{' and '.join(missing)}: say where the judge is and its name, or add --answers-only"
        )


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
