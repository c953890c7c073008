"""Answers of a language model to questions: which model, how it samples, and which answers are there already.

Answers depend on the model, the question and the seed alone, not on what else is in the batch: with logits
`z`, `argmax(z / T + n)` with Gumbel noise `n` is a draw from `softmax(z / T)`, and every row of a batch has
a noise generator of its own, on the CPU, so that the noise is the same for any batch and device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    BatchEncoding,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import InputError, WorkError, is_out_of_memory
from ..models.chat_template import load_chat_tokenizer
from ..models.checkpoint import Checkpoint, find_checkpoint
from ..models.load import causal_config, float32_products, load_causal
from ..progress import Progress
from ..store.folder import RUNS, ResultFolder
from ..tasks import chat_task_names
from ..training.checks import choose_device
from .questions import Question
from .records import ANSWERS, Answer, AnswersConfig, Ended, Message, Precision, RecordLog

GREEDY_BELOW = 1e-4  # temperature

Answers = Mapping[tuple[str, int], Answer]  # (Question.key, turn)


@dataclass(frozen=True)
class AnsweringModel:
    """A language model that was found and checked, but not loaded."""

    run: str | None  # id of the run that trained it; None: a model before training
    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    config: AnswersConfig


def find_model(
    run: Path | None, model: str | None, max_new_tokens: int, seed: int, device: str, precision: Precision
) -> AnsweringModel:
    """Returns the model of a finished chat run, or a model before training; exactly one must be given.

    Raises:
        InputError: both or none are given; the run is of another task, is not done or kept no model; the
            model is no decoder or has no chat format; the device is not there.
    """
    device = choose_device(device, precision)
    if (run is None) == (model is None):
        raise InputError(
            "give either --run (the folder of a finished chat run) or --model (a model before training)"
        )
    if run is not None:
        name, run_id = _check_finished_run(run)
        checkpoint = find_checkpoint(str(run / "model"))
    else:
        assert model is not None
        name, run_id, checkpoint = model, None, find_checkpoint(model)
    causal_config(checkpoint)
    tokenizer = load_chat_tokenizer(checkpoint)
    config = AnswersConfig(
        model=name,
        checkpoint=checkpoint.identity,
        chat_template=hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16],
        seed=seed,
        max_new_tokens=max_new_tokens,
        device=device,
        precision=precision,
    )
    return AnsweringModel(run_id, checkpoint, tokenizer, config)


def stored_answers(
    config: AnswersConfig, questions: Sequence[Question], results: Path
) -> dict[tuple[str, int], Answer]:
    """Returns the answers to the questions that are on disk; raises InputError if their file is damaged."""
    wanted = keys_of(questions)
    log = RecordLog(ANSWERS.folder(results, config).path / "answers.jsonl", Answer)
    found = {(answer.question, answer.turn): answer for answer in log.read()}
    return {key: answer for key, answer in found.items() if key in wanted}


def keys_of(questions: Iterable[Question]) -> set[tuple[str, int]]:
    """Returns the key of every answer that the questions want; equal questions share theirs."""
    return {(question.key, turn) for question in questions for turn in question.turn_numbers}


def make_answers(
    model: AnsweringModel, questions: Sequence[Question], results: Path, batch_size: int, progress: Progress
) -> Answers:
    """Returns an answer to every turn of every question, and generates those that are not on disk.

    Raises:
        InputError: the model cannot be loaded.
        WorkError: another process generates the same, memory does not suffice, or a file cannot be written.
    """
    config, wanted = model.config, keys_of(questions)
    found = stored_answers(config, questions, results)
    if found.keys() == wanted:
        return found
    folder = ANSWERS.folder(results, config)
    log = RecordLog(folder.path / "answers.jsonl", Answer)
    with float32_products(config.precision), folder.lock(), log.appending() as append:
        found = stored_answers(config, questions, results)
        folder.write("config.json", config)
        progress.phase("answers", len(wanted), len(found))
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        loaded = load_causal(model.checkpoint, dtype).model
        module: nn.Module = loaded
        module.to(config.device)
        generator = AnswerGenerator(loaded, model.tokenizer, config.max_new_tokens, config.seed, batch_size)
        different = {question.key: question for question in questions}.values()
        todo = [question for question in different if not keys_of([question]) <= found.keys()]
        for start in range(0, len(todo), batch_size):
            for number in (1, 2):  # second turns see the answers to the first
                turns = [
                    Turn(question, tuple(found[question.key, earlier].text for earlier in range(1, number)))
                    for question in todo[start : start + batch_size]
                    if number in question.turn_numbers and (question.key, number) not in found
                ]
                for answer in generator.answer(turns):
                    append(answer)
                    found[answer.question, answer.turn] = answer
                    progress.step(len(found))
    return found


class Turn(NamedTuple):
    """A turn of a question that waits for its answer."""

    question: Question
    earlier: tuple[str, ...]  # answers to the turns before it

    @property
    def number(self) -> int:
        """From 1."""
        return len(self.earlier) + 1

    def conversation(self) -> list[Message]:
        """Returns the messages that the model reads."""
        messages: list[Message] = []
        for asked, answered in zip(self.question.turns, (*self.earlier, None), strict=False):
            messages.append({"role": "user", "content": asked})
            if answered is not None:
                messages.append({"role": "assistant", "content": answered})
        return messages


class GumbelNoise(LogitsProcessor):
    """Turns greedy search into sampling at each row's temperature; below 1e-4 it stays greedy.

    Args:
        temperatures: one per row.
        seeds: one per row, any text.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[str]) -> None:
        numbers = [int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "big") for seed in seeds]
        self.rows = [
            (temperature, torch.Generator().manual_seed(number))
            for temperature, number in zip(temperatures, numbers, strict=True)
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns the noisy logits, `rows x vocabulary`."""
        scores = scores.clone()
        for row, (temperature, generator) in enumerate(self.rows):
            if temperature >= GREEDY_BELOW:
                waits = torch.empty(scores.shape[1]).exponential_(generator=generator)
                noise = -waits.clamp_min(torch.finfo(torch.float32).tiny).log()
                scores[row] = scores[row] / temperature + noise.to(scores)
        return scores


class AnswerGenerator:
    """Generates answers at each question's temperature, from the whole vocabulary.

    Conversations are never truncated: where one leaves fewer than `max_new_tokens` positions, its answer
    ends with the last position, and where it leaves none, its answer is empty.

    Args:
        model: a causal language model on its device.
        seed: decides the samples, together with the question and the turn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        seed: int,
        batch_size: int,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_new_tokens, self.seed, self.batch_size = max_new_tokens, seed, batch_size
        self.positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        ends = model.generation_config.eos_token_id
        named = ends if isinstance(ends, list) else [ends]
        self.ends = sorted({token for token in (*named, tokenizer.eos_token_id) if token is not None})
        # drops the checkpoint's own rules (top_p, repetition_penalty, ...)
        self.model.generation_config = GenerationConfig(
            eos_token_id=self.ends, pad_token_id=tokenizer.pad_token_id
        )

    def answer(self, turns: Sequence[Turn]) -> list[Answer]:
        """Returns one answer per turn, in their order; raises WorkError if memory does not suffice."""
        prompts = [self._encode(turn) for turn in turns]
        rooms = [self._room(prompt) for prompt in prompts]
        tokens: dict[int, list[int]] = {row: [] for row, room in enumerate(rooms) if room == 0}
        together = [row for row, room in enumerate(rooms) if room == self.max_new_tokens]
        alone = [[row] for row, room in enumerate(rooms) if 0 < room < self.max_new_tokens]
        for rows in filter(None, [together, *alone]):
            generated = self._generate(
                [prompts[row] for row in rows], [turns[row] for row in rows], rooms[rows[0]]
            )
            tokens |= dict(zip(rows, generated, strict=True))
        return [self._record(turn, prompts[row], rooms[row], tokens[row]) for row, turn in enumerate(turns)]

    def _encode(self, turn: Turn) -> list[int]:
        encoded = self.tokenizer.apply_chat_template(
            turn.conversation(), add_generation_prompt=True, tokenize=True, return_dict=True
        )
        assert isinstance(encoded, BatchEncoding)
        return list(encoded["input_ids"])

    def _room(self, prompt: Sequence[int]) -> int:
        """Returns the number of tokens that an answer may have."""
        if self.positions is None:
            return self.max_new_tokens
        return min(self.max_new_tokens, max(0, self.positions - len(prompt)))

    def _generate(self, prompts: list[list[int]], turns: Sequence[Turn], at_most: int) -> list[list[int]]:
        """Returns the tokens after each prompt, with the one that ends them."""
        padded = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        noise = GumbelNoise(
            [turn.question.temperature for turn in turns],
            [f"{self.seed} {turn.question.key} {turn.number}" for turn in turns],
        )
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    **padded.to(self.model.device),
                    max_new_tokens=at_most,
                    do_sample=False,
                    logits_processor=LogitsProcessorList([noise]),
                )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise WorkError(
                f"memory does not suffice for {len(prompts)} answers at once: take a smaller --batch-size or "
                "--max-new-tokens; the same command goes on from here"
            ) from None
        answers = []
        for tokens in output[:, padded["input_ids"].shape[1] :].tolist():  # with padding behind their end
            end = next((place for place, token in enumerate(tokens) if token in self.ends), len(tokens))
            answers.append(tokens[: end + 1])
        return answers

    def _record(self, turn: Turn, prompt: Sequence[int], room: int, tokens: list[int]) -> Answer:
        ended: Ended
        if tokens and tokens[-1] in self.ends:
            ended = "end of turn"
        elif room == 0:
            ended = "no room"
        else:
            ended = "--max-new-tokens" if room == self.max_new_tokens else "positions"
        temperature = turn.question.temperature
        return Answer(
            question_id=turn.question.question_id,
            question=turn.question.key,
            turn=turn.number,
            text=str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip(),
            ended=ended,
            temperature=temperature if temperature >= GREEDY_BELOW else 0.0,
            prompt_tokens=len(prompt),
            tokens=len(tokens),
            batch_size=self.batch_size,
        )


def _check_finished_run(path: Path) -> tuple[str, str]:
    """Returns the model that a run started from and the run's id, if its own model can answer."""
    if not (path / "config.json").is_file():
        raise InputError(f"--run {path}: no run there; give a folder such as results/runs/<id>")
    folder = ResultFolder(RUNS, path)
    if folder.config.task not in chat_task_names():
        raise InputError(
            f"--run {path}: it is of {folder.config.task}, whose model answers no questions; give one of "
            f"{', '.join(chat_task_names())}"
        )
    result = folder.result()
    if result is None or not result.is_done:
        status = "unfinished" if result is None else result.status
        raise InputError(f"--run {path}: it is {status}; finish it with the same sparsegrad finetune")
    if not (path / "model").is_dir():
        raise InputError(f"--run {path}: it kept no model; finetune keeps it with --save model")
    return folder.config.model, result.id
