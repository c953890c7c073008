"""Tables of chat runs: what stands in one, the numbers, and GLUE's tables beside them as they were."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.chat.section import chat_sections
from sparsegrad_cli.report.chat.table import ChatTable
from sparsegrad_cli.report.layout import label_text

from ..chats import HARD, MATRICES, TOKENS, TOTAL, write_chat, write_judgement
from ..runs import write_run


def only(folder: Path) -> ChatTable:
    (made,) = build_report([folder]).chat
    return made


def texts(made: ChatTable) -> dict[str, dict[str, str]]:
    """Row -> head -> what is shown."""
    labels, *parts = next(iter(chat_sections(made))).grids[0]
    return {
        label_text(label): {" ".join(part.head): part.cells[place][0] for part in parts}
        for place, label in enumerate(labels.cells)
    }


def test_losses_are_shown_in_nats_with_what_was_trained_for_them(tmp_path):
    for seed, loss in enumerate((2.0, 2.1)):
        write_chat(tmp_path, "ft", loss, seed=seed, before=2.5)
    write_chat(tmp_path, "sparsegrad", 2.05, before=2.5)
    shown = texts(only(tmp_path))
    assert list(shown) == ["not trained", "ft", "sparsegrad"]
    assert shown["ft"]["validation loss"] == "2.050 ± 0.071 (2)"
    assert shown["ft"]["perplexity"] == f"{(math.exp(2.0) + math.exp(2.1)) / 2:.2f}"
    assert shown["ft"]["trained"] == f"26.5M ({100 * MATRICES / TOTAL:.0f}%)"
    assert shown["sparsegrad"]["touched"] == "900k (3.4%)"
    assert shown["not trained"]["validation loss"] == "2.500"
    assert shown["not trained"]["perplexity"] == f"{math.exp(2.5):.2f}"
    assert shown["not trained"]["steps/s"] == "–"


def test_without_a_loss_before_training_there_is_no_such_row(tmp_path):
    write_chat(tmp_path)
    assert list(texts(only(tmp_path))) == ["sparsegrad"]
    assert "not trained" not in only(tmp_path).table.caption


@pytest.mark.parametrize(
    "other",
    [
        {"model": "stories260K"},
        {"checkpoint": "sha256:" + "cd" * 32},
        {"data_revision": "e" * 64},
        {"completeness": "synthetic"},
        {"loss_on": "all"},
        {"chat_format": "llama-2"},
        {"length": 256},
        {"blocks": None},
        {"protocol": "heldout"},
        {"precision": "bf16-weights"},
        {"device": "cuda"},
    ],
)
def test_losses_that_do_not_compare_get_tables_of_their_own(tmp_path, other):
    write_chat(tmp_path, "ft", 2.0)
    write_chat(tmp_path, "sparsegrad", 1.9, **other)
    assert [len(made.table.rows) for made in build_report([tmp_path]).chat] == [1, 1]


def test_a_title_says_what_precision_is_not_the_usual_one(tmp_path):
    write_chat(tmp_path, "ft", 2.0)
    write_chat(tmp_path, "ft", 1.9, precision="bf16-weights")
    titles = {made.table.title for made in build_report([tmp_path]).chat}
    assert sorted("bf16-weights" in title for title in titles) == [False, True]


def test_settings_that_differ_make_rows(tmp_path):
    write_chat(tmp_path, "lora", rank=16)
    write_chat(tmp_path, "lora")
    write_chat(tmp_path, "ft", schedule=None, warmup_steps=None)
    assert [row.label for row in only(tmp_path).table.rows] == [
        "ft",
        "lora (rank 16, schedule cosine, warmup-steps 50)",
        "lora (rank 32, schedule cosine, warmup-steps 50)",
    ]


def test_a_lower_loss_is_read_out_as_the_better_one(tmp_path):
    for method, loss in (("sparsegrad", 1.9), ("lora", 2.0), ("ft", 1.89951)):
        write_chat(tmp_path, method, loss)
    (said,) = only(tmp_path).table.reading
    assert said.startswith("On one seed, sparsegrad scores 1.900 (loss, lower is better): ")
    assert "0.100 nats below lora" in said
    assert "level with ft" in said


def test_losses_of_sequences_are_compared_by_their_tokens(tmp_path):
    easy = HARD.copy()
    easy[TOKENS.argmax()] -= 3.0  # one long sequence alone
    loss = 2.0 - 3.0 * TOKENS.max() / TOKENS.sum()
    for seed in range(3):
        write_chat(tmp_path, "sparsegrad", loss, seed=seed, sequences=easy)
        write_chat(tmp_path, "lora", 2.0, seed=seed)
        write_chat(tmp_path, "ft", 2.2, seed=seed)
    made = only(tmp_path)
    assert made.significance
    found = {each.other: each for each in made.significance.comparisons}
    assert found["lora"].difference == pytest.approx(loss - 2.0)
    assert (found["lora"].examples, found["lora"].seeds) == (len(TOKENS), (0, 1, 2))
    assert not found["lora"].significant  # resampled away as often as not
    assert found["ft"].significant
    section = list(chat_sections(made))[1]
    below = f"{2.2 - loss:.3f} nats below ft"
    assert section.notes == [f"1 of 2 differences is significant: sparsegrad is {below} on oasst1."]
    assert "nats" in section.caption["cells"]
    assert "by its tokens" in section.caption["examples"]


def test_other_sequences_are_not_compared(tmp_path):
    write_chat(tmp_path, "sparsegrad")
    path = write_chat(tmp_path, "ft") / "predictions.parquet"
    pd.read_parquet(path).assign(tokens=lambda rows: rows["tokens"] + 1).to_parquet(path)
    found = only(tmp_path).significance
    assert found
    assert found.comparisons == ()
    assert [each.why for each in found.left_out] == ["predictions.parquet of other examples"]


def test_the_caption_says_what_counts_and_what_was_left_out(tmp_path):
    write_chat(tmp_path, left_out={"cycle": 2, "other language": 9000})
    said = only(tmp_path).table.caption
    assert said["loss"].startswith("mean over the tokens of the assistant's turns, in nats")
    assert said["data"].endswith(
        "train 350, validation 50 threads; trees left out: 9,000 other language, 2 cycle"
    )
    assert said["tokens"] == "the tokenizer's own chat format, packed to 512"
    assert said["training"] == (
        "MLP linears of blocks every:3, all else frozen, 1 epoch at most, evaluated every 75 steps, stops "
        "after 5 evaluations without improvement, cosine learning rate, 50 warm-up steps (a third of the run "
        "at most), gradient checkpointing"
    )


def test_synthetic_conversations_are_said_to_be(tmp_path):
    write_chat(tmp_path, completeness="synthetic", origin="demo")
    made = only(tmp_path)
    assert "SYNTHETIC" in made.table.title
    assert "SYNTHETIC" in made.table.caption["data"]


def test_glue_stands_as_if_no_chat_run_was_there(tmp_path):
    for method in ("ft", "sparsegrad"):
        for task in ("cola", "rte"):
            write_run(tmp_path, method, 0.6, task=task)
    alone = build_report([tmp_path], compare=True)
    write_chat(tmp_path, "ft", model="demo", loss_on="all")
    write_chat(tmp_path, "sparsegrad", model="demo", loss_on="all")
    beside = build_report([tmp_path], compare=True)
    for what in ("tables", "significance", "comparison"):
        assert getattr(alone, what) == getattr(beside, what)
    assert len(beside.chat) == 1


def test_every_format_has_the_losses_and_ratings(tmp_path):
    write_judgement(tmp_path, write_chat(tmp_path, "ft", 2.0), 5.25)
    write_chat(tmp_path, "sparsegrad", 1.9)
    report = build_report([tmp_path])
    report.write(tmp_path / "out", ["md", "csv", "html", "latex"])
    for name in ("report.md", "report.html", "report.tex"):
        text = (tmp_path / "out" / name).read_text()
        assert "2.000" in text
        assert "5.25" in text
        assert "200.0" not in text  # times 100
    told = pd.read_csv(tmp_path / "out" / "report.csv").set_index(["method", "metric"])["mean"]
    assert (told["ft", "rated by gpt-4"], told["ft", "loss"]) == (5.25, 2.0)
    (made,) = report.to_json()["chat"]
    assert made["judges"][0]["rows"][0]["score"]["mean"] == 5.25
