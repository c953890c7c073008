"""What one must know of numbers to compare them: one builder of captions for every kind of result.

A caption is a mapping from a short name ("seeds", "data", "ran on") to a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from ..bench.config import Bench, BenchConfig, BenchResult
from ..gradients.schema import THRESHOLDS, Gradients
from ..store.records import Environment
from ..sweep.records import Sweep, SweepConfig
from ..sweep.space import Range, Space
from .comparable import SCHEDULE, Group, Row, TaskColumn, schedule_of, setting_words
from .load import ROW_SETTINGS, hardware_words
from .ratings import Ratings
from .run_tables import GroupTable
from .table import counted, metric_words

TRAINING = {
    "max_steps": "{} steps at most",
    "epochs": "{} epochs at most",
    "max_train_examples": "{} training examples at most",
    "eval_steps": "evaluated every {} steps",
    "patience": "stops after {} evaluations without improvement",
}
PROTOCOLS = {
    "paper": "dev selects the checkpoint and is reported",
    "heldout": "half of dev selects the checkpoint, the other half is reported",
}
TURNS = {"assistant": "the assistant's turns", "all": "all turns"}
FORMATS = {"llama-2": "LLaMA-2's chat format", "own": "the tokenizer's own chat format"}
PADDED = {"none": ", no padding", "longest": ", padded to the longest of a batch", "max": ", padded to them"}
IN_MLPS = "entries of the MLP linears (lora: its A and B) that a step trains, and that a run ever trained"
Caption = dict[str, str]


def run_caption(made: GroupTable) -> Caption:
    """Returns what one must know of a table of runs."""
    group, first = made.group, made.group.first
    runs = pd.concat([row.runs for row in made.rows])
    return _filled(
        {
            "protocol": f"{first['protocol']}: {PROTOCOLS.get(first['protocol'], '')}",
            "seeds": _seeds(made.rows, made.columns),
            "loss": _loss_words(first) if group.is_chat else "",
            "training": training_words(runs),
            "methods": method_words(made.rows),
            "learning rate": choice_words(made),
            "average": _average_words(made),
            "memory": _parts_words(runs),
            "data": data_words(made.columns, runs),
            "tokens": _token_words(first) if group.is_chat else "",
            "checkpoint": f"{first['model']}, {short_identity(first['checkpoint'])}",
            "ran on": machine_words(runs),
            "code": code_words(zip(runs["git_revision"], runs["git_dirty"], strict=True)),
            "costs": _cost_words(made),
            "in MLPs": IN_MLPS,
        }
        | {f"rated by {judge.name}": _judge_words(judge) for judge in made.ratings}
    )


def bench_caption(bench: Bench) -> Caption:
    """Returns what one must know of a benchmark of steps."""
    config, result = bench.config, bench.result
    assert isinstance(config, BenchConfig)
    assert isinstance(result, BenchResult)
    return _filled(
        {
            "ran on": bench_machine(bench),
            "model": model_words(config),
            "training": bench_training(config),
            "measured": f"{counted(config.rounds, 'round')} of {counted(config.steps, 'step')} after "
            f"{config.burn_in}, each in a fresh process; steps/s of the median step, range: its quartiles",
            "use of peak": "FLOPs per second of the median step, padding included, over the machine's "
            f"{result.peak_flops / 1e9:,.0f} GFLOP/s in a matrix product",
            "memory": "of torch's allocator on the device in a step, in MB of 10^6 bytes",
            "code": environment_code(bench.environment),
        }
    )


def sweep_caption(studies: Sequence[Sweep]) -> Caption:
    """Returns what one must know of studies that may be compared."""
    configs = [study.config for study in studies]
    first = configs[0]
    environments = [study.recorded for study in studies if study.recorded]
    revisions = [(e.git_revision, e.git_dirty) for e in environments]
    return _filled(
        {
            "searched for": _said(configs, lambda c: metric_words(c.score_name)),
            "selected on": _said(configs, selection_words),
            "space": _said(configs, space_words),
            "search": _said(configs, lambda c: f"TPE, seed {c.template.seed}, {_pruner(c)}"),
            "training": _said(configs, lambda c: training_words(pd.DataFrame([c.template.model_dump()]))),
            "data": _said(configs, lambda c: f"{short_identity(c.data.origin)}, {c.data.completeness}"),
            "checkpoint": f"{first.template.model}, {short_identity(first.checkpoint)}",
            "ran on": "; ".join(dict.fromkeys(map(hardware_words, environments))),
            "code": code_words(revisions),
            "seconds": "of all trials, evaluations included",
        }
    )


def gradients_caption(shown: Gradients) -> Caption:
    """Returns what one must know of a recording of gradients."""
    config, run, environment = shown.config, shown.config.run, shown.environment
    thresholds = ", ".join(f"{threshold:g}" for threshold in THRESHOLDS[1:])
    return {
        "training": f"{run.max_steps} steps, learning rate {run.learning_rate:g}, batch {run.batch_size}, "
        f"{run.length} tokens at most, seed {run.seed}; recorded every {config.every} steps",
        "basis": f"from {config.calibration_steps} batches of the untrained model",
        "spaces": "G = dL/dW of one batch, G~ = V^T G U; a cell of a map is the root mean square of entries",
        "thresholds": f"not zero: above 0; not small: above {thresholds} of the largest of the matrix",
        "checkpoint": f"{run.model}, {short_identity(environment.checkpoint)}",
        "ran on": f"{run.device}, {run.precision} ({hardware_words(environment)})",
    }


def short_identity(identity: str) -> str:
    """Returns `sha256:` or `hub:<id>@` with the first twelve digits."""
    for start, mark in (("hub:", "@"), ("sha256:", ":")):
        head, found, digits = identity.rpartition(mark)
        if found and identity.startswith(start):
            return f"{head}{mark}{digits[:12]}"
    return identity


def training_words(runs: pd.DataFrame) -> str:
    """Returns how long runs are trained: what all share, and what all of a task share after the task."""
    by_task = {
        run["task"]: dict(zip(SCHEDULE, schedule_of(run), strict=True)) for run in runs.to_dict("records")
    }
    words = []
    for name, text in TRAINING.items():
        values = {task: found[name] for task, found in by_task.items() if found[name]}
        if not values:
            continue
        if len(set(values.values())) == 1 and len(values) == len(by_task):
            words.append(_counted_text(text, next(iter(values.values()))))
        else:
            words.append(text.format(", ".join(f"{_number(v)} ({task})" for task, v in values.items())))
    first = runs.iloc[0]
    words.append(f"{first['length']} tokens at most" + PADDED[first["padding"]])
    if first["schedule"] not in (None, "constant"):
        words.append(f"{first['schedule']} learning rate, {first['warmup_steps']} warm-up steps")
    if first["blocks"] not in (None, "all"):
        words.append(f"MLP linears of blocks {first['blocks']}")
    if first["freeze_rest"]:
        words.append("only adapters and head trained")
    return ", ".join(words)


def method_words(rows: Iterable[Row]) -> str:
    """Returns the settings of each method's reference row."""
    words: dict[str, str] = {}
    for row in rows:
        first = row.runs.iloc[0]
        found = [text for name in ROW_SETTINGS if (text := setting_words(name, first[name]))]
        if found and row.method not in words:
            words[row.method] = f"{row.method} {', '.join(found)}"
    return "; ".join(words.values())


def choice_words(made: GroupTable) -> str:
    """Returns learning rate and batch size, and among how many each was chosen."""
    recipes: dict[str, list[str]] = {}
    for row in made.rows:
        for column in made.columns:
            if choice := row.choices.get(column.name):
                rate, sparse, batch = choice.recipe
                text = f"{rate:g}" + (f" (sparse {sparse:g})" if sparse else "") + f", batch {batch}"
                recipes.setdefault(text, []).append(f"{row.label} on {column.name}")
    sources = {s for row in made.rows for s in row.runs["hyperparameters_from"] if s}
    if len(recipes) > 4:
        words = "differs, as report.csv lists"
    else:
        words = "; ".join(
            f"{text} ({', '.join(of)})" if len(recipes) > 1 else text for text, of in recipes.items()
        )
    tried = {choice.tried for row in made.rows for choice in row.choices.values()}
    if tried == {1}:
        chosen = "one setting of each method was run"
    else:
        how_many = str(max(tried)) if len(tried) == 1 else f"{min(tried)} to {max(tried)}, UNEQUALLY MANY,"
        chosen = f"the best of {how_many} settings tried of each method, on the split that selects"
    return f"{words}; {chosen} (from: {'; '.join(sorted(sources))})"


def data_words(columns: Sequence[TaskColumn], runs: pd.DataFrame) -> str:
    """Returns where the examples are from, and whether they are all of the task's."""
    origins = "; ".join(sorted({short_identity(origin) for origin in runs["origin"]}))
    kinds = {column.completeness for column in columns}
    if "synthetic" in kinds:
        origins = f"SYNTHETIC ({origins}): says nothing about real data"
    left_out: Counter[str] = Counter(runs.iloc[0]["left_out"] or {})
    trees = ", ".join(f"{count:,} {why}" for why, count in left_out.most_common())
    parts = [
        f"{origins}, complete" if kinds == {"complete"} else origins,
        *(_rows_words(column) for column in columns if column.completeness != "complete"),
        f"trees left out: {trees}" if trees else "",
    ]
    return "; ".join(filter(None, parts))


def machine_words(runs: pd.DataFrame) -> str:
    """Returns device, precision, hardware."""
    first, kinds = runs.iloc[0], sorted(set(runs["hardware"]))
    differ = "; speeds are of different hardware" if len(kinds) > 1 else ""
    return f"{first['device']}, {first['precision']} ({'; '.join(kinds)}{differ})"


def code_words(revisions: Iterable[tuple[str | None, bool | None]]) -> str:
    """Returns the revisions that something was made with."""
    return "; ".join(
        "not from a git checkout"
        if revision is None
        else f"{revision[:12]}{' with uncommitted changes' * bool(dirty)}"
        for revision, dirty in dict.fromkeys(revisions)
    )


def environment_code(environment: Environment) -> str:
    return code_words([(environment.git_revision, environment.git_dirty)])


def device_words(environment: Environment, device: str) -> str:
    """Returns the GPU's name, or the processor's with its threads."""
    return f"{device} ({hardware_words(environment)})"


def bench_machine(bench: Bench) -> str:
    """Returns device, threads, precision, torch."""
    torch = bench.environment.versions.get("torch", "unknown")
    return f"{device_words(bench.environment, bench.config.device)}, {bench.config.precision}, torch {torch}"


def model_words(config: Any) -> str:
    """Returns the weights and the depth of a benchmark's model."""
    cut = f", cut to {counted(config.layers, 'block')}" if config.layers else ""
    return f"{config.model}, {config.init} weights ({short_identity(config.checkpoint)}){cut}"


def bench_training(config: BenchConfig) -> str:
    """Returns what each method of a benchmark trains."""
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


def selection_words(config: SweepConfig) -> str:
    """Returns what a study's scores are of, and what that makes of them."""
    if config.select_on == "holdout":
        return "a tenth of train at most, held out: dev was not looked at"
    dev = "dev" if config.template.protocol == "paper" else "one half of dev"
    return f"{dev}: the best score on it is optimistic"


def space_words(config: SweepConfig) -> str:
    """Returns what a study searches, and the learning rate and batch size if it does not search them."""
    searched: dict[str, Any] = {str(name): what for name, what in config.space.parameters.items()}
    fixed = {n: (getattr(config.template, n),) for n in ("learning_rate", "batch_size") if n not in searched}
    texts = []
    for name, what in {**fixed, **searched}.items():
        if isinstance(what, Range):
            values = f"{what.low:g} to {what.high:g}{' (log-uniform)' if what.log else ''}"
        else:
            values = " or ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in what)
        texts.append(f"{name.replace('_', ' ')} {values}")
    return ", ".join(texts) + (" (the paper's)" if config.space == Space() else "")


def _pruner(config: SweepConfig) -> str:
    return "no pruner" if config.pruner == "none" else f"{config.pruner} pruner"


def _said(configs: Sequence[SweepConfig], words: Callable[[SweepConfig], str]) -> str:
    """One text where it holds for all studies, else each after the studies that it holds for."""
    by_text: dict[str, list[str]] = {}
    for config in configs:
        by_text.setdefault(words(config), []).append(f"{config.task} {config.method}")
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in by_text.items())


def _filled(caption: Caption) -> Caption:
    return {name: text for name, text in caption.items() if text}


def _seeds(rows: Sequence[Row], columns: Sequence[TaskColumn]) -> str:
    cells = [tuple(sorted(c.of(row.runs)["seed"])) for row in rows for c in columns if c.name in row.choices]
    seeds = ", ".join(str(seed) for seed in sorted({seed for cell in cells for seed in cell}))
    if all(len(cell) == 1 for cell in cells):
        return f"{seeds}: one run a cell"
    sizes = {len(cell) for cell in cells}
    other = "" if len(set(cells)) == 1 else ", not the same ones in every cell"
    over = "(number of seeds)" if len(sizes) > 1 else f"over {len(cells[0])}"
    return f"{seeds}{other}; mean ± sample standard deviation {over}"


def _parts_words(runs: pd.DataFrame) -> str:
    """Runs that could not hold a whole batch, and so summed the gradients of its parts."""
    split = [run for run in runs.to_dict("records") if run["parts_taken"] > (run["accumulation_steps"] or 1)]
    if not split:
        return ""
    which = ", ".join(sorted({f"{run['method']} on {run['task']}" for run in split}))
    return f"{counted(len(split), 'run')} ran out of it and worked on each batch in parts ({which})"


def _cost_words(made: GroupTable) -> str:
    shared = [c.name for c in made.columns if all(c.name in row.choices for row in made.rows)]
    where = "" if len(shared) == len(made.columns) else f" over {', '.join(shared)}"
    if not shared:
        where = " over tasks that differ between rows: not to be compared"
    batches = [{row.choices[n].recipe[-1] for row in made.rows if n in row.choices} for n in shared]
    unequal = "; batch sizes differ between rows, so speed and memory do not compare"
    return f"means over the runs of a row{where}{unequal if any(len(b) > 1 for b in batches) else ''}"


def _average_words(made: GroupTable) -> str:
    if not made.group.average_over:
        return ""
    tasks = ", ".join(column.task for column in made.group.average_over)
    return f"over {tasks}, of the mean of a task's metrics; tables show the main one, report.csv all"


def _loss_words(first: pd.Series) -> str:
    turns = TURNS.get(first["loss_on"], "all turns")
    return f"mean over the tokens of {turns}, in nats, less is better; perplexity: e to it, mean over seeds"


def _token_words(first: pd.Series) -> str:
    return f"{FORMATS.get(first['chat_format'], 'chat format')}, packed to {first['length']}"


def _judge_words(judge: Ratings) -> str:
    config = judge.config
    prompts = "our prompts" if config.prompts == "default" else f"prompts {config.prompts[:6]}"
    without, answers = map(sum, zip(*judge.unrated.values(), strict=True))
    return (
        f"1 to 10, mean over {counted(config.questions, 'question')} (set {config.question_set[:6]}), "
        f"{prompts}, references {config.references[:6]}, answers of {config.answers.max_new_tokens} tokens "
        "at most" + (f"; {without} of {answers} answers without a rating, not counted" if without else "")
    )


def _rows_words(column: TaskColumn) -> str:
    official = column.official_rows if column.completeness == "partial" else None
    counts = [
        f"{split} {count:,}"
        + (f" of {official[split]:,}" if official and official.get(split, count) != count else "")
        for split, count in column.rows.items()
    ]
    return f"{column.task} {column.completeness}: {', '.join(counts)}"


def _counted_text(text: str, value: Any) -> str:
    """Returns `1 epoch at most`, `2 epochs at most`."""
    words = re.sub(r"({} \w+)s\b", r"\1", text) if value == 1 else text
    return words.format(_number(value))


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def group_words(group: Group) -> str:
    """Returns model, device and precision of a group."""
    return f"{group.first['model']}, {group.first['device']}, {group.first['precision']}"
