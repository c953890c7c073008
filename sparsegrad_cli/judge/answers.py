"""What a language model answers, several questions at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import WorkError
from .questions import Question
from .sampling import GREEDY_BELOW, GumbelNoise, Row
from .schema import Answer, Ended, Message


@dataclass(frozen=True)
class Turn:
    """A question that waits for the answer to one of its turns."""

    question: Question
    earlier: tuple[str, ...]  # answers to the turns before it

    @property
    def number(self) -> int:
        return len(self.earlier) + 1

    def conversation(self) -> list[Message]:
        """What the model reads."""
        said: list[Message] = [
            {"role": "user", "content": text} for text in self.question.turns[: self.number]
        ]
        answered = [{"role": "assistant", "content": text} for text in self.earlier]
        return [message for pair in zip(said, answered, strict=False) for message in pair] + said[-1:]


class Writer:
    """Answers turns: at each question's temperature, from the whole vocabulary, with no other rule.

    A conversation is never cut: where it leaves fewer than `max_new_tokens` of the model's positions, the
    answer ends with them, and where it leaves none, the answer is empty.

    Args:
        model: a causal language model on its device.
        seed: with the question and the turn it decides the draws.
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
        # a checkpoint's own rules (top_p, repetition_penalty, ...) would apply beside ours
        self.model.generation_config = GenerationConfig(
            eos_token_id=self.ends, pad_token_id=tokenizer.pad_token_id
        )

    def answer(self, turns: Sequence[Turn]) -> list[Answer]:
        """An answer each, in their order.

        Raises:
            WorkError: the memory does not suffice.
        """
        prompts = [self._encode(turn) for turn in turns]
        rooms = [self._room(prompt) for prompt in prompts]
        written: dict[int, list[int]] = {place: [] for place, room in enumerate(rooms) if room == 0}
        together = [place for place, room in enumerate(rooms) if room == self.max_new_tokens]
        alone = [[place] for place, room in enumerate(rooms) if 0 < room < self.max_new_tokens]
        for places in filter(None, [together, *alone]):
            texts = self._generate(
                [prompts[place] for place in places], [turns[place] for place in places], rooms[places[0]]
            )
            written |= dict(zip(places, texts, strict=True))
        return [
            self._record(turn, prompts[place], rooms[place], written[place])
            for place, turn in enumerate(turns)
        ]

    def _encode(self, turn: Turn) -> list[int]:
        encoded = self.tokenizer.apply_chat_template(
            turn.conversation(), add_generation_prompt=True, tokenize=True, return_dict=True
        )
        return list(encoded["input_ids"])

    def _room(self, prompt: Sequence[int]) -> int:
        """Tokens that an answer may have."""
        if self.positions is None:
            return self.max_new_tokens
        return min(self.max_new_tokens, max(0, self.positions - len(prompt)))

    def _generate(
        self, prompts: Sequence[Sequence[int]], turns: Sequence[Turn], at_most: int
    ) -> list[list[int]]:
        """The tokens after each prompt, the one that ends them included."""
        ids, mask = _left_padded(prompts, self.tokenizer.pad_token_id)
        rows = [
            Row(turn.question.temperature, f"{self.seed} {turn.question.key} {turn.number}") for turn in turns
        ]
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    input_ids=ids.to(self.model.device),
                    attention_mask=mask.to(self.model.device),
                    max_new_tokens=at_most,
                    do_sample=False,
                    logits_processor=LogitsProcessorList([GumbelNoise(rows)]),
                )
        except torch.OutOfMemoryError:
            raise WorkError(
                f"the memory does not suffice for {len(prompts)} answers at once: take a smaller "
                "--batch-size or --max-new-tokens; the same command goes on from here"
            ) from None
        return [self._to_end(tokens) for tokens in output[:, ids.shape[1] :].tolist()]

    def _to_end(self, tokens: list[int]) -> list[int]:
        """Without what pads it after its end."""
        last = next((place for place, token in enumerate(tokens) if token in self.ends), len(tokens))
        return tokens[: last + 1]

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
            text=self.tokenizer.decode(tokens, skip_special_tokens=True).strip(),
            ended=ended,
            temperature=temperature if temperature >= GREEDY_BELOW else 0.0,
            prompt_tokens=len(prompt),
            tokens=len(tokens),
            batch_size=self.batch_size,
        )


def _left_padded(prompts: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask: rows x the longest prompt."""
    width = max(map(len, prompts))
    ids = [[padding] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)
