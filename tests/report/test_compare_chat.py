"""Table 6 of the paper beside our chat runs: of its model and in its setting alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.compare.table import ComparedTable
from sparsegrad_cli.report.compare.words import compared_section

from .chats import write_chat, write_judgement

LLAMA = {
    "model": "meta-llama/Llama-2-7b-hf",
    "completeness": "complete",
    "chat_format": "llama-2",
    "loss_on": "all",
}


def table_6(folder: Path) -> ComparedTable:
    (table,) = [each for each in build_report([folder], compare=True).comparison if each.number == 6]
    return table


def column(table: ComparedTable, head: str) -> list[str]:
    labels, *parts = compared_section(table).grids[0]
    (part,) = [part for part in parts if " ".join(part.head) == head]
    names = [" ".join(label) for label in labels.cells]
    return [f"{name} {cell[0]}" for name, cell in zip(names, part.cells, strict=True)]


def test_ours_the_papers_and_the_signed_difference(tmp_path):
    for seed, loss in enumerate((1.24, 1.26)):
        run = write_chat(tmp_path, "sparsegrad", loss, seed=seed, **LLAMA)
        write_judgement(tmp_path, run, 5.2)
    write_chat(tmp_path, "lora", 1.3, **LLAMA)
    table = table_6(tmp_path)
    assert column(table, "validation loss") == [
        *("ft –", "paper 1.25 ± 0.03"),
        *("lora 1.300 (1)", "paper 1.249 ± 0.05", "difference +0.051"),
        *("meprop –", "paper 1.259 ± 0.04"),
        *("sparsegrad 1.250 ± 0.014 (2)", "paper 1.247 ± 0.03", "difference +0.003"),
    ]
    assert column(table, "judge's score")[-1] == "difference +0.068"
    assert column(table, "trained")[2:5] == ["lora 0.98 (1)", "paper 0.5", "difference +0.48"]
    told = {column.head: column.metric for column in table.grids[0].columns}
    assert told["validation\nloss"] == "lower is better"
    assert told["judge's\nscore"] == "higher is better"


def test_a_loss_over_other_tokens_and_another_judge_have_no_difference(tmp_path):
    run = write_chat(tmp_path, "lora", 1.3, **{**LLAMA, "loss_on": "assistant"})
    write_judgement(tmp_path, run, 5.2, judge_model="local")
    table = table_6(tmp_path)
    assert column(table, "validation loss")[2:5] == ["lora 1.300", "paper 1.249 ± 0.05", "difference –"]
    assert column(table, "judge's score")[2:5] == ["lora 5.200", "paper 5.025", "difference –"]


def test_another_model_never_stands_beside_the_paper(tmp_path):
    write_chat(tmp_path, **{**LLAMA, "model": "SmolLM2-135M"})
    table = table_6(tmp_path)
    assert not table.grids[0].runs
    assert table.notes == ("No run of this model yet.",)


OTHERS = {
    "data that is not the whole release": ("ft", {"completeness": "custom"}),
    "heldout protocol": ("ft", {"protocol": "heldout"}),
    "blocks all": ("ft", {"blocks": None}),
    "lora rank 16": ("lora", {"rank": 16}),
    "sparsegrad keeping 1%": ("sparsegrad", {"density": 0.01}),
    "sparsegrad support block": ("sparsegrad", {"support": "block", "form": None}),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_another_setting_is_told_and_not_shown(tmp_path, reason):
    method, how = OTHERS[reason]
    write_chat(tmp_path, method, **{**LLAMA, **how})
    table = table_6(tmp_path)
    assert not table.grids[0].runs
    assert table.notes[1] == f"Runs of this model in another setting, not shown: 1 {reason}."


def test_the_papers_number_of_entries_is_its_share(tmp_path):
    write_chat(tmp_path, "sparsegrad", **{**LLAMA, "density": None, "kept": 100_000})
    assert table_6(tmp_path).grids[0].runs


def test_shorter_training_is_shown_and_told(tmp_path):
    write_chat(tmp_path, "ft", **LLAMA)
    write_chat(tmp_path, "lora", **{**LLAMA, "max_steps": 10})
    assert "1 of 2 runs of ours are shorter than the paper's" in table_6(tmp_path).notes[0]
