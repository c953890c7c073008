"""What `judge` prints: what is to be done, where answers are, and what the ratings come to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..judge.folder import answers_folder, judge_folder
from ..judge.make_answers import Answers, kept_answers
from ..judge.plan import Plan
from ..judge.rating import mean, means_by
from ..judge.run import standings
from ..judge.schema import Ended, JudgeResult

CUT_SHORT: dict[Ended, str] = {
    "--max-new-tokens": "by --max-new-tokens",
    "positions": "by the end of the model's positions",
    "no room": "empty, for the conversation fills the model's positions",
}


def show_plan(plan: Plan, results: Path, as_json: bool) -> None:
    """Prints what is done and what is to be done."""
    answered, wanted = len(kept_answers(plan, results)), len(plan.places)
    document: dict[str, object] = {
        "model": plan.answers.model,
        "run": plan.subject.run,
        "questions": len(plan.questions),
        "answers": {"done": answered, "to_do": wanted - answered},
    }
    lines = [
        f"{plan.answers.model}: {len(plan.questions)} questions",
        f"answers  {answered} of {wanted} done, {wanted - answered} to do on {plan.answers.device}",
    ]
    if plan.judge is not None:
        settled = [one.is_settled(plan.judge.asks) for one in standings(plan, plan.judge, results)]
        todo = len(settled) - sum(settled)
        lacking = sum(
            plan.lacks_reference(question, turn)
            for question in plan.questions
            for turn in question.turn_numbers
        )
        document |= {
            "id": plan.judge.judge_id(),
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


def show_answers(plan: Plan, results: Path, answers: Answers, as_json: bool) -> None:
    """Prints where the answers are."""
    folder = answers_folder(results, plan.answers)
    if as_json:
        made = [answers[q.key, turn] for q in plan.questions for turn in q.turn_numbers]
        document = {"folder": str(folder), "config": plan.answers.model_dump(mode="json")}
        print(json.dumps({**document, "answers": [one.model_dump(mode="json") for one in made]}, indent=2))
    else:
        print(f"{len(answers)} answers of {plan.answers.model}: {folder / 'answers.jsonl'}")


def show_result(plan: Plan, results: Path, result: JudgeResult, as_json: bool, quiet: bool) -> None:
    """Prints the means, as JSON or as a table."""
    assert plan.judge is not None
    folder = judge_folder(results, plan.judge)
    if as_json:
        document = {**result.model_dump(mode="json"), "config": plan.judge.model_dump(mode="json")}
        print(json.dumps({**document, "folder": str(folder)}, indent=2))
    else:
        whose = result.model + (f", run {result.run}" if result.run else "")
        print(f"{whose}, judged by {result.judge_model}\n", flush=True)
        Console().print(_table(result))
        print("\n".join(["", *_notes(result)]))
    if not quiet:
        print(f"written: {folder}", file=sys.stderr)


def _table(result: JudgeResult) -> Table:
    """Rows are categories, columns the turns and both."""
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
        table.add_row(category or "all", *cells, style=None if category else "bold")
    return table


def _notes(result: JudgeResult) -> list[str]:
    """What the numbers rest on."""
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
        told = ", ".join(f"{count} {CUT_SHORT[why]}" for why, count in short.items())
        notes.append(f"answers cut short: {told}")
    return notes
