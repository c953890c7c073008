"""What the paper says that a step costs (tables 3, 7 and 8)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from ..store.schema import Record

FACTS = Path(__file__).with_name("paper_costs.yaml")
MEAN = "all"


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
    name, facts = model.rpartition("/")[2], _facts()
    if name not in facts["steps_per_second"]:
        return None
    speeds, memories = facts["steps_per_second"][name], facts["peak_memory_mb"][name]
    column = task if task in speeds else MEAN
    unsure = {row: tasks[column] for row, tasks in facts["unsure"][name].items() if column in tasks}
    return PaperCosts(
        task=column,
        steps_per_second=speeds[column] | unsure,
        peak_memory_bytes={row: 1e6 * value for row, value in memories[column].items()},
        unsure=frozenset(unsure),
    )


def paper_calibration_seconds(model: str) -> float | None:
    """How long the paper's calibration took, on a Xeon."""
    return _facts()["calibration_seconds"].get(model.rpartition("/")[2])


@cache
def _facts() -> dict[str, dict]:
    return yaml.safe_load(FACTS.read_text(encoding="utf-8"))
