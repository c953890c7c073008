"""A benchmark's folder: written whole, read for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import WorkError
from ..store.find_results import finished_in, told
from ..store.io import write_text
from ..store.records import read_record
from ..store.schema import Environment
from .schema import (
    BenchConfig,
    BenchResult,
    CalibrationConfig,
    CalibrationResult,
    RunnerConfig,
    RunnerResult,
    hash_of,
)

AnyConfig = BenchConfig | CalibrationConfig | RunnerConfig
AnyResult = BenchResult | CalibrationResult | RunnerResult
KINDS = {
    "step": (BenchConfig, BenchResult),
    "calibration": (CalibrationConfig, CalibrationResult),
    "runner": (RunnerConfig, RunnerResult),
}


@dataclass(frozen=True)
class Bench:
    """One benchmark as it is on disk."""

    folder: Path
    config: AnyConfig
    result: AnyResult
    environment: Environment


def bench_folder(results: Path, config: AnyConfig) -> Path:
    """The folder `<results>/bench/<id>`."""
    return results / "bench" / hash_of(config)


def write_bench(
    results: Path,
    config: AnyConfig,
    result: AnyResult,
    environment: Environment,
) -> Path:
    """Writes the three files, the result last, over those of an earlier measurement; gives the folder.

    Raises:
        WorkError: it cannot be written.
    """
    folder = bench_folder(results, config)
    try:
        (folder / "result.json").unlink(missing_ok=True)
        for name, record in (("config", config), ("environment", environment), ("result", result)):
            write_text(folder / f"{name}.json", record.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise WorkError(f"cannot write to {folder}: {error.strerror}; see --output") from None
    return folder


def is_bench(folder: Path) -> bool:
    """Whether `folder` holds a benchmark, finished or not, rather than a run."""
    return told(folder, "bench") in KINDS


def read_benches(folders: Sequence[Path]) -> tuple[Bench, ...]:
    """Every finished benchmark in the folders: results folders, or single benchmarks.

    Raises:
        InputError: a file is not what it should be.
    """
    return tuple(_read(folder) for folder in finished_in(folders, "bench", is_bench))


def _read(folder: Path) -> Bench:
    config, result = KINDS[str(told(folder, "bench"))]
    files = {"config": config, "result": result, "environment": Environment}
    read = [read_record(kind, folder / f"{name}.json", "measure anew") for name, kind in files.items()]
    return Bench(folder, *read)
