"""Settings and records of benchmarks: every key of their files, typed.

A benchmark is a folder `bench/<id>/`, where `<id>` is the `config_id` of its configuration. It holds

    config.json          BenchConfig, CalibrationConfig or RunnerConfig
    environment.json     store.records.Environment: what it was measured on
    result.json          BenchResult, CalibrationResult or RunnerResult; written last
    plot.png             steps/s against peak memory, a point a row
    trace-<row>.json.gz  with --profile: a step as chrome://tracing or Perfetto shows it

Timings are not repeatable, so the same benchmark is measured again and overwrites. Times are in seconds,
memory is in bytes; a multiplication and an addition count as two FLOPs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..config import SETTINGS, Padding, Precision, RunConfig
from ..settings import METHOD, WHAT, Record, Setting, setting, settings_of
from ..store.folder import ResultFolder, ResultKind, read_all
from ..store.records import Environment, Parameters, ResultRecord, Status, StoredResult

Init = Literal["pretrained", "random"]
Phase = Literal["forward", "backward", "optimizer"]
MEASURING = "Measuring"


class BenchTarget(Record):
    """The model that is measured, and on what."""

    model: str  # as typed
    checkpoint: str  # identity of the weights, or of the architecture if they are random
    init: Init = setting(
        "random: the architecture alone, nothing to fetch for the BERT and RoBERTa models of the hub.",
        WHAT,
        off="pretrained",
    )
    layers: int | None = setting(
        "Keep only this many of the first blocks.", WHAT, off=None, default_help="all", at_least=1
    )
    device: Literal["cpu", "cuda"]
    precision: Precision
    batch_size: int  # examples
    length: int  # tokens of each example; with a task, at most
    task: str | None  # whose examples make the batches; None: random tokens, all of `length`
    task_file: str | None = setting(off=None, in_id=False)  # the YAML of a user's own task
    data: str | None = setting(off=None, in_id=False)
    data_revision: str | None
    lengths: str | None = setting(
        "Random tokens, as many in each example as this GLUE task has.", WHAT, off=None, default_help="no"
    )
    seed: int

    @property
    def examples(self) -> str | None:
        """The GLUE task whose examples, or whose lengths, make the batches; None: all are of `length`."""
        return self.task or self.lengths


class RowSpec(Record):
    """What a row measures: a method and, of a sparse one, its basis, mask and place."""

    method: str
    basis: str | None = None  # "none", "calibrated" or "random"
    mask: str | None = None
    place: str | None = None  # or a form of the paper's own layer: "regular", "sparse-by-dense"
    recompute: bool = False
    padding: Padding = "max"

    @property
    def name(self) -> str:
        """Returns `ft`, `sparsegrad backward`, `sparsegrad backward recompute` or `sparsegrad fixed`."""
        if self.method != "sparsegrad":
            return self.method
        point = self.place if self.mask == "dynamic" else self.mask
        return " ".join(filter(None, [self.method, point, "recompute" if self.recompute else None]))


class BenchConfig(BenchTarget):
    """`config.json` of `sparsegrad bench`."""

    bench: Literal["step"] = "step"
    rows: tuple[RowSpec, ...]
    freeze_rest: bool = False
    density: float | None
    kept: int | None
    rank: int | None
    basis_rank: int | None = None
    calibration_steps: int
    rounds: int = setting("Times that every row is measured.", MEASURING, off=3, at_least=1)
    steps: int = setting(
        "Timed steps of a row in a round.", MEASURING, default_help="5, on CUDA 30", at_least=1
    )
    burn_in: int = setting("Steps before them.", MEASURING, default_help="2, on CUDA 20", at_least=1)


class RowSettings(Record):
    """Which rows are measured; see `run.choose_rows`."""

    methods: tuple[str, ...] = setting(
        "Methods; repeatable.", WHAT, off=(), default_help="ft, lora, meprop, sparsegrad", flag="--method"
    )
    places: tuple[str, ...] = setting(
        "sparsegrad: only these places (optimizer, backward, adapter), or forms of the paper's own layer "
        "(regular, sparse-by-dense); repeatable.",
        METHOD,
        off=(),
        default_help="all",
        flag="--place",
    )
    masks: tuple[str, ...] = setting(
        "sparsegrad: only these masks: dynamic (at all places), fixed or block; repeatable.",
        METHOD,
        off=(),
        default_help="all",
        flag="--mask",
    )
    padding: tuple[Padding, ...] = setting(
        SETTINGS["padding"].help.removesuffix(".") + "; repeatable.",
        METHOD,
        off=(),
        default_help="none where the model can, else longest",
    )


class Memory(Record):
    """Bytes of the tensors in one step, on the device."""

    weights: int  # parameters and buffers, without the basis
    basis: int
    optimizer: int  # its state; that of a masked optimizer grows in its first steps
    gradients: int  # at the end of backward
    activations: int  # what forward leaves for backward
    peak: int  # the most that torch's allocator holds at once
    peak_phase: Phase


class Operation(Record):
    """One of the most expensive operations of a step."""

    name: str
    seconds: float  # its own, without the operations that it calls
    share: float  # of the time of all operations
    calls: int


class Row(RowSpec):
    """What a row came to; None where it failed, or where there is nothing to compare with."""

    status: Status
    error: str | None = None
    steps_per_second: float | None = None  # of the median step of all rounds
    quartiles: tuple[float, float] | None = None  # steps per second of the third and of the first quartile
    tokens_per_second: float | None = None  # median over the steps; padding does not count
    seconds: tuple[tuple[float, ...], ...] = ()  # of every timed step, round by round
    peak_memory_bytes: int | None = None  # `memory.peak`
    speed_vs_ft: float | None = None
    speed_vs_lora: float | None = None
    memory_vs_ft: float | None = None
    memory_vs_lora: float | None = None
    speed_vs_longest: float | None = None  # over the same row with batches padded to their longest example
    memory_vs_longest: float | None = None
    memory: Memory | None = None
    flops: int | None = None  # of a step; see `measure.count_flops`
    utilization: float | None = None  # FLOPs per second of the median step over `BenchResult.peak_flops`
    parameters: Parameters | None = None
    operations: tuple[Operation, ...] = ()  # with --profile: the five most expensive

    @property
    def spec(self) -> RowSpec:
        return RowSpec(**{name: getattr(self, name) for name in RowSpec.model_fields})


class BenchResult(ResultRecord):
    """`result.json` of `sparsegrad bench`."""

    peak_flops: float  # FLOPs per second of a large matrix product, in the benchmark's precision
    rows: tuple[Row, ...]


class CalibrationConfig(BenchTarget):
    """`config.json` of `sparsegrad bench calibrate`."""

    bench: Literal["calibration"] = "calibration"
    padding: Padding = "longest"
    steps: int  # batches whose gradients make the basis
    basis_rank: int | None = None  # leading directions that ours finds on each side; None: all
    stack: bool = setting(
        "Measure the paper's way too; without it only the size of its stack is computed.",
        METHOD,
        off=True,
        flag="--stack/--no-stack",
    )


Way = Literal["sums", "svd"]  # of calibrating


class CalibrationRow(Record):
    """One calibration, in a process of its own."""

    by: Way  # running sums of G G^T and G^T G, or the stack of gradients and its SVD
    steps: int
    status: Status
    error: str | None = None
    seconds: float | None = None  # passes over the batches, and decomposition
    gradient_seconds: float | None = None  # the passes alone
    added_bytes: int | None = None  # peak above the model: CUDA's allocator, or the resident set


class Agreement(Record):
    """How far two bases span the same leading directions, whatever their signs."""

    kind: str
    side: Literal["U", "V"]
    size: int  # directions in all
    directions: int  # leading ones, which carry 90% of the energy
    cosine: float  # of the largest principal angle between the two spans
    degrees: float  # that angle


class KindSize(Record):
    """Sizes of one kind of MLP linear, and what a truncated basis keeps of its gradients' energy."""

    kind: str
    shape: tuple[int, int]  # O x I
    stack_bytes: int  # of the gradients that the paper's way holds at once
    rank: tuple[int, int]  # r x c of the basis
    v_keeps: float  # of the energy in the gradients that the basis is made from, by each side alone
    u_keeps: float
    both_keep: float | None = None  # of gradients that it is not made from, by both; None: not truncated


class CalibrationResult(ResultRecord):
    """`result.json` of `sparsegrad bench calibrate`."""

    rows: tuple[CalibrationRow, ...]
    agreement: tuple[Agreement, ...]
    kinds: tuple[KindSize, ...] = ()


class RunnerConfig(Record):
    """`config.json` of `sparsegrad bench runner`."""

    bench: Literal["runner"] = "runner"
    checkpoint: str  # identity of the weights
    runs: tuple[RunConfig, ...]  # of the first round; each later one has the next seed
    rounds: int = setting(
        "Times that both sides train, each with the next seed.", MEASURING, off=3, at_least=1
    )
    beside: Literal["trainer", "loop"] = setting(
        "What finetune is compared with: trainer, a plain script on transformers' Trainer and PEFT; loop, a "
        "bare torch loop with finetune's own padding.",
        MEASURING,
        off="trainer",
    )
    padding: Literal["longest", "max"] = setting(
        "What that script pads its batches to: the longest of each, or --length as the paper.",
        MEASURING,
        off="longest",
    )
    score: bool = setting(
        "Score both on the dev split after the last step.", MEASURING, off=True, flag="--score/--no-score"
    )

    @property
    def device(self) -> str:
        return self.runs[0].device

    @property
    def precision(self) -> str:
        return self.runs[0].precision


class RunnerRow(Record):
    """Training by `finetune` and by the other side; medians over the rounds."""

    task: str
    method: str
    steps: int
    seconds: float  # of all steps
    other_seconds: float
    steps_per_second: float  # of the median step, the first three of each round left out
    other_steps_per_second: float
    speedup: float  # the other's seconds over ours of a step on the same batch, median of the same steps
    scores: tuple[float, ...]  # of each round, as the task's metric gives them
    other_scores: tuple[float, ...]


class RunnerResult(ResultRecord):
    """`result.json` of `sparsegrad bench runner`."""

    rows: tuple[RunnerRow, ...]
    speedups: dict[str, float]  # method -> geometric mean over the tasks


_TARGET = {
    **{name: SETTINGS[name] for name in ("model", "data", "device", "batch_size", "length", "precision")},
    "task": replace(
        SETTINGS["task"],
        help="Batches of a GLUE task (see sparsegrad ls tasks).",
        default_help="random tokens, all of --length",
    ),
    "seed": replace(SETTINGS["seed"], help="Seed of weights, batches and dropout."),
    **settings_of(BenchTarget),
}
# options of the three commands, by name
BENCH_OPTIONS: dict[str, Setting] = {
    **_TARGET,
    **{name: SETTINGS[name] for name in ("freeze_rest", "density", "kept", "rank", "basis_rank")},
    "calibration_steps": replace(SETTINGS["calibration_steps"], default=4),
    **settings_of(BenchConfig),
    **settings_of(RowSettings),
}
CALIBRATION_OPTIONS: dict[str, Setting] = {
    **{name: each for name, each in _TARGET.items() if name != "precision"},
    **{name: SETTINGS[name] for name in ("calibration_steps", "basis_rank", "padding")},
    **settings_of(CalibrationConfig),
}
RUNNER_OPTIONS: dict[str, Setting] = {
    **{name: _TARGET[name] for name in ("model", "data", "device", "batch_size", "length", "precision")},
    "tasks": replace(
        SETTINGS["task"],
        name="tasks",
        type=tuple[str, ...],
        help="A GLUE task (see sparsegrad ls tasks); repeatable.",
    ),
    "methods": replace(settings_of(RowSettings)["methods"], default=("ft", "lora"), default_help=""),
    "seed": replace(SETTINGS["seed"], help="Seed of the first round."),
    **{
        name: SETTINGS[name]
        for name in ("learning_rate", "max_steps", "max_train_examples", "calibration_steps")
    },
    "epochs": replace(SETTINGS["epochs"], default=1.0),
    **settings_of(RunnerConfig),
}
# keys of an experiment's `settings`: its other keys say model, task, data and methods
BENCH_SETTINGS = {
    name: each for name, each in BENCH_OPTIONS.items() if name not in ("model", "task", "data", "methods")
}

AnyConfig = BenchConfig | CalibrationConfig | RunnerConfig
AnyResult = BenchResult | CalibrationResult | RunnerResult
Bench = (
    StoredResult[BenchConfig, BenchResult]
    | StoredResult[CalibrationConfig, CalibrationResult]
    | StoredResult[RunnerConfig, RunnerResult]
)
PLACE, REMEDY = "bench", "measure again"
BENCHES = ResultKind(PLACE, BenchConfig, BenchResult, ("bench", "step"), REMEDY)
CALIBRATIONS = ResultKind(PLACE, CalibrationConfig, CalibrationResult, ("bench", "calibration"), REMEDY)
RUNNERS = ResultKind(PLACE, RunnerConfig, RunnerResult, ("bench", "runner"), REMEDY)
KINDS: dict[type[Record], ResultKind[Any, Any]] = {k.config: k for k in (BENCHES, CALIBRATIONS, RUNNERS)}


def bench_folder(results: Path, config: AnyConfig) -> ResultFolder[Any, Any]:
    """Returns the folder of a benchmark of any of the three kinds."""
    return KINDS[type(config)].folder(results, config)


def write_bench(results: Path, config: AnyConfig, result: AnyResult, environment: Environment) -> Bench:
    """Write a benchmark over an earlier measurement of the same; the caller holds the lock.

    Raises:
        WorkError: it cannot be written.
    """
    folder = bench_folder(results, config)
    folder.begin(environment)
    folder.finish(result)
    return folder.read()


def read_benches(folders: Sequence[Path]) -> tuple[Bench, ...]:
    """Returns every finished benchmark in the folders; see `find_results`."""
    return (*read_all(BENCHES, folders), *read_all(CALIBRATIONS, folders), *read_all(RUNNERS, folders))
