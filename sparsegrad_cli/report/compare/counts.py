"""Table 1: where models keep their parameters."""

from __future__ import annotations

from collections.abc import Sequence

from ...paper import PaperCell, paper_cells, same_model
from ...store.parts import Parts, ReadParts
from ..caption import short_identity
from ..numbers import DASH
from .table import (
    Compared,
    ComparedColumn,
    ComparedGrid,
    ComparedTable,
    OurRow,
    Printed,
    printed,
    single,
)

PARTS = {"full": "total", "mlp": "mlp", "embeddings": "embeddings", "attention": "attention"}
COUNTED = (
    "mlp and attention: weights and biases of their linears; embeddings: of tokens, positions and types; "
    "full: with norms, an encoder's pooler, a decoder's output layer; in millions"
)


def parts_table(counts: Sequence[ReadParts]) -> ComparedTable:
    """Table 1: all models in one table."""
    cells = paper_cells(1)
    families = dict.fromkeys(cell.model for cell in cells)
    counted = [_row(family, cells, counts, shares=False) for family in families]
    shares = [_row(family, cells, counts, shares=True) for family in families]
    heads = tuple(PARTS)
    grids = (
        ComparedGrid(
            head="model",
            columns=tuple(ComparedColumn(head=head, kind="millions", metric="millions") for head in heads),
            rows=tuple(counted),
        ),
        ComparedGrid(
            head="model",
            columns=tuple(ComparedColumn(head=head, kind="percent", metric="%") for head in heads[1:]),
            rows=tuple(shares),
        ),
    )
    found = [c for family in families for c in counts if same_model(c.config.model, family)]
    shapes = dict.fromkeys(f"{c.config.model} {short_identity(c.config.architecture)}" for c in found)
    return ComparedTable(
        number=1,
        title="Paper, table 1: where models keep their parameters",
        grids=grids,
        notes=() if grids[0].runs else ("No model was counted yet.",),
        caption={"counted": COUNTED, "shapes": "; ".join(shapes) or DASH},
    )


def _row(family: str, cells: Sequence[PaperCell], counts: Sequence[ReadParts], shares: bool) -> Compared:
    theirs = {cell.column: cell for cell in cells if cell.model == family}
    names = [name for name in PARTS if not (shares and name == "full")]
    own = [count for count in counts if same_model(count.config.model, family)]
    ours = [OurRow(label=c.config.model, cells=_ours(c.result.parts, names, shares)) for c in own]
    return Compared(
        label=family,
        paper=tuple(_share(theirs[name]) if shares else printed(theirs[name]) for name in names),
        ours=tuple(ours) or (OurRow(label=family, cells=(None,) * len(names)),),
    )


def _ours(parts: Parts, names: Sequence[str], shares: bool) -> tuple:
    sizes = [getattr(parts, PARTS[name]) for name in names]
    return tuple(single(100 * size / parts.total if shares else size / 1e6) for size in sizes)


def _share(cell: PaperCell) -> Printed | None:
    return None if cell.percent is None else Printed(value=cell.percent, sure=cell.sure)
