"""Benchmarks as sections: of training steps, of calibrations, of `finetune` beside a bare loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
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
from .caption import bench_caption, bench_machine, environment_code, model_words, short_identity
from .table import (
    DASH,
    UNSURE,
    Columns,
    Figure,
    Section,
    amount,
    counted,
    listed,
    megabytes,
    ratio,
    records_table,
    short_model,
    three_digits,
)

OURS = "sparsegrad"
OTHERS = ("lora", "meprop", OURS)  # methods in the line of a benchmark, over full fine-tuning
WAYS = {"sums": "running sums (ours)", "svd": "stack and SVD (paper)"}
PADDINGS = {"max": "padded", "longest": "padded to the longest", "none": "no padding"}
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

    def best(what: str, method: str, bench: Bench) -> Row | None:
        rows = [row for row in getattr(bench.result, "rows", ()) if row.method == method]
        if what == "speed":
            return max(rows, key=lambda row: row.speed_vs_ft or 0.0, default=None)
        return min(rows, key=lambda row: row.memory_vs_ft or 1e9, default=None)

    def over_ft(what: str, method: str, bench: Bench) -> str:
        return ratio(getattr(best(what, method, bench), f"{what}_vs_ft", None))

    def form(what: str, bench: Bench) -> str:
        row = best(what, OURS, bench)
        return row.name.removeprefix(f"{OURS} ") if row else DASH

    def speed_of_ft(bench: Bench) -> str:
        return three_digits(getattr(best("speed", "ft", bench), "steps_per_second", None))

    columns: Columns = [("benchmark", lambda bench: bench_title(bench.config)), ("ft\nsteps/s", speed_of_ft)]
    for what, head in (("speed", "its fastest\nform"), ("memory", "its lightest\nform")):
        columns += [(f"{method}'s {what}\nover ft's", partial(over_ft, what, method)) for method in OTHERS]
        columns.append((head, partial(form, what)))
    return Section("The best of each benchmark", tables=[records_table(benches, columns)])


def bench_section(bench: Bench) -> Section:
    """Returns the section of a benchmark of any kind, with its plot if there is one."""
    if isinstance(bench.result, BenchResult):
        return _step_section(bench, bench.result)
    if isinstance(bench.result, CalibrationResult):
        return _calibration_section(bench, bench.result)
    return _runner_section(bench, bench.result)


def _step_section(bench: Bench, result: BenchResult) -> Section:
    config, rows = bench.config, result.rows
    assert isinstance(config, BenchConfig)
    paper = {} if config.freeze_rest else _paper_costs(config)
    plot = Figure("Steps per second against peak memory", bench.folder / "plot.png")
    is_papers = all(row.padding == "max" for row in rows)

    def memory(part: str) -> tuple[str, Callable[[Row], str]]:
        return f"{part}\nMB", lambda row: megabytes(getattr(row.memory, part, None))

    columns: Columns = [
        ("method", lambda row: row.name),
        ("padding", lambda row: "" if is_papers else PADDINGS[row.padding]),
        ("steps/s", lambda row: three_digits(row.steps_per_second)),
        ("range", lambda row: "-".join(map(three_digits, row.quartiles)) if row.quartiles else DASH),
        ("tokens/s", lambda row: amount(row.tokens_per_second)),
        *_ratio_columns("speed", paper),
        ("use of\npeak", lambda row: DASH if row.utilization is None else f"{100 * row.utilization:.0f}%"),
        ("peak\nMB", lambda row: megabytes(row.peak_memory_bytes)),
        *_ratio_columns("memory", paper),
        *map(memory, ("basis", "optimizer", "gradients", "activations")),
    ]
    note = {"paper": "tables 3, 7 and 8: another machine, so the ratios are what compares"} if paper else {}
    return Section(
        title=bench_title(config),
        sentence=_bench_sentence(rows),
        tables=[records_table(rows, columns)],
        notes=[
            *(f"{row.name}: {row.status} ({row.error})" for row in rows if row.status != "done"),
            *(
                f"{row.name} spends most on "
                + ", ".join(f"{each.name} {100 * each.share:.0f}%" for each in row.operations)
                for row in rows
                if row.operations
            ),
        ],
        caption=bench_caption(bench) | note,
        figures=[plot] if plot.path.is_file() else [],
    )


def bench_title(config: Any) -> str:
    """Returns model, shape of a batch, and what is trained where that is not the paper's."""
    cut = f", {counted(config.layers, 'block')}" if config.layers else ""
    at_most = " at most" if any(row.padding != "max" for row in config.rows) else ""
    frozen = ", adapters and head only" if config.freeze_rest else ""
    what = config.task or (f"lengths of {config.lengths}" if config.lengths else "random tokens")
    shape = f"{config.batch_size} × {config.length}{at_most} ({what})"
    return f"{short_model(config.model)}{cut}: a step on {shape}{frozen}"


def _bench_sentence(rows: Sequence[Row]) -> str:
    """The fastest and the lightest form of sparsegrad, over full fine-tuning."""
    ours = [row for row in rows if row.method == OURS and row.speed_vs_ft and row.memory_vs_ft]
    if not ours:
        return ""
    fastest = max(ours, key=lambda row: row.speed_vs_ft or 0.0)
    lightest = min(ours, key=lambda row: row.memory_vs_ft or 0.0)
    speed, memory = ratio(fastest.speed_vs_ft), ratio(lightest.memory_vs_ft)
    if fastest is lightest:
        best = "" if len(ours) == 1 else ", the fastest and lightest of its forms,"
        return f"{fastest.name}{best} runs at {speed} of ft's speed and {memory} of its memory."
    return (
        f"The fastest form, {fastest.name}, runs at {speed} of ft's speed; "
        f"the lightest, {lightest.name}, takes {memory} of its memory."
    )


def _paper_costs(config: BenchConfig) -> dict[str, dict[str, PaperCell]]:
    """What the paper has for a model on a task, or on the mean of GLUE: "speed" and "memory" by row."""
    column = config.examples if config.examples in GLUE else "avg"
    found = {}
    for what, table in (("speed", SPEEDS), ("memory", MEMORIES)):
        cells = [c for c in paper_cells(table) if c.column == column and same_model(config.model, c.model)]
        found[what] = {BENCH_ROWS.get(c.method, c.method): c for c in cells if c.method}
    return found if found["speed"] else {}


def _ratio_columns(what: str, paper: Mapping[str, Mapping[str, PaperCell]]) -> Columns:
    """Ours over ft and over lora, each with the paper's beside it."""
    cells = paper.get(what, {})

    def ours(base: str, row: Row) -> str:
        return ratio(getattr(row, f"{what}_vs_{base}"))

    def papers(base: str, row: Row) -> str:
        if row.name not in cells or base not in cells:
            return DASH
        cell, over = cells[row.name], cells[base]
        return ratio(cell.value / over.value) + UNSURE * (not (cell.sure and over.sure))

    bases = ("ft", "lora", "longest")
    pairs = [
        ((f"vs {base}", partial(ours, base)), ("in the\npaper", partial(papers, base))) for base in bases
    ]
    return [column for pair in pairs for column in pair]


def _calibration_section(bench: Bench, result: CalibrationResult) -> Section:
    config, rows = bench.config, result.rows
    assert isinstance(config, CalibrationConfig)
    base = next((row.seconds for row in rows if row.by == "svd"), None)

    def over_svd(row: Any) -> str:
        return ratio(row.seconds / base if row.seconds and base and row.steps == config.steps else None)

    calibrations: Columns = [
        ("calibration", lambda row: WAYS[row.by]),
        ("batches", lambda row: str(row.steps)),
        ("seconds", lambda row: three_digits(row.seconds)),
        ("gradients", lambda row: three_digits(row.gradient_seconds)),
        ("vs SVD", over_svd),
        ("added MB", lambda row: megabytes(row.added_bytes)),
    ]
    sizes: Columns = [
        ("MLP linear", lambda size: size.kind),
        ("O × I", lambda size: "{} × {}".format(*size.shape)),
        ("stack MB", lambda size: megabytes(size.stack_bytes)),
    ]
    if config.basis_rank is not None:
        sizes += [
            ("basis", lambda size: "{} × {}".format(*size.rank)),
            ("V keeps", lambda size: f"{100 * size.v_keeps:.2f}%"),
            ("U keeps", lambda size: f"{100 * size.u_keeps:.2f}%"),
            ("unseen", lambda size: DASH if size.both_keep is None else f"{100 * size.both_keep:.2f}%"),
        ]
    agreement: Columns = [
        ("MLP linear", lambda each: f"{each.kind} {each.side}"),
        ("directions", lambda each: f"{each.directions} of {each.size}"),
        ("cosine", lambda each: f"{each.cosine:.6f}"),
        ("angle", lambda each: f"{each.degrees:.3f}°"),
    ]
    parts = [(rows, calibrations), (result.kinds, sizes), (result.agreement, agreement)]
    ours = next((row for row in rows if row.by == "sums" and row.seconds), None)
    paper = paper_calibration_seconds(config.model)
    shown = {"stack": result.kinds, "keeps": config.basis_rank, "angle": result.agreement}
    return Section(
        title=f"{short_model(config.model)}: calibration by {config.steps} batches",
        sentence=f"{ours.steps} batches make a basis in {three_digits(ours.seconds)} s." if ours else "",
        tables=[records_table(records, columns) for records, columns in parts if records],
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


def _runner_section(bench: Bench, result: RunnerResult) -> Section:
    config: Any = bench.config
    first = config.runs[0]
    other = "Trainer and PEFT" if config.beside == "trainer" else "a bare torch loop"
    means = [f"{ratio(value)} times ({method})" for method, value in result.speedups.items()]
    pads = {"longest": "to the longest of each", "max": f"to {first.length} tokens"}
    beside = f"; the other side pads {pads[config.padding]}" if config.beside == "trainer" else ""

    def mean_score(scores: Sequence[float]) -> str:
        return f"{100 * fmean(scores):.1f}" if scores else DASH

    columns: Columns = [
        ("task", lambda row: row.task),
        ("method", lambda row: row.method),
        ("finetune\nsteps/s", lambda row: three_digits(row.steps_per_second)),
        ("other\nsteps/s", lambda row: three_digits(row.other_steps_per_second)),
        ("speedup", lambda row: ratio(row.speedup)),
        ("finetune\nseconds", lambda row: three_digits(row.seconds)),
        ("other\nseconds", lambda row: three_digits(row.other_seconds)),
        ("finetune\nscore", lambda row: mean_score(row.scores)),
        ("other\nscore", lambda row: mean_score(row.other_scores)),
    ]
    return Section(
        title=f"{short_model(first.model)}: finetune beside {other}",
        sentence=f"finetune trains {listed(means)} as fast as {other} on the same batches.",
        tables=[records_table(result.rows, columns)],
        caption={
            "ran on": bench_machine(bench),
            "model": f"{first.model} ({short_identity(bench.environment.checkpoint)})",
            "batches": f"{first.batch_size} examples of at most {first.length} tokens{beside}",
            "rounds": f"{config.rounds}, in turns, each with another seed; medians, loading included",
            "steps/s": "without the first 3 steps",
            "code": environment_code(bench.environment),
        },
    )
