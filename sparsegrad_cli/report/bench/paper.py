"""What the paper says that a step costs (tables 3, 7 and 8)."""

from __future__ import annotations

from ...paper import CALIBRATION_SECONDS, GLUE, PaperCell, paper_cells, paper_family, same_model
from ...settings import Record

SPEEDS, MEMORIES = 7, 8  # their column "avg" is table 3
MEAN = "all"
ROWS = {"sparsegrad-sd": "sparsegrad sparse-by-dense", "sparsegrad-reg": "sparsegrad regular"}


class PaperCosts(Record):
    """Numbers of one model on one task, or on the mean of GLUE; the keys are names of rows."""

    task: str
    steps_per_second: dict[str, float]
    peak_memory_bytes: dict[str, float]
    unsure: frozenset[str]  # rows whose speed only a damaged copy of the paper has

    def ratio(self, name: str, base: str, memory: bool) -> float | None:
        """Of row `name` over row `base`; None where the paper lacks either."""
        numbers = self.peak_memory_bytes if memory else self.steps_per_second
        return numbers[name] / numbers[base] if name in numbers and base in numbers else None


def paper_costs(model: str, task: str | None) -> PaperCosts | None:
    """What the paper has for a model, under any owner's name; of a task it does not have, the mean."""
    speeds, memories = (_of(model, task, table) for table in (SPEEDS, MEMORIES))
    if not speeds:
        return None
    return PaperCosts(
        task=task if task in GLUE else MEAN,
        steps_per_second={row: cell.value for row, cell in speeds.items()},
        peak_memory_bytes={row: 1e6 * cell.value for row, cell in memories.items()},
        unsure=frozenset(row for row, cell in speeds.items() if not cell.sure),
    )


def paper_calibration_seconds(model: str) -> float | None:
    """How long the paper's calibration took, on a Xeon."""
    family = paper_family(model)
    return CALIBRATION_SECONDS.get(family) if family else None


def bench_row(method: str) -> str:
    """What a benchmark calls a row of the paper's."""
    return ROWS.get(method, method)


def _of(model: str, task: str | None, table: int) -> dict[str, PaperCell]:
    column = task if task in GLUE else "avg"
    cells = [c for c in paper_cells(table) if c.column == column and same_model(model, c.model)]
    return {bench_row(cell.method): cell for cell in cells if cell.method}
