"""Tables of chat runs: losses, what was trained for them, and what judges say of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from ...judge.records import Judgement
from ..build import build_table
from ..rows import RowRuns, split_rows
from ..significance import read_out, significance_of
from ..table import Table
from .caption import caption, chat_title
from .judgements import judge_columns
from .split import chat_kind, split_chat
from .table import ChatTable, Judge

BEFORE = "loss_before"  # among a run's metrics: the starting checkpoint's loss


def build_chat_tables(chat: pd.DataFrame, judgements: Sequence[Judgement]) -> tuple[ChatTable, ...]:
    """One table for each model, checkpoint, device, precision, data and choice of tokens and of blocks.

    Args:
        chat: finished runs of chat tasks, as `read_runs` has them, each once.
        judgements: of their answers, and of the answers of the checkpoints that they start from.
    """
    return tuple(_chat_table(runs, judgements) for runs in split_chat(chat))


def _chat_table(runs: pd.DataFrame, judgements: Sequence[Judgement]) -> ChatTable:
    plain = build_table(chat_kind(runs), runs).model_copy(update={"title": chat_title(runs)})
    rows = split_rows(runs)
    significance = significance_of(plain, runs)
    judges = judge_columns(judgements, rows, plain.checkpoint)
    before = [metrics[BEFORE] for metrics in runs["metrics"] if BEFORE in metrics]
    made = ChatTable(
        table=_with_ratings(read_out(plain, significance), judges),
        trained_shares=tuple(map(_trained_share, rows)),
        before=fmean(before) if before else None,
        judges=judges,
        significance=significance,
    )
    told = made.table.model_copy(update={"caption": caption(made, runs)})
    return made.model_copy(update={"table": told})


def _with_ratings(table: Table, judges: Sequence[Judge]) -> Table:
    """The table, whose cells have the judges' ratings among their scores."""
    rows = []
    for place, row in enumerate(table.rows):
        found = {f"rated by {judge.name}": judge.rows[place] for judge in judges}
        ratings = {name: judged.score for name, judged in found.items() if judged}
        cells = [cell and cell.model_copy(update={"scores": cell.scores | ratings}) for cell in row.cells]
        rows.append(row.model_copy(update={"cells": tuple(cells)}))
    return table.model_copy(update={"rows": tuple(rows)})


def _trained_share(row: RowRuns) -> float | None:
    shares = (row.runs["trainable"] / row.runs["total"]).dropna()
    return float(shares.mean()) if len(shares) else None
