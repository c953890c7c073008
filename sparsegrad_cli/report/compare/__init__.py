"""Every table of the paper, ours beside it: what was run, what the paper prints, the difference."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...bench.folder import Bench
from ...judge.records import Judgement
from ...store.parts import ReadParts
from ...sweep.folder import ReadSweep
from .chat import chat_tables
from .costs import cost_tables
from .counts import parts_table
from .kept import kept_tables
from .rates import rate_tables
from .scores import average_table, score_tables
from .table import ComparedTable


def compare_tables(
    runs: pd.DataFrame,
    benches: Sequence[Bench],
    sweeps: Sequence[ReadSweep],
    parameters: Sequence[ReadParts],
    chat: pd.DataFrame,
    judgements: Sequence[Judgement],
) -> list[ComparedTable]:
    """In the paper's order; a table has one part for each group of ours that may be compared.

    Args:
        runs: finished runs, as `read_runs` has them, each once; may be empty.
        parameters: counts of models' parameters.
        chat: finished runs of chat tasks likewise; they stand in no other frame.
        judgements: of what these answer.
    """
    return [
        parts_table(parameters),
        *cost_tables(3, benches),
        *score_tables(4, runs),
        average_table(runs),
        *chat_tables(chat, judgements),
        *(table for number in (7, 8) for table in cost_tables(number, benches)),
        *(table for number in (9, 10) for table in score_tables(number, runs)),
        *(table for number in (11, 12) for table in kept_tables(number, runs)),
        *(table for number in (13, 14, 15) for table in rate_tables(number, sweeps)),
    ]
