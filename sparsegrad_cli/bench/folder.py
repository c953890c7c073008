"""A benchmark's folder: written whole, read for a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import WorkError
from ..store.atomic import write_text
from ..store.read_record import read_record
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
    return _kind(folder) in KINDS


def read_benches(folders: Sequence[Path]) -> tuple[Bench, ...]:
    """Every finished benchmark in the folders: results folders, or single benchmarks.

    Raises:
        InputError: a file is not what it should be.
    """
    inside = [found for folder in folders for found in _candidates(folder)]
    finished = [folder for folder in dict.fromkeys(inside) if (folder / "result.json").is_file()]
    return tuple(_read(folder) for folder in finished)


def _candidates(folder: Path) -> Iterator[Path]:
    for place in (folder, *sorted(folder.glob("*")), *sorted(folder.glob("bench/*"))):
        if is_bench(place):
            yield place.resolve()


def _kind(folder: Path) -> str | None:
    try:
        read = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read.get("bench") if isinstance(read, dict) else None


def _read(folder: Path) -> Bench:
    config, result = KINDS[str(_kind(folder))]
    files = {"config": config, "result": result, "environment": Environment}
    read = [read_record(kind, folder / f"{name}.json", "measure anew") for name, kind in files.items()]
    return Bench(folder, *read)
