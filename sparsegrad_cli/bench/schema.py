"""What a benchmark leaves on disk: every key of its files, typed.

A benchmark is a folder `bench/<id>/`, where `<id>` is the hash of its configuration. It holds

    config.json          BenchConfig (CalibrationConfig, RunnerConfig): everything that was asked for
    environment.json     store.records.Environment: what it was measured on
    result.json          BenchResult (CalibrationResult, RunnerResult); written last, and atomically
    plot.png             steps/s against peak memory, a point a row
    trace-<row>.json.gz  with --profile: a step as chrome://tracing or Perfetto shows it

Timings are not repeatable, so the same configuration is measured again and overwrites. Seconds are seconds,
bytes are bytes, operations are floating-point ones: a multiplication and an addition count as two.
"""

from __future__ import annotations

from typing import Literal

from ..config import Precision
from ..settings import Record
from ..store.records import Parameters, ResultRecord, Status

Init = Literal["pretrained", "random"]
Phase = Literal["forward", "backward", "optimizer"]


class RowSpec(Record):
    """What one row measures."""

    method: str
    basis: str | None = None  # sparse methods, as the next three: its kind
    mask: str | None = None
    place: str | None = None  # or the paper's own layer: regular, sparse-by-dense
    recompute: bool = False

    @property
    def name(self) -> str:
        """`ft`, `sparsegrad backward`, `sparsegrad backward recompute`, `sparsegrad fixed`."""
        if self.method != "sparsegrad":
            return self.method
        point = self.place if self.mask == "dynamic" else self.mask
        return " ".join(filter(None, [self.method, point, "recompute" if self.recompute else None]))


class Subject(Record):
    """The model and the machine that are measured."""

    model: str  # as typed
    checkpoint: str  # identity of the weights, or of the architecture where they are random
    init: Init
    layers: int | None  # blocks, where cut
    device: str  # "cpu" or "cuda"
    precision: Precision
    batch_size: int  # examples
    length: int  # tokens; at most, where `task` is given
    task: str | None  # where the batches are from; None: random tokens, all of `length`
    data: str | None
    data_revision: str | None  # SHA-256 over the examples
    pad_to_max: bool  # every batch padded to `length`
    seed: int


class BenchConfig(Subject):
    """Everything that was asked for."""

    bench: Literal["step"] = "step"
    rows: tuple[RowSpec, ...]
    freeze_rest: bool
    density: float | None
    kept: int | None
    rank: int | None
    basis_rank: int | None = None
    calibration_steps: int
    rounds: int
    steps: int  # timed, in each round
    burn_in: int  # not timed, before them


class Memory(Record):
    """Bytes of one step; see `memory` for how each is measured."""

    weights: int
    basis: int
    optimizer: int
    gradients: int
    activations: int
    peak: int
    peak_phase: Phase
    resident: int | None  # of the process, above what it held before the model was built


class Work(Record):
    """What a step cannot avoid; see `floors`."""

    operations: float
    bytes: float


class Peaks(Record):
    """What this machine reaches at most."""

    operations_per_second: float  # a large matrix product in the benchmark's precision
    bytes_per_second: float  # a large copy, bytes read and bytes written

    def floor(self, work: Work) -> float:
        """Seconds: the longer of operations and traffic, as if each hid all of the other."""
        return max(work.operations / self.operations_per_second, work.bytes / self.bytes_per_second)


class Operation(Record):
    """One of the most expensive operations of a step."""

    name: str
    seconds: float  # without what it calls
    share: float  # of the time of all operations
    calls: int


class Row(RowSpec):
    """One method in one form; None where the row failed or there is nothing to compare with."""

    status: Status
    error: str | None = None
    steps_per_second: float | None = None  # the median over all timed steps
    tokens_per_second: float | None = None  # likewise; padding does not count
    seconds: tuple[tuple[float, ...], ...] = ()  # of every timed step, round by round
    peak_memory_bytes: int | None = None  # of torch's allocator, on the device
    speed_vs_ft: float | None = None
    speed_vs_lora: float | None = None
    memory_vs_ft: float | None = None
    memory_vs_lora: float | None = None
    memory: Memory | None = None
    work: Work | None = None
    floor_seconds: float | None = None  # a step at the machine's peaks
    over_floor: float | None = None  # the median step over it
    parameters: Parameters | None = None
    operations: tuple[Operation, ...] = ()  # with --profile: the five most expensive

    @property
    def spec(self) -> RowSpec:
        return RowSpec(**{name: getattr(self, name) for name in RowSpec.model_fields})


class BenchResult(ResultRecord):
    """`result.json`."""

    peaks: Peaks
    rows: tuple[Row, ...]


class CalibrationConfig(Subject):
    """Everything that `bench calibrate` was asked for."""

    bench: Literal["calibration"] = "calibration"
    steps: int  # batches whose gradients make the basis
    basis_rank: int | None = None  # leading directions that ours finds, a side; None: all
    stack: bool = True  # whether the paper's way is measured too


class RunnerConfig(Subject):
    """Everything that `bench runner` was asked for."""

    bench: Literal["runner"] = "runner"
    methods: tuple[str, ...]
    rounds: int  # turns of each
    steps: int  # timed, in each turn


class RunnerRow(Record):
    """The median training step of one method."""

    method: str
    runner_seconds: float  # in `finetune`
    bare_seconds: float  # in a loop of forward, backward and optimizer
    overhead: float  # runner over bare, less 1


class RunnerResult(ResultRecord):
    """`result.json` of `bench runner`."""

    rows: tuple[RunnerRow, ...]


class CalibrationRow(Record):
    """One calibration in a process of its own."""

    by: Literal["sums", "svd"]  # running sums of G G^T and G^T G, or the stack and its SVD
    steps: int
    status: Status
    error: str | None = None
    seconds: float | None = None  # passes over the batches and decomposition
    gradient_seconds: float | None = None  # of them, until the sums or the stack are whole
    added_bytes: int | None = None  # peak above the model: CUDA's allocator, or the resident set


class Agreement(Record):
    """How far two bases span the same leading directions, whatever their signs."""

    kind: str
    side: Literal["U", "V"]
    size: int  # directions in all
    directions: int  # leading ones, that carry 90% of the energy
    cosine: float  # of the largest principal angle between the two spans
    degrees: float  # that angle


class KindSize(Record):
    """What one kind of MLP linear takes, and what a truncated basis keeps of its gradients' energy."""

    kind: str
    shape: tuple[int, int]  # O x I
    stack_bytes: int  # of the gradients that the paper's way holds at once
    rank: tuple[int, int]  # r x c of the basis
    v_keeps: float  # of the energy in the gradients that the basis is made from, by each side alone
    u_keeps: float
    both_keep: float | None = None  # of gradients that it is not made from, by both; None: not truncated


class CalibrationResult(ResultRecord):
    """`result.json` of `bench calibrate`."""

    rows: tuple[CalibrationRow, ...]
    agreement: tuple[Agreement, ...]
    kinds: tuple[KindSize, ...] = ()
