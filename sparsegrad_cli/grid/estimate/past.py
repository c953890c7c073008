"""What has run before: how fast, in how much memory, on which machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...bench.folder import Bench, read_benches
from ...bench.schema import BenchConfig, BenchResult
from ...config import RunConfig
from ...methods import get_method
from ...store.records import read_record
from ...store.schema import Environment, Result

RUNS = ("runs/*", "sweeps/*/runs/*")
Hardware = Mapping[str, str | int]


@dataclass(frozen=True)
class Setting:
    """What, besides the tokens, decides how much a step holds and computes."""

    model: str
    method: str
    device: str
    precision: str
    freeze_rest: bool
    density: float | None
    kept: int | None
    support: str | None
    form: str | None
    rank: int | None
    blocks: str | None = None
    basis_rank: int | None = None
    gradient_checkpointing: bool | None = None

    @classmethod
    def of(cls, config: RunConfig) -> Setting:
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})

    def put_into(self, config: RunConfig) -> RunConfig:
        """`config` with this setting in place of its own."""
        return config.model_copy(update=asdict(self))


@dataclass(frozen=True)
class Past:
    """Steps that were taken."""

    setting: Setting
    batch_size: int
    parts: int  # of each batch
    inputs: tuple[object, ...] | None  # see `inputs_of`; None: of a benchmark
    task: str
    seconds: float  # a step
    tokens: float | None  # a step, padding included
    peak_memory_bytes: int | None
    hardware: Hardware

    @property
    def threads(self) -> int:
        return int(self.hardware.get("threads", 1))


def inputs_of(config: RunConfig) -> tuple[object, ...]:
    """What decides how long the examples of a batch are."""
    return (config.task, config.data_revision, config.length, config.pad_to_max)


def machine(hardware: Hardware, device: str) -> tuple[object, ...]:
    """Equal for what is, as far as we can tell, the same machine."""
    if device == "cuda":
        return (hardware.get("gpu"),)
    return (hardware.get("processor"), hardware.get("cores"), int(hardware.get("memory_bytes", 0)) >> 30)


def read_past(folders: Sequence[Path]) -> list[Past]:
    """Finished runs and benchmarks in results folders that tell how long a step took.

    Raises:
        InputError: a file is not what it should be.
    """
    present = [folder for folder in folders if folder.is_dir()]
    runs = {path.resolve() for folder in present for runs in RUNS for path in folder.glob(runs)}
    done = [_read_run(path) for path in sorted(runs) if (path / "result.json").is_file()]
    benches = [past for bench in read_benches(present) for past in _of_bench(bench)]
    return [past for past in done if past is not None] + benches


def _read_run(folder: Path) -> Past | None:
    advice = "take the folder away"
    result = read_record(Result, folder / "result.json", advice)
    if result.status != "done" or not result.steps_per_second:
        return None
    config = read_record(RunConfig, folder / "config.json", advice)
    environment = read_record(Environment, folder / "environment.json", advice)
    return Past(
        setting=Setting.of(config),
        batch_size=config.batch_size,
        parts=result.accumulation_steps,
        inputs=inputs_of(config),
        task=config.task,
        seconds=1 / result.steps_per_second,
        tokens=config.batch_size * config.length if config.pad_to_max else result.tokens_per_step,
        peak_memory_bytes=result.peak_memory_bytes,
        hardware=environment.hardware,
    )


def _of_bench(bench: Bench) -> Iterator[Past]:
    """Its rows, where every batch is of one length and no block was cut out."""
    config, result = bench.config, bench.result
    if not isinstance(config, BenchConfig) or not isinstance(result, BenchResult):
        return
    if config.layers is not None or not (config.pad_to_max or config.task is None):
        return
    for row in result.rows:
        if not row.steps_per_second:
            continue
        used = get_method(row.method).options
        yield Past(
            setting=Setting(
                model=config.model,
                method=row.method,
                device=config.device,
                precision=config.precision,
                freeze_rest=config.freeze_rest,
                density=config.density if "density" in used else None,
                kept=config.kept if "kept" in used else None,
                support=row.support,
                form=row.form,
                rank=config.rank if "rank" in used else None,
            ),
            batch_size=config.batch_size,
            parts=1,
            inputs=None,
            task=config.task or "random tokens",
            seconds=1 / row.steps_per_second,
            tokens=config.batch_size * config.length,
            peak_memory_bytes=row.peak_memory_bytes,
            hardware=bench.environment.hardware,
        )
