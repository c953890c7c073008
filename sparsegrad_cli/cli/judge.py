"""`sparsegrad judge`: a language model answers questions, and a judge rates the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, WorkError
from . import options as opt

JUDGE = "The judge"


def judge(
    questions: Annotated[
        Path,
        typer.Option(help="In FastChat's format, such as MT-Bench's.", rich_help_panel=opt.WHAT),
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="A finished chat run, whose model answers.", rich_help_panel=opt.WHAT),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="In its place: a model before training.", rich_help_panel=opt.WHAT),
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(help="Only questions of this category; repeatable.", rich_help_panel=opt.WHAT),
    ] = None,
    max_questions: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, evenly from the categories.", rich_help_panel=opt.WHAT),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Of an answer, at most.", rich_help_panel=opt.WHAT)
    ] = 1024,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="Questions answered at once: quicker on a GPU; answers change by rounding alone.",
            rich_help_panel=opt.WHAT,
        ),
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the answers that are drawn.", rich_help_panel=opt.WHAT)
    ] = 0,
    device: Annotated[
        opt.Device, typer.Option(help="Where to answer.", rich_help_panel=opt.WHAT)
    ] = opt.Device.auto,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Of any server that speaks OpenAI's protocol, such as http://localhost:8000/v1.",
            rich_help_panel=JUDGE,
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The judge, as the server names it.", rich_help_panel=JUDGE)
    ] = None,
    key_variable: Annotated[
        str | None,
        typer.Option(
            help="Environment variable with the server's key. Default: OPENAI_API_KEY, if it is set.",
            show_default=False,
            rich_help_panel=JUDGE,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Reference answers, in FastChat's format. Default: those beside the questions.",
            show_default=False,
            rich_help_panel=JUDGE,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="FastChat's judge_prompts.jsonl. Default: prompts of our own.",
            show_default=False,
            rich_help_panel=JUDGE,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Requests at once.", rich_help_panel=JUDGE)] = 4,
    retries: Annotated[
        int,
        typer.Option(
            min=0, help="Of a request that failed, waiting longer each time.", rich_help_panel=JUDGE
        ),
    ] = 6,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a sign of the server.", rich_help_panel=JUDGE)
    ] = 120.0,
    answers_only: Annotated[
        bool,
        typer.Option("--answers-only", help="Answer the questions, ask no judge.", rich_help_panel=JUDGE),
    ] = False,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Let a model answer the questions of MT-Bench, both turns, and have a judge rate each from 1 to 10.

    What is answered and rated is kept at once: a command that was stopped goes on where it was.
    """
    asked = {
        "--endpoint": endpoint,
        "--judge-model": judge_model,
        "--key-variable": key_variable,
        "--references": references,
        "--prompts": prompts,
    }
    _check_options(answers_only, asked)
    from ..judge.client import Client
    from ..judge.key import read_key
    from ..judge.make_answers import make_answers
    from ..judge.plan import Choices, plan
    from ..judge.run import run_judge
    from ..training.inputs import quiet_libraries
    from .judge_progress import JudgeWatch
    from .judge_show import show_answers, show_plan, show_result

    key = read_key(key_variable)
    client = Client(endpoint, key, retries, timeout) if endpoint is not None else None
    quiet_libraries(downloads=not (quiet or as_json))
    planned = plan(
        Choices(
            questions=questions,
            run=run,
            model=model,
            judge_model=judge_model,
            references=references,
            prompts=prompts,
            categories=category or (),
            max_questions=max_questions,
            max_new_tokens=max_new_tokens,
            seed=seed,
            device=device.value,
        )
    )
    if dry_run:
        show_plan(planned, output, as_json)
        return 0
    with JudgeWatch(quiet) as watch:
        if client is None:
            answers = make_answers(planned, output, batch_size, watch)
        else:
            result = run_judge(planned, output, client, workers, batch_size, watch)
    if client is None:
        show_answers(planned, output, answers, as_json)
        return 0
    show_result(planned, output, result, as_json, quiet)
    if result.status == "failed":
        raise WorkError(
            f"{judge_model} gave not one rating: its texts are in exchanges.jsonl; take another judge"
        )
    return 0


def _check_options(answers_only: bool, asked: dict[str, object]) -> None:
    """Refuses a judge without an address or a name, and what none would be asked with.

    Raises:
        InputError: names the options.
    """
    given = [name for name, value in asked.items() if value is not None]
    if answers_only and given:
        raise InputError(f"{', '.join(given)}: of no use with --answers-only, which asks no judge")
    missing = [name for name in ("--endpoint", "--judge-model") if asked[name] is None]
    if missing and not answers_only:
        raise InputError(
            f"{' and '.join(missing)}: say where the judge is and its name, or add --answers-only"
        )
