"""What a model answers: the form it reads, draws that hang on the question alone, and its positions."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparsegrad_cli.judge.answer import AnswerGenerator, GumbelNoise, Turn
from sparsegrad_cli.judge.questions import Question
from sparsegrad_cli.models.chat_template import LLAMA_2

from ..checkpoints import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("llama") / "llama", "llama")


def generator(folder: Path, max_new_tokens: int = 12, seed: int = 0, batch_size: int = 1) -> AnswerGenerator:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = LLAMA_2
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.repetition_penalty = 50.0  # a rule of the checkpoint's, which is not ours
    return AnswerGenerator(model, tokenizer, max_new_tokens, seed, batch_size)


def turn(text: str, category: str = "writing", earlier: tuple[str, ...] = ()) -> Turn:
    return Turn(Question(question_id=1, category=category, turns=[text, "And then?"]), earlier)


def test_greedy_answers_are_the_likeliest_tokens(folder):
    answering = generator(folder)
    (answer,) = answering.answer([turn("What is 1 + 1?", "math")])
    ids = answering.tokenizer("[INST] What is 1 + 1? [/INST]")["input_ids"]  # <s> is put before it
    assert answer.prompt_tokens == len(ids)
    tokens: list[int] = []
    with torch.inference_mode():
        for _ in range(answer.tokens):
            logits = answering.model(torch.tensor([ids + tokens])).logits[0, -1]
            tokens.append(int(logits.argmax()))
    assert answer.text == answering.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    assert answer.temperature == 0


def test_the_second_turn_sees_the_first_answer(folder):
    later = turn("Tell a story.", earlier=("Once upon a time.",))
    assert later.number == 2
    assert later.conversation() == [
        {"role": "user", "content": "Tell a story."},
        {"role": "assistant", "content": "Once upon a time."},
        {"role": "user", "content": "And then?"},
    ]
    (answer,) = generator(folder).answer([later])
    assert answer.turn == 2


def test_draws_hang_on_seed_question_and_turn_alone(folder):
    turns = [
        turn("Tell a story of a dog."),
        turn("What is 1 + 1?", "math"),
        turn("A poem, please, a long one."),
    ]
    one_by_one = [generator(folder).answer([each])[0].text for each in turns]
    together = [answer.text for answer in generator(folder, batch_size=3).answer(turns)]
    assert together == one_by_one
    assert [a.text for a in generator(folder).answer(turns[::-1])] == one_by_one[::-1]
    other = [answer.text for answer in generator(folder, seed=1).answer(turns)]
    assert other[0] != one_by_one[0]
    assert other[1] == one_by_one[1]  # greedy
    second = turn("Tell a story of a dog.", earlier=("",))
    assert generator(folder).answer([second])[0].text != one_by_one[0]


def test_noise_draws_from_the_softmax_at_the_temperature():
    logits = torch.tensor([[1.0, 0.0, -1.0, 0.5]])
    noise = GumbelNoise([0.7], ["a seed"])
    drawn = torch.stack([noise(torch.empty(0), logits)[0].argmax() for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    # four standard deviations of a share of 4000 draws are at most 0.032
    assert torch.allclose(shares, torch.softmax(logits[0] / 0.7, 0), atol=0.032)


def test_an_answer_ends_with_the_models_positions_and_the_others_do_not(folder):
    long = turn(" ".join(["the dog reads a book and"] * 5))  # of 130 positions
    longest = turn(" ".join(["the dog reads a book and"] * 40))
    answering = generator(folder, max_new_tokens=100)
    answering.ends = []  # nothing else ends them
    answering.model.generation_config.eos_token_id = None
    short, cut, empty = answering.answer([turn("Hi"), long, longest])
    assert (short.ended, short.tokens) == ("--max-new-tokens", 100)
    assert (cut.ended, cut.prompt_tokens + cut.tokens) == ("positions", 130)
    assert (empty.ended, empty.tokens, empty.text) == ("no room", 0, "")
    assert answering.answer([turn("Hi")])[0] == short


def test_an_answer_ends_where_the_model_says(folder):
    answering = generator(folder)
    ids = answering.tokenizer("[INST] What is 1 + 1? [/INST]", return_tensors="pt")["input_ids"]
    first = int(answering.model(ids).logits[0, -1].argmax())
    answering.ends = [first]
    answering.model.generation_config.eos_token_id = [first]
    ended, other = answering.answer([turn("What is 1 + 1?", "math"), turn("Tell a story.")])
    assert (ended.ended, ended.tokens) == ("end of turn", 1)
    assert other.tokens > 1
