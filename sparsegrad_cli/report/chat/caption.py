"""What stands over and under a table of chat runs."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from ..bench.caption import counted
from ..build import columns_of
from ..caption import precision_words, short_identity, subject, training_words
from .split import chat_kind
from .table import ChatTable, Judge

TURNS = {"assistant": "the assistant's turns", "all": "all turns"}
FORMATS = {"llama-2": "LLaMA-2's chat format", "own": "the tokenizer's own chat format"}
ORDER = ("protocol", "seeds", "loss", "training", "methods", "learning rate", "memory", "data", "tokens")


def chat_title(runs: pd.DataFrame) -> str:
    """Model, data, and what is trained and counted where that is not the usual."""
    first = runs.iloc[0]
    words = [subject(first["model"], chat_kind(runs), columns_of(runs))]
    if first["blocks"] not in (None, "all"):
        words.append(f"blocks {first['blocks']}")
    if first["loss_on"] == "all":
        words.append("loss on all turns")
    words += precision_words(first["precision"])
    return ", ".join([*words, f"{first['protocol']} protocol"])


def caption(made: ChatTable, runs: pd.DataFrame) -> dict[str, str]:
    """Everything one must know to compare the table with another."""
    said, first = made.table.caption, runs.iloc[0]
    turns = TURNS.get(first["loss_on"], "all turns")
    told = {
        **dict.fromkeys(ORDER, ""),
        **said,
        "loss": f"mean over the tokens of {turns}, in nats, of the best checkpoint; lower is better; "
        "perplexity: e to the loss, mean over the seeds",
        "training": chat_training(runs),
        "data": chat_data(runs),
        "tokens": f"{FORMATS.get(first['chat_format'], 'chat format')}, packed to {first['length']}",
        **{f"rated by {judge.name}": judge_words(judge) for judge in made.judges},
    }
    if made.before is not None or any(judge.before for judge in made.judges):
        told["not trained"] = "the checkpoint that the runs start from"
    return {name: text for name, text in told.items() if text}


def judge_words(judge: Judge) -> str:
    """What was asked, and how many answers have no rating."""
    found = [judged for judged in (*judge.rows, judge.before) if judged]
    unrated, answers = sum(j.unrated for j in found), sum(j.unrated + j.rated for j in found)
    prompts = "our prompts" if judge.prompts == "default" else f"prompts {judge.prompts[:6]}"
    words = [
        f"ratings from 1 to 10, mean over {counted(judge.questions, 'question')} (set "
        f"{judge.question_set[:6]}), {prompts}, references {judge.references[:6]}",
        f"answers of {judge.max_new_tokens} tokens at most",
        f"{unrated} of {answers} answers without a rating, not counted" if unrated else "",
    ]
    return "; ".join(filter(None, words))


def chat_training(runs: pd.DataFrame) -> str:
    """What all runs share, with the blocks, the schedule and what is frozen."""
    first = runs.iloc[0]
    blocks = "all blocks" if first["blocks"] in (None, "all") else f"blocks {first['blocks']}"
    frozen = ", all else frozen" if runs["freeze_rest"].all() else ""
    words = [f"MLP linears of {blocks}{frozen}", training_words(runs.assign(freeze_rest=False, length=None))]
    if len(runs[["schedule", "warmup_steps"]].drop_duplicates()) == 1:
        words.append(f"{first['schedule'] or 'constant'} learning rate")
        warmup = f"{first['warmup_steps']} warm-up steps (a third of the run at most)"
        words.append(warmup if first["warmup_steps"] else "")
    if runs["gradient_checkpointing"].eq(True).all():
        words.append("gradient checkpointing")
    return ", ".join(filter(None, words))


def chat_data(runs: pd.DataFrame) -> str:
    """Where the conversations are from, how many, and the trees that are in none of them."""
    first = runs.iloc[0]
    origins = "; ".join(sorted({short_identity(origin) for origin in runs["origin"]}))
    if first["completeness"] == "synthetic":
        origins = f"SYNTHETIC ({origins}): says nothing about real conversations"
    counts = ", ".join(f"{split} {count:,}" for split, count in first["rows"].items())
    reasons = Counter(first["left_out"])
    told = ", ".join(f"{count:,} {why}" for why, count in reasons.most_common())
    left_out = f"; trees left out: {told}" if told else ""
    return f"{origins}, {first['completeness']}: {counts} threads{left_out}"
