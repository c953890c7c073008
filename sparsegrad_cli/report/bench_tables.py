"""Benchmarks as sections: of training steps, of calibrations, of the runner beside a bare loop."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..bench.config import (
    Bench,
    BenchConfig,
    BenchResult,
    CalibrationConfig,
    CalibrationResult,
    Row,
    RunnerResult,
)
from ..paper import GLUE, PaperCell, paper_calibration_seconds, paper_cells, same_model
from .caption import (
    bench_caption,
    bench_machine,
    environment_code,
    model_words,
    short_identity,
)
from .load import METHODS
from .table import (
    DASH,
    UNSURE,
    Column,
    Figure,
    Section,
    Table,
    amount,
    counted,
    megabytes,
    ratio,
    short_model,
    table_of,
    three_digits,
)

WAYS = {"sums": "running sums (ours)", "svd": "stack and SVD (paper)"}
CALIBRATION_LEGEND = {
    "seconds": "passes over the batches and decomposition; gradients: the passes alone",
    "added": "peak above the model, passes included: resident set on a CPU, allocator on CUDA",
    "stack": "bytes of the gradients that the paper's way holds at once, without its SVD",
    "keeps": "share of the energy (sum of squares) in the gradients that the basis is made from; unseen: by "
    "both sides, of one more batch",
    "angle": "largest principal angle between the leading directions of both, those with 90% of the energy",
}
BENCH_ROWS = {"sparsegrad-sd": "sparsegrad sparse-by-dense", "sparsegrad-reg": "sparsegrad regular"}
SPEEDS, MEMORIES = 7, 8  # the paper's tables


def bench_sections(benches: Sequence[Bench]) -> list[Section]:
    """Returns a section for each benchmark; of several, after one that has the best of each."""
    sections = [bench_section(bench) for bench in benches]
    steps = [bench for bench in benches if isinstance(bench.result, BenchResult)]
    if len(steps) < 2:
        return sections
    return [_best_of(steps), *(replace(section, is_listing=True) for section in sections)]


def _best_of(benches: Sequence[Bench]) -> Section:
    """A line a benchmark of steps: other methods and the best form of sparsegrad, over full fine-tuning."""
    columns: dict[str, list[str]] = {
        **{"benchmark": [], "ft\nsteps/s": [], "speed over ft's:\nlora": [], "meprop": [], "sparsegrad": []},
        **{"its fastest\nform": [], "memory over ft's:\nlora": [], "meprop ": [], "sparsegrad ": []},
        **{"its lightest\nform": []},
    }
    for bench in benches:
        assert isinstance(bench.config, BenchConfig)
        assert isinstance(bench.result, BenchResult)
        by_method: dict[str, list[Row]] = defaultdict(list)
        for row in bench.result.rows:
            by_method[row.method].append(row)
        fastest = {m: max(rows, key=lambda r: r.speed_vs_ft or 0.0) for m, rows in by_method.items()}
        lightest = {m: min(rows, key=lambda r: r.memory_vs_ft or 1e9) for m, rows in by_method.items()}
        ours = "sparsegrad"
        cells = [
            bench_title(bench.config),
            three_digits(fastest["ft"].steps_per_second) if "ft" in fastest else DASH,
            *(ratio(fastest[m].speed_vs_ft) if m in fastest else DASH for m in METHODS[1:]),
            fastest[ours].name.removeprefix(f"{ours} ") if ours in fastest else DASH,
            *(ratio(lightest[m].memory_vs_ft) if m in lightest else DASH for m in METHODS[1:]),
            lightest[ours].name.removeprefix(f"{ours} ") if ours in lightest else DASH,
        ]
        for texts, cell in zip(columns.values(), cells, strict=True):
            texts.append(cell)
    return Section("The best of each benchmark", tables=[table_of(columns)])


def bench_section(bench: Bench) -> Section:
    """Returns the section of a benchmark of any kind, with its plot if there is one."""
    plot = Figure("steps per second against peak memory", bench.folder / "plot.png")
    figures = [plot] if plot.path.is_file() else []
    if isinstance(bench.result, BenchResult):
        return _step_section(bench, bench.result, figures)
    if isinstance(bench.result, CalibrationResult):
        return _calibration_section(bench, bench.result)
    return _runner_section(bench, bench.result)


def _step_section(bench: Bench, result: BenchResult, figures: Sequence[Figure]) -> Section:
    config = bench.config
    assert isinstance(config, BenchConfig)
    rows = result.rows
    labels = [Column("method", [row.name for row in rows])]
    if any(row.padding != "max" for row in rows):
        labels.append(Column("padding", [row.padding for row in rows]))
    paper = {} if config.freeze_rest else _paper_costs(config)
    parts = ("basis", "optimizer", "gradients", "activations")
    columns = [
        *labels,
        Column("steps/s", [three_digits(row.steps_per_second) for row in rows]),
        Column("range", [_range(row) for row in rows]),
        Column("tokens/s", [amount(row.tokens_per_second) for row in rows]),
        *_ratio_columns(rows, paper, "speed"),
        Column(
            "use of\npeak", [DASH if r.utilization is None else f"{100 * r.utilization:.0f}%" for r in rows]
        ),
        Column("peak\nMB", [megabytes(row.peak_memory_bytes) for row in rows]),
        *_ratio_columns(rows, paper, "memory"),
        *(
            Column(f"{part}\nMB", [megabytes(getattr(row.memory, part, None)) for row in rows])
            for part in parts
        ),
    ]
    caption = bench_caption(bench)
    if paper:
        caption["paper"] = "tables 3, 7 and 8: another machine, so the ratios are what compares"
    return Section(
        title=bench_title(config),
        sentence=_bench_sentence(rows),
        tables=[Table(columns)],
        notes=[
            *(f"{row.name}: {row.status} ({row.error})" for row in rows if row.status != "done"),
            *(f"{row.name} spends most on {_operations(row)}." for row in rows if row.operations),
        ],
        caption=caption,
        figures=figures,
    )


def bench_title(config: BenchConfig) -> str:
    """Returns model, shape of a batch, and what is trained where that is not the paper's."""
    cut = f", {counted(config.layers, 'block')}" if config.layers else ""
    at_most = " at most" if any(row.padding != "max" for row in config.rows) else ""
    frozen = ", adapters and head only" if config.freeze_rest else ""
    what = config.task or (f"lengths of {config.lengths}" if config.lengths else "random tokens")
    shape = f"{config.batch_size} × {config.length}{at_most} ({what})"
    return f"{short_model(config.model)}{cut}: a step on {shape}{frozen}"


def _bench_sentence(rows: Sequence[Row]) -> str:
    """The fastest and the lightest form of sparsegrad, over full fine-tuning."""
    ours = [row for row in rows if row.method == "sparsegrad" and row.speed_vs_ft and row.memory_vs_ft]
    if not ours:
        return ""
    fastest = max(ours, key=lambda row: row.speed_vs_ft or 0.0)
    lightest = min(ours, key=lambda row: row.memory_vs_ft or 0.0)
    speed, memory = ratio(fastest.speed_vs_ft), ratio(lightest.memory_vs_ft)
    if len(ours) == 1 or fastest is lightest:
        best = "" if len(ours) == 1 else ", the fastest and lightest of its forms,"
        return f"{fastest.name}{best} runs at {speed} of ft's speed and {memory} of its memory."
    return (
        f"The fastest form, {fastest.name}, runs at {speed} of ft's speed; "
        f"the lightest, {lightest.name}, takes {memory} of its memory."
    )


def _paper_costs(config: BenchConfig) -> dict[str, dict[str, PaperCell]]:
    """What the paper has for a model on a task, or on the mean of GLUE: "speed" and "memory" by row."""
    column = config.task if config.task in GLUE else "avg"
    found = {}
    for what, table in (("speed", SPEEDS), ("memory", MEMORIES)):
        cells = [c for c in paper_cells(table) if c.column == column and same_model(config.model, c.model)]
        found[what] = {BENCH_ROWS.get(c.method, c.method): c for c in cells if c.method}
    return found if found["speed"] else {}


def _ratio_columns(
    rows: Sequence[Row], paper: Mapping[str, Mapping[str, PaperCell]], what: str
) -> list[Column]:
    """Ours over ft and over lora, each with the paper's beside it."""
    columns = []
    for base in ("ft", "lora", "longest"):
        ours = [getattr(row, f"{what}_vs_{base}") for row in rows]
        if not any(ours):
            continue
        columns.append(Column(f"vs {base}", [ratio(value) for value in ours]))
        cells = paper.get(what, {})
        if base in cells:
            texts = []
            for row in rows:
                cell = cells.get(row.name)
                unsure = UNSURE if cell and not (cell.sure and cells[base].sure) else ""
                texts.append(DASH if cell is None else ratio(cell.value / cells[base].value) + unsure)
            columns.append(Column("in the\npaper", texts))
    return columns


def _range(row: Row) -> str:
    seconds = [time for of_round in row.seconds for time in of_round]
    if len(seconds) < 2:
        return DASH
    first, _, third = statistics.quantiles(seconds, method="inclusive")
    return f"{three_digits(1 / third)}-{three_digits(1 / first)}"


def _operations(row: Row) -> str:
    return ", ".join(f"{operation.name} {100 * operation.share:.0f}%" for operation in row.operations)


def _calibration_section(bench: Bench, result: CalibrationResult) -> Section:
    config, rows = bench.config, result.rows
    assert isinstance(config, CalibrationConfig)
    base = next((row.seconds for row in rows if row.by == "svd"), None)
    over = [
        row.seconds / base if row.seconds and base and row.steps == config.steps else None for row in rows
    ]
    tables = [
        table_of(
            {
                "calibration": [WAYS[row.by] for row in rows],
                "batches": [str(row.steps) for row in rows],
                "seconds": [three_digits(row.seconds) for row in rows],
                "gradients": [three_digits(row.gradient_seconds) for row in rows],
                "vs SVD": [ratio(value) for value in over],
                "added MB": [megabytes(row.added_bytes) for row in rows],
            }
        )
    ]
    if result.kinds:
        sizes = {
            "MLP linear": [size.kind for size in result.kinds],
            "O × I": [_product(size.shape) for size in result.kinds],
            "stack MB": [megabytes(size.stack_bytes) for size in result.kinds],
        }
        if config.basis_rank is not None:
            sizes["basis"] = [_product(size.rank) for size in result.kinds]
            sizes["V keeps"] = [f"{100 * size.v_keeps:.2f}%" for size in result.kinds]
            sizes["U keeps"] = [f"{100 * size.u_keeps:.2f}%" for size in result.kinds]
            both = [size.both_keep for size in result.kinds]
            sizes["unseen"] = [DASH if share is None else f"{100 * share:.2f}%" for share in both]
        tables.append(table_of(sizes))
    if result.agreement:
        tables.append(
            table_of(
                {
                    "MLP linear": [f"{each.kind} {each.side}" for each in result.agreement],
                    "directions": [f"{each.directions} of {each.size}" for each in result.agreement],
                    "cosine": [f"{each.cosine:.6f}" for each in result.agreement],
                    "angle": [f"{each.degrees:.3f}°" for each in result.agreement],
                }
            )
        )
    ours = next((row for row in rows if row.by == "sums" and row.seconds), None)
    sentence = f"{ours.steps} batches make a basis in {three_digits(ours.seconds)} s." if ours else ""
    paper = paper_calibration_seconds(config.model)
    shown = {"stack": bool(result.kinds), "keeps": config.basis_rank is not None, "angle": len(tables) > 2}
    return Section(
        title=f"{short_model(config.model)}: calibration by {config.steps} batches",
        sentence=sentence,
        tables=tables,
        notes=[f"{WAYS[row.by]}: {row.status} ({row.error})" for row in rows if row.status != "done"],
        caption={
            "ran on": bench_machine(bench),
            "model": model_words(config),
            "batches": f"{config.batch_size} × {config.length}, {config.task or 'random tokens'}",
            **({"paper": f"{paper:g} s on a Xeon"} if paper else {}),
            "code": environment_code(bench.environment),
            **{name: text for name, text in CALIBRATION_LEGEND.items() if shown.get(name, True)},
        },
    )


def _product(shape: tuple[int, int]) -> str:
    return f"{shape[0]} × {shape[1]}"


def _runner_section(bench: Bench, result: RunnerResult) -> Section:
    config: Any = bench.config
    rows, first = result.rows, config.runs[0]
    other = "Trainer and PEFT" if config.beside == "trainer" else "a bare torch loop"
    means = [f"{ratio(value)} times ({method})" for method, value in result.speedups.items()]
    columns = {
        "task": [row.task for row in rows],
        "method": [row.method for row in rows],
        "finetune\nsteps/s": [three_digits(row.steps_per_second) for row in rows],
        "other\nsteps/s": [three_digits(row.other_steps_per_second) for row in rows],
        "speedup": [ratio(row.speedup) for row in rows],
        "finetune\nseconds": [three_digits(row.seconds) for row in rows],
        "other\nseconds": [three_digits(row.other_seconds) for row in rows],
    }
    if any(row.scores for row in rows):
        columns["finetune\nscore"] = [_mean_score(row.scores) for row in rows]
        columns["other\nscore"] = [_mean_score(row.other_scores) for row in rows]
    pads = {"longest": "to the longest of each", "max": f"to {first.length} tokens"}
    return Section(
        title=f"{short_model(first.model)}: finetune beside {other}",
        sentence=f"finetune trains {' and '.join(means)} as fast as {other} on the same batches.",
        tables=[table_of(columns)],
        caption={
            "ran on": bench_machine(bench),
            "model": f"{first.model} ({short_identity(bench.environment.checkpoint)})",
            "batches": f"{first.batch_size} examples of at most {first.length} tokens"
            + (f"; the other side pads {pads[config.padding]}" if config.beside == "trainer" else ""),
            "rounds": f"{config.rounds}, in turns, each with another seed; medians, loading included",
            "steps/s": "without the first 3 steps",
            "code": environment_code(bench.environment),
        },
    )


def _mean_score(scores: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(scores):.1f}" if scores else DASH
