"""Tables 3, 7 and 8: steps per second and peak memory of RoBERTa-base, beside our benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...bench.folder import Bench
from ...bench.schema import BenchConfig
from ...paper import GLUE, paper_cells
from ..bench.caption import code, machine, model, trained
from ..bench.paper import MEMORIES, SPEEDS, bench_row
from .bench import MEAN, Costs, find_costs
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

FAMILY, BASE = "roberta-base", "ft"
LEGEND = {
    "compared": "only what is over ft's: other machines have other speeds",
    "peak": "of torch's allocator on the device in a step, in MB of 10^6 bytes",
}
NAMES = {3: "speed and memory", SPEEDS: "speed by task", MEMORIES: "memory by task"}


@dataclass(frozen=True)
class Measured:
    """A column: what ours and the paper have for the row of a name."""

    column: ComparedColumn
    ours: Callable[[str], float | None]
    paper: Callable[[str], Printed | None]

    def over_base(self, head: str) -> Measured:
        """The same over full fine-tuning's."""
        return replace(
            self,
            column=ComparedColumn(head=head, kind="ratio"),
            ours=lambda name: _over(self.ours(name), self.ours(BASE)),
            paper=lambda name: _printed_over(self.paper(name), self.paper(BASE)),
        )


def cost_tables(number: int, benches: Sequence[Bench]) -> list[ComparedTable]:
    """Table 3, 7 or 8 for each group of benchmarks that has some of it; without any, the paper's alone."""
    groups = find_costs(benches, FAMILY)
    if number == 3:
        found = [g for g in groups if None in g.tasks or g.tasks >= set(GLUE)]
    else:
        found = [group for group in groups if group.tasks & set(GLUE)]
    return [_beside(number, group) for group in found or [Costs((), {})]]


def _beside(number: int, costs: Costs) -> ComparedTable:
    names = list(dict.fromkeys(bench_row(c.method) for c in paper_cells(SPEEDS) if c.method))
    if number == 3:
        ours = MEAN if costs.tasks >= set(GLUE) else None
        speed, memory = _speed("steps/s", MEAN, ours, costs), _memory("peak\nMB", MEAN, ours, costs)
        grids = [[speed, speed.over_base("vs ft"), memory, memory.over_base("vs ft")]]
    else:
        column = _speed if number == SPEEDS else _memory
        tasks = {**dict(zip(GLUE, GLUE, strict=True)), "average": MEAN}
        absolute = [column(head, task, task, costs) for head, task in tasks.items()]
        grids = [absolute, [measured.over_base(f"{measured.column.head}\nvs ft") for measured in absolute]]
    return ComparedTable(
        number=number,
        title=f"Paper, table {number}: {FAMILY}, {NAMES[number]}",
        grids=tuple(_grid(names, costs, columns) for columns in grids),
        notes=() if costs.rows else ("Nothing of this model was measured yet.",),
        caption={**_caption(number, costs), **LEGEND},
    )


def _speed(head: str, task: str, ours: str | None, costs: Costs) -> Measured:
    column = ComparedColumn(head=head, kind="speed", metric="" if head == "steps/s" else "steps/s")
    return Measured(column, lambda name: costs.speed(name, ours), _printed(SPEEDS, task))


def _memory(head: str, task: str, ours: str | None, costs: Costs) -> Measured:
    column = ComparedColumn(head=head, kind="memory", metric="" if head == "peak\nMB" else "MB")
    return Measured(column, lambda name: costs.memory(name, ours), _printed(MEMORIES, task))


def _printed(table: int, task: str) -> Callable[[str], Printed | None]:
    cells = {bench_row(c.method): printed(c) for c in paper_cells(table) if c.method and c.column == task}
    return cells.get


def _grid(names: Sequence[str], costs: Costs, columns: Sequence[Measured]) -> ComparedGrid:
    """The paper's rows, then those that only we have."""
    rows = []
    for name in dict.fromkeys([*names, *costs.names]):
        ours = OurRow(label=name, cells=tuple(single(measured.ours(name)) for measured in columns))
        paper = tuple(measured.paper(name) for measured in columns) if name in names else ()
        rows.append(Compared(label=name, paper=paper, ours=(ours,)))
    return ComparedGrid(columns=tuple(measured.column for measured in columns), rows=tuple(rows))


def _caption(number: int, costs: Costs) -> dict[str, str]:
    if not costs.benches:
        return {}
    first = costs.benches[0]
    config = first.config
    assert isinstance(config, BenchConfig)
    of = "random tokens" if number == 3 and None in costs.tasks else "batches of each task"
    return {
        "ran on": machine(first),
        "model": model(config),
        "batches": f"{config.batch_size} × {config.length}, {of}; the paper's are means over GLUE's tasks",
        "training": trained(config),
        "code": "; ".join(dict.fromkeys(code(bench.environment) for bench in costs.benches)),
    }


def _over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _printed_over(cell: Printed | None, base: Printed | None) -> Printed | None:
    if cell is None or base is None:
        return None
    return Printed(value=cell.value / base.value, sure=cell.sure and base.sure)
