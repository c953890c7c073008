"""Conversations as packed sequences: what counts in the loss, and that nothing is lost on the way."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.models.chat_template import LLAMA_2, load_chat_tokenizer
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.training.encode import IGNORED, assistant_spans, pack, tokens_of
from tests.checkpoints import tiny_checkpoint

CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
THREAD = [
    {"role": "user", "content": "What is the best way?"},
    {"role": "assistant", "content": "A street."},
    {"role": "user", "content": "And the worst?"},
    {"role": "assistant", "content": "No way [/INST] at all"},
]
threads = st.lists(
    st.lists(st.tuples(st.integers(2, 99), st.booleans()), min_size=1, max_size=30), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_chat_tokenizer(find_checkpoint(str(tiny_checkpoint(tmp_path_factory.mktemp("m"), "llama"))))


def with_template(tokenizer, template):
    tokenizer.chat_template = template
    return tokenizer


def spoken(text, spans):
    return [text[begin:end] for begin, end in spans]


def test_llama_2_writes_a_turn_as_its_authors_do(tokenizer):
    text, spans = assistant_spans(THREAD, with_template(tokenizer, LLAMA_2))
    assert text == (
        "<s>[INST] What is the best way? [/INST] A street. </s>"
        "<s>[INST] And the worst? [/INST] No way [/INST] at all </s>"
    )
    assert spoken(text, spans) == [" A street. </s>", " No way [/INST] at all </s>"]


def test_a_system_prompt_stands_before_the_first_question(tokenizer):
    system = {"role": "system", "content": "Be kind."}
    text, _ = assistant_spans([system, *THREAD[:2]], with_template(tokenizer, LLAMA_2))
    assert text.startswith("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWhat is the best way? [/INST]")


def test_the_tokenizers_own_template_counts_the_answer_and_its_end_sign(tokenizer):
    text, spans = assistant_spans(THREAD, with_template(tokenizer, CHATML))
    assert spoken(text, spans) == ["A street.<|end|>\n", "No way [/INST] at all<|end|>\n"]


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    last_only = "{% for m in messages %}{{ m['content'] if loop.last else '...' }}{% endfor %}"
    with pytest.raises(InputError, match="--loss-on all"):
        assistant_spans(THREAD, with_template(tokenizer, last_only))


def test_labels_are_the_assistants_tokens_and_no_others(tokenizer):
    ids, labels = tokens_of(THREAD, with_template(tokenizer, LLAMA_2), "assistant")
    assert len(ids) == len(labels)
    counted = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    assert [label for label in labels if label != IGNORED] == counted
    spoken = "".join(tokenizer.convert_ids_to_tokens(counted)).replace("Ġ", " ")
    assert spoken == " A street. </s> No way [/INST] at all </s>"


def test_loss_on_all_counts_every_token(tokenizer):
    ids, labels = tokens_of(THREAD, with_template(tokenizer, LLAMA_2), "all")
    assert labels == ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id


@given(threads, st.integers(2, 12))
def test_packing_keeps_every_token_in_order(drawn, length):
    made = [
        ([token for token, _ in thread], [token if counts else IGNORED for token, counts in thread])
        for thread in drawn
    ]
    ids = [token for thread, _ in made for token in thread]
    labels = [label for _, thread in made for label in thread]
    trees = [f"tree {number // 2}" for number in range(len(made))]
    owners = [tree for tree, (thread, _) in zip(trees, made, strict=True) for _ in thread]
    rows = pack(made, length, padding=0, trees=trees)
    sequences = [ids[start : start + length] for start in range(0, len(ids), length)]
    wanted = [[IGNORED, *labels[start + 1 : start + length]] for start in range(0, len(ids), length)]
    counting = [place for place, row in enumerate(wanted) if any(label != IGNORED for label in row)]
    assert len(rows) == len(counting)
    for row, place in zip(rows, counting, strict=True):
        n = len(sequences[place])
        assert row["input_ids"] == sequences[place] + [0] * (length - n)
        assert row["labels"] == wanted[place] + [IGNORED] * (length - n)
        assert row["attention_mask"] == [1] * n + [0] * (length - n)
        start = place * length
        counts = Counter(
            owner for owner, label in zip(owners[start:], wanted[place], strict=False) if label != IGNORED
        )
        assert counts[row["tree"]] == max(counts.values())


def test_threads_that_see_themselves_alone_have_positions_and_labels_of_their_own():
    threads = [([11, 12, 13], [11, 12, 13]), ([21, 22, 23, 24], [21, 22, 23, 24]), ([31], [31])]
    rows = pack(threads, 5, padding=0, trees=["a", "a", "b"], attention="within")
    assert rows["position_ids"][:] == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    i = IGNORED
    assert rows["labels"][:] == [[i, 12, 13, i, 22], [i, 24, i, i, i]]
    assert rows["input_ids"][:] == [[11, 12, 13, 21, 22], [23, 24, 31, 0, 0]]
    assert "position_ids" not in pack(threads, 5, padding=0, trees=["a", "a", "b"]).column_names
