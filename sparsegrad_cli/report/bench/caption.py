"""What stands over and under a benchmark's table: all that one must know to compare it."""

from __future__ import annotations

from ...bench.folder import Bench
from ...bench.schema import BenchConfig, BenchResult, Subject
from ...store.schema import Environment
from ..caption import short_identity
from .paper import PaperCosts


def title(config: BenchConfig) -> str:
    """Model, shape of a batch, and what is trained where that is not the paper's."""
    cut = f", {counted(config.layers, 'block')}" if config.layers else ""
    what = config.task or "random tokens"
    at_most = " at most" if config.task and not config.pad_to_max else ""
    frozen = ", adapters and head only" if config.freeze_rest else ""
    step = f"a step on {config.batch_size} × {config.length}{at_most} ({what})"
    return f"{short_name(config.model)}{cut}: {step}{frozen}"


def short_name(model: str) -> str:
    """A hub id or `demo` as it is; of a directory its own name."""
    return model if model.count("/") < 2 else model.rstrip("/").rpartition("/")[2]


def caption(bench: Bench, paper: PaperCosts | None) -> dict[str, str]:
    """Named texts, without the legend."""
    config, result = bench.config, bench.result
    assert isinstance(config, BenchConfig)
    assert isinstance(result, BenchResult)
    peaks = result.peaks
    told = {
        "ran on": machine(bench),
        "model": model(config),
        "training": trained(config),
        "measured": f"{counted(config.rounds, 'round')} of {counted(config.steps, 'step')} after "
        f"{config.burn_in}, each in a fresh process; the machine reaches "
        f"{peaks.operations_per_second / 1e9:,.0f} GFLOP/s in a matrix product and "
        f"{peaks.bytes_per_second / 1e9:,.0f} GB/s in a copy",
        "paper": _paper(config, paper),
        "code": code(bench.environment),
    }
    return {name: text for name, text in told.items() if text}


def machine(bench: Bench) -> str:
    """Device, threads, precision, torch."""
    environment, config = bench.environment, bench.config
    torch = environment.versions.get("torch", "unknown")
    return f"{device_words(environment, config.device)}, {config.precision}, torch {torch}"


def device_words(environment: Environment, device: str) -> str:
    """The GPU's name, or the processor's with its threads."""
    hardware = environment.hardware
    if device == "cuda":
        return f"cuda ({hardware.get('gpu', 'unknown')})"
    threads = hardware.get("threads", "?")
    plural = "" if threads == 1 else "s"
    return f"cpu ({hardware.get('processor', 'unknown')}, {threads} thread{plural})"


def model(config: Subject) -> str:
    """Weights and depth."""
    cut = f", cut to {counted(config.layers, 'block')}" if config.layers else ""
    return f"{config.model}, {config.init} weights ({short_identity(config.checkpoint)}){cut}"


def code(environment: Environment) -> str:
    """The revision that was measured."""
    revision = environment.git_revision
    changes = " with uncommitted changes" if environment.git_dirty else ""
    return "not from a git checkout" if revision is None else f"{revision[:12]}{changes}"


def counted(number: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def trained(config: BenchConfig) -> str:
    """What each method trains."""
    names = {row.method for row in config.rows}
    words = ["only the adapters and the head" if config.freeze_rest else "everything but the MLP matrices"]
    words[0] += " trained in full"
    if names & {"meprop", "sparsegrad"}:
        kept = f"{config.kept:,} entries" if config.kept else f"{100 * (config.density or 0):g}%"
        words.append(f"meprop and sparsegrad {kept} of each MLP matrix")
    if "lora" in names:
        words.append(f"lora rank {config.rank}")
    if "sparsegrad" in names:
        cut = f", cut to {config.basis_rank} directions a side" if config.basis_rank else ""
        words.append(f"basis of {config.calibration_steps} batches{cut}")
    return ", ".join(words)


def _paper(config: BenchConfig, paper: PaperCosts | None) -> str:
    if paper is None:
        return ""
    tables = "table 3, mean over GLUE" if paper.task == "all" else f"tables 7 and 8, {paper.task}"
    depth = "; its model has all blocks" if config.layers else ""
    unsure = "; ? from a damaged copy" if paper.unsure else ""
    return f"{tables}: another machine, so the ratios are what compares{depth}{unsure}"
