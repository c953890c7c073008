"""What one must know of numbers to compare them: a short name ("seeds", "data", "ran on") to a text each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from ..bench.config import Bench, BenchConfig, BenchResult
from ..gradients.schema import THRESHOLDS, Gradients
from ..store.records import Environment
from ..sweep.records import Sweep, SweepConfig
from ..sweep.space import Range, Space
from .comparable import SCHEDULE, Row, TaskColumn, schedule_of, setting_words
from .load import ROW_SETTINGS, SHARED, hardware_words, records
from .run_tables import GroupTable, Ratings
from .table import counted, metric_words

TRAINING = (*SCHEDULE, *(name for name in SHARED if name not in ("protocol", "device", "precision")))
PROTOCOLS = {
    "paper": "dev selects the checkpoint and is reported",
    "heldout": "half of dev selects the checkpoint, the other half is reported",
}
IN_MLPS = "entries of the MLP linears (lora: its A and B) that a step trains, and that a run ever trained"
Caption = dict[str, str]


def run_caption(made: GroupTable) -> Caption:
    """Returns what one must know of a table of runs."""
    group, first = made.group, made.group.first
    runs = pd.concat([row.runs for row in made.rows])
    average = ", ".join(column.task for column in group.average_over)
    return _filled(
        {
            "protocol": protocol_words(first["protocol"]),
            "seeds": _seeds(made.rows, made.columns),
            "loss": "mean over tokens, in nats, less is better; perplexity: e to it, mean over seeds"
            if group.is_chat
            else "",
            "training": training_words(runs),
            "methods": method_words(made.rows),
            "learning rate": choice_words(made),
            "average": f"over {average}, of the mean of a task's metrics; tables show the main one, "
            "report.csv all"
            if average
            else "",
            "memory": _parts_words(runs),
            "data": data_words(made.columns, runs),
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
    return {
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


def sweep_caption(studies: Sequence[Sweep]) -> Caption:
    """Returns what one must know of studies that may be compared."""
    configs = [study.config for study in studies]
    environments = [study.recorded for study in studies if study.recorded]

    def said(words: Callable[[SweepConfig], str]) -> str:
        return grouped((f"{config.task} {config.method}", words(config)) for config in configs)

    return _filled(
        {
            "searched for": said(lambda c: metric_words(c.score_name)),
            "selected on": said(selection_words),
            "space": said(space_words),
            "search": said(lambda c: f"TPE, seed {c.template.seed}, pruner {c.pruner}"),
            "training": said(lambda c: training_words(pd.DataFrame([c.template.model_dump()]))),
            "data": said(lambda c: f"{short_identity(c.data.origin)}, {c.data.completeness}"),
            "checkpoint": f"{configs[0].model}, {short_identity(configs[0].checkpoint)}",
            "ran on": "; ".join(dict.fromkeys(map(hardware_words, environments))),
            "code": code_words((e.git_revision, e.git_dirty) for e in environments),
            "seconds": "of all trials, evaluations included",
        }
    )


def gradients_caption(shown: Gradients) -> Caption:
    """Returns what one must know of a recording of gradients."""
    config, run, environment = shown.config, shown.config.run, shown.environment
    return {
        "training": f"{run.max_steps} steps, learning rate {run.learning_rate:g}, batch {run.batch_size}, "
        f"{run.length} tokens at most, seed {run.seed}; recorded every {config.every} steps",
        "basis": f"from {config.calibration_steps} batches of the untrained model",
        "spaces": "G = dL/dW of one batch, G~ = V^T G U; a cell of a map is the root mean square of entries",
        "thresholds": "not zero: above 0; not small: above "
        f"{', '.join(f'{threshold:g}' for threshold in THRESHOLDS[1:])} of the largest of the matrix",
        "checkpoint": f"{run.model}, {short_identity(environment.checkpoint)}",
        "ran on": f"{run.device}, {run.precision} ({hardware_words(environment)})",
    }


def protocol_words(protocol: str) -> str:
    return f"{protocol}: {PROTOCOLS[protocol]}"


def short_identity(identity: str) -> str:
    """Returns `sha256:` or `hub:<id>@` with the first twelve digits."""
    for start, mark in (("hub:", "@"), ("sha256:", ":")):
        head, found, digits = identity.rpartition(mark)
        if found and identity.startswith(start):
            return f"{head}{mark}{digits[:12]}"
    return identity


def training_words(runs: pd.DataFrame) -> str:
    """Returns how runs are trained, in settings: what all share, and with its tasks what differs by task."""
    by_task = {
        run["task"]: {**run, **dict(zip(SCHEDULE, schedule_of(run), strict=True))} for run in records(runs)
    }
    settings = (
        grouped((str(task), setting_words(name, run[name])) for task, run in by_task.items())
        for name in TRAINING
    )
    return ", ".join(filter(None, settings))


def grouped(texts: Iterable[tuple[str, str]]) -> str:
    """Returns the text of all names, or each with the names that it is of: `epochs 2 (cola, rte), ...`.

    Args:
        texts: each name with its text.
    """
    names: dict[str, dict[str, None]] = {}
    for name, text in texts:
        names.setdefault(text, {})[name] = None
    several = (f"{text} ({', '.join(of)})" for text, of in names.items() if text)
    return next(iter(names)) if len(names) == 1 else ", ".join(several)


def method_words(rows: Iterable[Row]) -> str:
    """Returns the settings of each method's reference row."""
    words: dict[str, str] = {}
    for row in rows:
        first = row.runs.iloc[0]
        found = [text for name in ROW_SETTINGS if (text := setting_words(name, first[name]))]
        if found:
            words.setdefault(row.method, f"{row.method} {', '.join(found)}")
    return "; ".join(words.values())


def choice_words(made: GroupTable) -> str:
    """Returns learning rate and batch size, and among how many each was chosen."""
    recipes: dict[str, str] = {}
    for row in made.rows:
        for name, choice in row.choices.items():
            rate, sparse, batch = choice.recipe
            text = f"{rate:g}" + (f" (sparse {sparse:g})" if sparse else "") + f", batch {batch}"
            recipes[f"{row.label} on {name}"] = text
    words = "differs, as report.csv lists" if len(set(recipes.values())) > 4 else grouped(recipes.items())
    tried = {choice.tried for row in made.rows for choice in row.choices.values()}
    how_many = str(max(tried)) if len(tried) == 1 else f"{min(tried)} to {max(tried)}, UNEQUALLY MANY,"
    chosen = f"the best of {how_many} settings tried of each method, on the split that selects"
    if tried == {1}:
        chosen = "one setting of each method was run"
    sources = sorted({s for row in made.rows for s in row.runs["hyperparameters_from"] if s})
    return f"{words}; {chosen} (from: {'; '.join(sources)})"


def data_words(columns: Sequence[TaskColumn], runs: pd.DataFrame) -> str:
    """Returns where the examples are from, and whether they are all of the task's."""
    origins = "; ".join(sorted({short_identity(origin) for origin in runs["origin"]}))
    kinds = {column.completeness for column in columns}
    if "synthetic" in kinds:
        origins = f"SYNTHETIC ({origins}): says nothing about real data"
    left_out = Counter[str](runs.iloc[0]["left_out"] or {}).most_common()
    trees = ", ".join(f"{count:,} {why}" for why, count in left_out)
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


def bench_machine(bench: Bench) -> str:
    """Returns device with threads or the GPU's name, precision, torch."""
    torch = bench.environment.versions.get("torch", "unknown")
    hardware = hardware_words(bench.environment)
    return f"{bench.config.device} ({hardware}), {bench.config.precision}, torch {torch}"


def model_words(config: Any) -> str:
    """Returns the weights and the depth of a benchmark's model."""
    cut = f", cut to {counted(config.layers, 'block')}" if config.layers else ""
    return f"{config.model}, {config.init} weights ({short_identity(config.checkpoint)}){cut}"


def bench_training(config: BenchConfig) -> str:
    """Returns what the methods of a benchmark train."""
    rest = "only the adapters and the head" if config.freeze_rest else "everything but the MLP matrices"
    names = ("density", "kept", "rank", "basis_rank", "calibration_steps")
    settings = ", ".join(text for name in names if (text := setting_words(name, getattr(config, name))))
    return f"{rest} trained in full; {settings}"


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


def _filled(caption: Caption) -> Caption:
    return {name: text for name, text in caption.items() if text}


def _seeds(rows: Sequence[Row], columns: Sequence[TaskColumn]) -> str:
    cells = [tuple(sorted(c.of(row.runs)["seed"])) for row in rows for c in columns if c.name in row.choices]
    seeds = ", ".join(map(str, sorted(set().union(*cells))))
    sizes = {len(cell) for cell in cells}
    if sizes == {1}:
        return f"{seeds}: one run a cell"
    other = "" if len(set(cells)) == 1 else ", not the same ones in every cell"
    over = "(number of seeds)" if len(sizes) > 1 else f"over {len(cells[0])}"
    return f"{seeds}{other}; mean ± sample standard deviation {over}"


def _parts_words(runs: pd.DataFrame) -> str:
    """Runs that could not hold a whole batch, and so summed the gradients of its parts."""
    split = [run for run in records(runs) if run["parts_taken"] > (run["accumulation_steps"] or 1)]
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
    known = column.known.rows if column.known and column.completeness == "partial" else None
    official = known or {}
    counts = [
        f"{split} {count:,}" + (f" of {official[split]:,}" if official.get(split, count) != count else "")
        for split, count in column.rows.items()
    ]
    return f"{column.task} {column.completeness}: {', '.join(counts)}"
