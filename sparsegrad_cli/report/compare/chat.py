"""Table 6: LLaMA-2 on OpenAssistant conversations, beside our chat runs of the same model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ...judge.records import Judgement
from ...paper import paper_cells, same_model
from ...store.records import LOSS
from ..chat import build_chat_tables
from ..chat.split import split_chat
from ..chat.table import ChatTable
from ..rows import METHODS, Setting
from ..table import Spread
from .setting import kept_share, method_reason
from .table import Compared, ComparedColumn, ComparedGrid, ComparedTable, OurRow, printed

FAMILY, BLOCKS, LENGTH = "llama-2-7b", "every:3", 512
FULL = f"one epoch of every thread, packed to {LENGTH} tokens"
SHARE = 0.002  # kept of each matrix, to the digit that the paper has
GPT_4 = "gpt-4"  # its judge
SETTING = (
    "up_proj and down_proj of every third block, all else frozen; lora rank 32; meprop and sparsegrad "
    "100,000 entries (0.2%) of each matrix at a step, chosen anew at each; one epoch, bfloat16; its code "
    "counts all turns in the loss"
)
OURS_ALONE = ("cost", "not trained")  # what is said of columns and rows that are not shown here
CAPTION = {
    "paper": SETTING,
    "judge's score": "1 to 10, higher is better; the paper's is by GPT-4 on MT-Bench",
}


@dataclass(frozen=True)
class _Column:
    """One column of both."""

    paper: str  # the paper's column
    shown: ComparedColumn
    cells: tuple[Spread | None, ...]  # one a row of our table


def chat_tables(runs: pd.DataFrame, judgements: Sequence[Judgement]) -> list[ComparedTable]:
    """Table 6 for each group of ours that may be compared; without any, the paper's alone.

    Args:
        runs: finished runs of chat tasks, as `read_runs` has them, each once; may be empty.
        judgements: of what they answer.
    """
    own = runs if runs.empty else runs[[same_model(model, FAMILY) for model in runs["model"]]]
    reasons = [_reason(run) for run in own.to_dict("records")]
    fit, others = own[[not reason for reason in reasons]], Counter(filter(None, reasons))
    if fit.empty:
        return [_beside(None, fit, others)]
    return [_beside(*build_chat_tables(part, judgements), part, others) for part in split_chat(fit)]


def _reason(run: Mapping[str, Setting]) -> str:
    """Why a run is not in the paper's setting, in words; empty where it is."""
    if run["completeness"] != "complete":
        return "data that is not the whole release"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    if run["blocks"] != BLOCKS:
        return f"blocks {run['blocks'] or 'all'}"
    share = kept_share(run, FAMILY)
    if share is not None and round(share, 3) != SHARE:
        return f"{run['method']} keeping {100 * share:.2g}%"
    return method_reason({**run, "freeze_rest": False}, FAMILY, any_share=True)


def _beside(made: ChatTable | None, fit: pd.DataFrame, others: Mapping[str, int]) -> ComparedTable:
    cells = paper_cells(6)
    columns = (_trained(made), _loss(made, fit), *_judges(made))
    rows = []
    for method in METHODS:
        theirs = {cell.column: cell for cell in cells if cell.method == method}
        rows.append(
            Compared(
                label=method,
                paper=tuple(printed(theirs.get(column.paper)) for column in columns),
                ours=_ours(method, made, columns),
            )
        )
    said = made.table.caption if made else {}
    where = f", and {made.table.model}, {made.table.device}, {made.table.precision}" if made else ""
    grid = ComparedGrid(columns=tuple(column.shown for column in columns), rows=tuple(rows))
    return ComparedTable(
        number=6,
        title=f"Paper, table 6: LLaMA-2 7B on OpenAssistant conversations{where}",
        grids=(grid,),
        notes=_notes(made, fit, others),
        caption={**CAPTION, **{name: text for name, text in said.items() if name not in OURS_ALONE}},
    )


def _ours(method: str, made: ChatTable | None, columns: Sequence[_Column]) -> tuple[OurRow, ...]:
    rows = made.table.rows if made else ()
    found = [
        OurRow(
            label=method,
            settings=tuple(row.suffix.split(", ")) if row.suffix else (),
            cells=tuple(column.cells[place] for column in columns),
        )
        for place, row in enumerate(rows)
        if row.method == method
    ]
    return tuple(found) or (OurRow(label=method, cells=(None,) * len(columns)),)


def _trained(made: ChatTable | None) -> _Column:
    pairs = zip(made.table.rows, made.trained_shares, strict=True) if made else ()
    cells = [share and Spread(mean=100 * share, std=None, n=row.cost.runs) for row, share in pairs]
    head = ComparedColumn(head="trained", kind="trained", metric="% of all")
    return _Column("trainable_percent", head, tuple(cells))


def _loss(made: ChatTable | None, fit: pd.DataFrame) -> _Column:
    """Over other tokens than the paper's, it stands beside the paper's without a difference."""
    same = made is None or fit["loss_on"].iloc[0] == "all"
    head = ComparedColumn(
        head="validation\nloss",
        kind="measure" if same else "aside",
        metric="lower is better",
        notes=() if same else ("ours: assistant's", "turns alone"),
    )
    cells = [row.cells[0] and row.cells[0].scores[LOSS] for row in made.table.rows] if made else ()
    return _Column("valid_loss", head, tuple(cells))


def _judges(made: ChatTable | None) -> list[_Column]:
    """A column for each of ours; what another judge than the paper's gives has no difference to it."""
    found = []
    for judge in made.judges if made else ():
        kind = "measure" if judge.model.startswith(GPT_4) else "aside"
        head = ComparedColumn(
            head="judge's\nscore", kind=kind, metric="higher is better", notes=(f"ours: {judge.name}",)
        )
        found.append(_Column("judge_score", head, tuple(judged and judged.score for judged in judge.rows)))
    none = ComparedColumn(head="judge's\nscore", kind="measure", metric="higher is better")
    return found or [_Column("judge_score", none, (None,) * (len(made.table.rows) if made else 0))]


def _notes(made: ChatTable | None, fit: pd.DataFrame, others: Mapping[str, int]) -> tuple[str, ...]:
    """What a reader must know of the runs that are shown, and of those that are not."""
    found = []
    if made is None:
        found.append("No run in the paper's setting yet." if others else "No run of this model yet.")
    if short := sum(map(_is_shorter, fit.to_dict("records"))):
        which = "All" if short == len(fit) else f"{short} of {len(fit)}"
        found.append(f"{which} runs of ours are shorter than the paper's, which have {FULL}.")
    if others:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(others.items()))
        found.append(f"Runs of this model in another setting, not shown: {told}.")
    return tuple(found)


def _is_shorter(run: Mapping[str, Setting]) -> bool:
    cut = run["max_steps"] is not None or run["max_train_examples"] is not None
    return cut or float(run["epochs"] or 0) < 1 or int(run["length"] or 0) < LENGTH
