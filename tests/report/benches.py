"""Benchmarks as they are written, without measuring."""

from __future__ import annotations

from pathlib import Path

from sparsegrad_cli.bench.config import Bench, BenchConfig, BenchResult, Memory, RowSpec, write_bench
from sparsegrad_cli.bench.measure import Measured
from sparsegrad_cli.bench.run import summarize, with_ratios
from sparsegrad_cli.settings import config_id
from sparsegrad_cli.store.records import Environment

ROWS = (
    RowSpec(method="ft"),
    RowSpec(method="lora"),
    RowSpec(method="sparsegrad", mask="dynamic", place="backward"),
    RowSpec(method="sparsegrad", mask="dynamic", place="sparse-by-dense"),
)
ENVIRONMENT = Environment(
    started="2026-01-01T00:00:00+00:00",
    command=["sparsegrad"],
    versions={"torch": "2.13.0"},
    hardware={"processor": "x86_64", "threads": 2},
    git_revision=None,
    git_dirty=None,
    checkpoint="random:config:roberta-base",
    data="random tokens",
    restarts=0,
)
PEAK_FLOPS = 1e11


def make_bench(folder: Path, **how: object) -> Bench:
    usual = {"model": "roberta-base", "task": None, "data": None, "data_revision": None, "layers": None}
    usual |= {"freeze_rest": False, "length": 128, "batch_size": 16}
    padding = how.pop("padding", "longest")
    rows = tuple(row.model_copy(update={"padding": padding}) for row in ROWS)
    config = BenchConfig(
        **{**usual, **how},
        checkpoint="random:config:roberta-base",
        init="random",
        device="cpu",
        precision="fp32",
        seed=0,
        rows=rows,
        density=0.01,
        kept=None,
        rank=7,
        calibration_steps=4,
        rounds=1,
        steps=2,
        burn_in=2,
    )
    sizes = {"weights": 500, "basis": 80, "optimizer": 800, "gradients": 400, "activations": 900}
    measured = []
    for place, row in enumerate(rows):
        peak = 10**6 * (2000 + 100 * place)
        memory = Memory(**sizes, peak=peak, peak_phase="backward")
        found = Measured(seconds=(1.0 + place,), tokens=(2048,), memory=memory)
        measured.append(summarize(row, [found], None, PEAK_FLOPS))
    result = BenchResult(id=config_id(config), peak_flops=PEAK_FLOPS, rows=tuple(with_ratios(measured)))
    return write_bench(folder, config, result, ENVIRONMENT)
