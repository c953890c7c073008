"""What a run reads: which examples select its checkpoint, and which are reported."""

from __future__ import annotations

import re

import pytest
from transformers import AutoTokenizer

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.inputs import Inputs
from tests.checkpoints import tiny_checkpoint
from tests.planned import Asked, changed, configs_of, resolved
from tests.tasks.oasst import chain, in_tree, node, write

TREES = 60


@pytest.fixture(scope="module")
def choices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    trees = []
    for place in range(TREES):
        branches = [node(f"answer {place} {which}", depth=1) for which in "ab"]
        trees.append(in_tree({**chain(f"question {place}"), "replies": branches}))
    return {
        "model": str(tiny_checkpoint(folder / "model", "llama")),
        "task": "oasst1",
        "data": str(write(folder / "trees.jsonl", trees)),
        "methods": ["ft"],
        "length": 24,
    }


def read(choices: Asked) -> Inputs:
    (config,), sources = resolved(choices)
    return sources.inputs(config)


def questions(rows, tokenizer) -> set[str]:
    """The trees whose first words a split holds."""
    tokens = tokenizer.convert_ids_to_tokens([token for row in rows for token in row["input_ids"]])
    return set(re.findall(r"question \d+", "".join(tokens).replace("Ġ", " ")))


def test_heldout_reports_no_conversation_that_also_selects(choices):
    inputs = read(changed(choices, protocol="heldout", loss_on="all"))
    tokenizer = AutoTokenizer.from_pretrained(choices["model"])
    (reported,) = inputs.reported
    halves = [questions(rows, tokenizer) for rows in (inputs.selection, reported.rows)]
    assert not halves[0] & halves[1]
    assert halves[0] | halves[1] == set(inputs.data.splits["validation"]["tree"])
    assert reported.indices == list(range(len(reported.rows)))


def test_the_papers_protocol_selects_on_what_is_reported(choices):
    inputs = read(choices)
    (reported,) = inputs.reported
    assert inputs.selection.to_list() == reported.rows.to_list()
    assert inputs.data.record().rows.keys() == {"train", "validation"}


def test_dev_that_has_no_halves_is_refused_before_anything_is_encoded(choices, tmp_path):
    few = [in_tree(chain(f"question {place}", f"answer {place}")) for place in range(4)]
    data = str(write(tmp_path / "few.jsonl", few))
    with pytest.raises(InputError, match=r"--protocol heldout: .* one conversation tree"):
        configs_of(changed(choices, data=data, protocol="heldout"))
