"""From an experiment to its cells, each of them once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, unknown
from .kinds import GridCell, get_kind
from .kinds.base import DONE, TO_CONTINUE, TO_DO
from .point import points
from .read import ReadExperiment

RETRY = ("failed", "out-of-memory", "diverged")  # "failed" is every cell that ended without a score


@dataclass(frozen=True)
class Wanted:
    """Which part of an experiment; empty: all of it."""

    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Standing:
    """A cell and how it stands on disk."""

    cell: GridCell
    status: str

    def is_due(self, retry: Collection[str]) -> bool:
        """Whether it is to be done now; what ended without a score is, where `retry` names how."""
        if self.status in (TO_DO, TO_CONTINUE):
            return True
        return self.status != DONE and ("failed" in retry or self.status in retry)


def plan_cells(
    read: ReadExperiment,
    wanted: Wanted,
    data: str | None,
    device: str | None,
    from_shapes: bool = False,
) -> list[GridCell]:
    """The cells, in the order in which they are done: seed by seed, so that a first table is there early.

    Args:
        wanted: seeds that the experiment does not have are added, other names must be in it.
        data, device: in place of the experiment's.
        from_shapes: see `Kind.cells`.

    Raises:
        InputError: anything that is wrong; with the line where it is a setting.
    """
    experiment = read.experiment
    changed: dict[str, object] = {}
    for axis in ("models", "tasks", "methods"):
        names: tuple[str, ...] = getattr(wanted, axis)
        for name in names:
            if name not in getattr(experiment, axis):
                known = getattr(experiment, axis)
                raise InputError(f"--{axis[:-1]}: {unknown(f'{axis[:-1]} in {read.path}', name, known)}")
        if names:
            changed[axis] = names
    kind = get_kind(experiment.kind)
    if wanted.seeds:
        if "seeds" not in kind.takes:
            raise InputError(f"--seed: {experiment.kind} has no use for seeds: leave it out")
        changed["seeds"] = wanted.seeds
    if data is not None:
        changed["data"] = data
    found: dict[str, GridCell] = {}
    for point in points(experiment.model_copy(update=changed), kind.axes):
        try:
            cells = kind.cells(point, device, from_shapes)
        except InputError as error:
            raise InputError(read.about(f"{point}: {error}")) from None
        for cell in cells:
            words = [
                f"{n.replace('_', '-')} {v}" for n, v in point.varied.items() if cell.options.get(n) == v
            ]
            found.setdefault(cell.id, cell.model_copy(update={"variant": ", ".join(words)}))
    return sorted(found.values(), key=lambda cell: cell.seed or 0)


def standings(cells: Sequence[GridCell], results: Path) -> list[Standing]:
    """How the cells stand on disk."""
    return [Standing(cell, get_kind(cell.kind).status(cell, results)) for cell in cells]
