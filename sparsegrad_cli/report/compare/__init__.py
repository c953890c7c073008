"""Every table of the paper, ours beside it: what was run, what the paper prints, the difference."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...bench.folder import Bench
from ...store.parts import ReadParts
from ...sweep.folder import ReadSweep
from ..section import Section
from .costs import cost_tables
from .counts import llama_table, parts_table
from .kept import kept_tables
from .rates import rate_tables
from .scores import average_table, score_tables
from .table import ComparedTable
from .words import compared_section


def compare_tables(
    runs: pd.DataFrame, benches: Sequence[Bench], sweeps: Sequence[ReadSweep], parameters: Sequence[ReadParts]
) -> list[ComparedTable]:
    """In the paper's order; a table has one part for each group of ours that may be compared.

    Args:
        runs: finished runs, as `read_runs` has them, each once; may be empty.
        parameters: counts of models' parameters.
    """
    return [
        parts_table(parameters),
        *cost_tables(3, benches),
        *score_tables(4, runs),
        average_table(runs),
        llama_table(),
        *(table for number in (7, 8) for table in cost_tables(number, benches)),
        *(table for number in (9, 10) for table in score_tables(number, runs)),
        *(table for number in (11, 12) for table in kept_tables(number, runs)),
        *(table for number in (13, 14, 15) for table in rate_tables(number, sweeps)),
    ]


def compare_sections(
    runs: pd.DataFrame, benches: Sequence[Bench], sweeps: Sequence[ReadSweep], parameters: Sequence[ReadParts]
) -> list[Section]:
    """The same, to be drawn."""
    return [compared_section(table) for table in compare_tables(runs, benches, sweeps, parameters)]
