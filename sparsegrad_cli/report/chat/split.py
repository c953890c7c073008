"""Which runs are of chat tasks, and which of them may stand in one table."""

from __future__ import annotations

import pandas as pd

from ...store.records import LOSS
from ..build import KINDS

# losses over other tokens do not compare: other conversations, turns, formats, lengths of a sequence
TABLE = [
    *("model", "task", "data_revision", "completeness", "length", "blocks", "loss_on", "chat_format"),
    *("checkpoint", "protocol", "freeze_rest", "device", "precision"),
]


def split_kinds(done: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with a score that is times 100 and better the higher, and runs of chat tasks, scored by a loss.

    Args:
        done: finished runs, as `read_runs` has them; may be empty.
    """
    if done.empty:
        return done, done
    chat = done["score_name"] == LOSS
    return done[~chat], done[chat]


def split_chat(chat: pd.DataFrame) -> list[pd.DataFrame]:
    """The runs of each table, that share the values of `TABLE`."""
    if chat.empty:
        return []
    return [runs for _, runs in chat.groupby(TABLE, sort=True, dropna=False)]


def chat_kind(runs: pd.DataFrame) -> str:
    """The kind of data of runs that share it, as in `Table`."""
    kind = KINDS[runs["completeness"].iloc[0]]
    return "chat" if kind == "GLUE" else kind
