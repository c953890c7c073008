"""What a judge is told: four prompts, ours or those of FastChat's file."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..errors import InputError
from . import default_prompts as ours
from .lines import read_lines
from .questions import Question
from .schema import Message, short_hash

RATING = "[[rating]]"
# name in FastChat's file -> what its template is filled with
BLANKS = {
    "single-v1": ("question", "answer"),
    "single-math-v1": ("question", "answer", "ref_answer_1"),
    "single-v1-multi-turn": ("question_1", "answer_1", "question_2", "answer_2"),
    "single-math-v1-multi-turn": (
        *("question_1", "answer_1", "question_2", "answer_2"),
        *("ref_answer_1", "ref_answer_2"),
    ),
}
EXAMPLE = (
    '{"name": "single-v1", "type": "single", "system_prompt": "...", "prompt_template": "... {question} ... '
    f'{{answer}} ...", "output_format": "{RATING}"}}'
)


class Prompt(BaseModel):
    """One of FastChat's; keys that we do not use are let pass."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    type: str = "single"
    system_prompt: str
    prompt_template: str
    output_format: str = RATING


@dataclass(frozen=True)
class Prompts:
    """The four of `BLANKS`."""

    name: str  # "default", or the hash of those that a file gave
    by_name: dict[str, Prompt]

    @property
    def hash(self) -> str:
        """Of what a judge reads."""
        return _hash(self.by_name)

    def fill(
        self, question: Question, answers: Sequence[str], reference: Sequence[str]
    ) -> tuple[str, list[Message]]:
        """The name of the prompt for the last of `answers`, and the conversation that asks for its rating.

        Args:
            answers: to the first turn, or to both.
            reference: a text a turn; empty: the judge is shown none.
        """
        name = f"single{'-math' if reference else ''}-v1{'-multi-turn' if len(answers) == 2 else ''}"
        prompt = self.by_name[name]
        blanks = {"question": question.turns[0], "answer": answers[0]}
        for what, texts in (("question", question.turns), ("answer", answers), ("ref_answer", reference)):
            blanks |= {f"{what}_{turn}": text for turn, text in enumerate(texts, 1)}
        asked = prompt.prompt_template.format(**{blank: blanks[blank] for blank in BLANKS[name]})
        return name, [
            {"role": "system", "content": prompt.system_prompt},
            {"role": "user", "content": asked},
        ]


def default_prompts() -> Prompts:
    """Those of our own wording."""
    texts = {
        "single-v1": ours.ONE_TURN,
        "single-math-v1": ours.ONE_TURN_BY_REFERENCE,
        "single-v1-multi-turn": ours.TWO_TURNS,
        "single-math-v1-multi-turn": ours.TWO_TURNS_BY_REFERENCE,
    }
    found = {
        name: Prompt(name=name, system_prompt=ours.SYSTEM, prompt_template=text)
        for name, text in texts.items()
    }
    return Prompts("default", found)


def read_prompts(path: Path) -> Prompts:
    """Those of FastChat's `judge_prompts.jsonl`; the others in it are let be.

    Raises:
        InputError: one is missing, or its blanks are not those that we can fill; names file and line.
    """
    found: dict[str, Prompt] = {}
    for place, prompt in read_lines(Prompt, path, "--prompts", EXAMPLE):
        if prompt.name in BLANKS:
            if prompt.name in found:
                raise InputError(f"{place}: a second prompt {prompt.name}")
            _check(place, prompt)
            found[prompt.name] = prompt
    missing = [name for name in BLANKS if name not in found]
    if missing:
        raise InputError(
            f"--prompts {path}: no prompt {', '.join(missing)}; it needs all of {', '.join(BLANKS)}"
        )
    return Prompts(_hash(found), found)


def _check(place: str, prompt: Prompt) -> None:
    if (prompt.type, prompt.output_format) != ("single", RATING):
        raise InputError(
            f"{place}: {prompt.name} is {prompt.type} with {prompt.output_format}; it must be single with "
            f"{RATING}"
        )
    try:
        parsed = list(string.Formatter().parse(prompt.prompt_template))
    except ValueError as error:
        raise InputError(f"{place}: prompt_template: {error}; a brace that is text is doubled") from None
    blanks = {blank for _, blank, _, _ in parsed if blank is not None}
    wanted = set(BLANKS[prompt.name])
    if blanks != wanted:
        odd = ", ".join(f"{{{blank}}}" for blank in sorted(blanks ^ wanted))
        raise InputError(
            f"{place}: prompt_template of {prompt.name}: {odd}; its blanks are to be "
            f"{', '.join(f'{{{blank}}}' for blank in BLANKS[prompt.name])}"
        )


def _hash(prompts: dict[str, Prompt]) -> str:
    return short_hash([[prompts[name].system_prompt, prompts[name].prompt_template] for name in BLANKS])
