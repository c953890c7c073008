"""What is asked of a fresh process, and what it answers: JSON both ways."""

from __future__ import annotations

from typing import Literal

from ..settings import Record
from ..store.records import Parameters, Status
from .schema import Memory, Operation, Peaks, RowSpec, Subject, Work


class Setup(Record):
    """How a worker makes the model, and where its batches are."""

    subject: Subject
    location: str  # the checkpoint's folder; empty where the architecture is known by name
    num_labels: int
    regression: bool
    batches: str  # file


class PeaksJob(Record):
    """Measure what the machine reaches; on CUDA look first at what others hold."""

    what: Literal["peaks"] = "peaks"
    device: str
    precision: str


class MeasureJob(Record):
    """Time the steps of one row."""

    what: Literal["measure"] = "measure"
    setup: Setup
    row: RowSpec
    freeze_rest: bool
    density: float | None
    kept: int | None
    rank: int | None
    basis: str | None  # file
    first_batch: int  # in the file
    burn_in: int
    steps: int
    costs: bool  # measure memory and work too
    trace: str | None  # file to write


class CalibrateJob(Record):
    """Find a basis, by sums or by the SVD of the stack, and write it."""

    what: Literal["calibrate"] = "calibrate"
    setup: Setup
    by: Literal["sums", "svd"]
    steps: int
    probe_steps: int
    basis_rank: int | None = None
    basis: str  # file to write


class Measured(Record):
    """The answer to `MeasureJob`."""

    seconds: tuple[float, ...]  # of each timed step
    tokens: tuple[int, ...]  # of each, padding not counted
    memory: Memory | None = None
    work: Work | None = None
    parameters: Parameters | None = None
    operations: tuple[Operation, ...] = ()


class Calibrated(Record):
    """The answer to `CalibrateJob`."""

    seconds: float
    gradient_seconds: float | None
    added_bytes: int | None
    unseen_energy: dict[str, float] | None = None  # kind -> share that a truncated basis keeps


class Failure(Record):
    """The answer to any job that failed."""

    status: Status
    error: str


class Machine(Record):
    """The answer to `PeaksJob`."""

    peaks: Peaks
    used_by_others: int  # bytes on the device before anything of ours was there
