"""The folders of benchmarks, `results/bench/<id>/`; timings are not repeatable, so one is measured again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..settings import Record
from ..store.find import read_all
from ..store.folder import ResultFolder, ResultKind
from ..store.records import Environment, StoredResult
from .schema import (
    BenchConfig,
    BenchResult,
    CalibrationConfig,
    CalibrationResult,
    RunnerConfig,
    RunnerResult,
)

PLACE, REMEDY = "bench", "measure again"
STEPS = ResultKind(PLACE, BenchConfig, BenchResult, ("bench", "step"), REMEDY)
CALIBRATIONS = ResultKind(PLACE, CalibrationConfig, CalibrationResult, ("bench", "calibration"), REMEDY)
RUNNERS = ResultKind(PLACE, RunnerConfig, RunnerResult, ("bench", "runner"), REMEDY)
KINDS: dict[type[Record], ResultKind[Any, Any]] = {
    kind.config: kind for kind in (STEPS, CALIBRATIONS, RUNNERS)
}
AnyConfig = BenchConfig | CalibrationConfig | RunnerConfig
AnyResult = BenchResult | CalibrationResult | RunnerResult
Bench = (
    StoredResult[BenchConfig, BenchResult]
    | StoredResult[CalibrationConfig, CalibrationResult]
    | StoredResult[RunnerConfig, RunnerResult]
)


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
    return (*read_all(STEPS, folders), *read_all(CALIBRATIONS, folders), *read_all(RUNNERS, folders))
