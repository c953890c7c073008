"""The paper's tables beside ours: ours, what the paper prints, the difference, a line each.

A table is a `Spec`: its number, what its rows are, and the function that finds our numbers for it in long
form (`row`, `settings`, `column`, `mean`, ...). These are joined to the paper's numbers, in long form too
(`paper/tables.json`). Runs stand beside the paper only if they train what it trains, by its protocol;
shorter training is let in, and said.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from ..bench.folder import Bench
from ..bench.schema import BenchConfig, BenchResult
from ..paper import GLUE, PaperCell, paper_cells, same_model
from ..tasks import get_task, task_names
from .caption import bench_machine, bench_training, device_words, group_words, run_caption, sweep_caption
from .comparable import KINDS, Group, Row, Run, split_groups
from .load import METHODS, Results
from .other_tables import BENCH_ROWS, group_studies
from .run_tables import GroupTable, average, find_ratings, main_score
from .significance import Significance
from .table import (
    COLLAPSED,
    DASH,
    UNSURE,
    Column,
    MeanStd,
    Section,
    Table,
    counted,
    known,
    listed,
    marks_in,
    metric_words,
    short_model,
    three_digits,
)

EPOCHS, LENGTH, PATIENCE = 20, 128, 5
RANKS = {"bert-base": 7, "roberta-base": 7, "roberta-large": 10, "llama-2-7b": 32}
MATRIX = {  # entries of an MLP matrix
    **{"bert-base": 768 * 3072, "roberta-base": 768 * 3072},
    **{"roberta-large": 1024 * 4096, "llama-2-7b": 4096 * 11008},
}
ONE_PERCENT = (0.009, 0.012)  # the paper's 1% is 22,000 to 28,000 entries of a base model's matrix
CHAT_BLOCKS, CHAT_LENGTH, CHAT_SHARE = "every:3", 512, 0.002
HOW_MEASURED = {"rows", "rounds", "steps", "burn_in", "seed", "calibration_steps"}
OF_TASK = {"task", "data", "data_revision", "model"}
AVG = "avg"

GLUE_SETTING = (
    "all but the MLP matrices trained in full; lora rank {rank}; meprop and sparsegrad about 1% of each MLP "
    "matrix at a step, chosen anew at each; on dev, over 3 seeds"
)
KEPT_SETTING = (
    "as many entries of each MLP matrix at a step, chosen anew at each, and all else; its numbers at 100% "
    "are those of SparseGrad in the table of all tasks, not of full fine-tuning; ours has density 1"
)
CHAT_SETTING = (
    "up_proj and down_proj of every third block, all else frozen; lora rank 32; meprop and sparsegrad "
    "100,000 entries (0.2%) of each matrix at a step; one epoch, bfloat16; its code counts all turns in the "
    "loss; its judge is GPT-4 on MT-Bench"
)
COST_SETTING = "other machines have other speeds: only what is over ft's compares"
RATE_SETTING = "one learning rate and batch size for all methods"
PARTS_SETTING = (
    "mlp and attention: weights and biases of their linears; embeddings: of tokens, positions and types; "
    "full: with norms, an encoder's pooler, a decoder's output layer"
)


@dataclass(frozen=True)
class Number:
    """How numbers of a kind are written, and how ours is held against the paper's."""

    ours: Callable[[float], str]
    paper: Callable[[float], str]
    digits: int | None = None  # of the difference; None: the two do not compare
    is_ratio: bool = False  # compared by their ratio


def _format(code: str) -> Callable[[float], str]:
    return lambda value: format(value, code)


SCORE = Number(_format(".1f"), _format(".1f"), 1)
SPEED = Number(three_digits, three_digits)
MEMORY = Number(_format(",.0f"), _format(",.0f"))
RATIO = Number(_format(".2f"), _format(".2f"), 2)
RATE = Number(_format(".2e"), _format(".2e"), is_ratio=True)
BATCH = Number(_format("g"), _format("g"), is_ratio=True)
MILLIONS = Number(_format(",.1f"), _format(",g"), 1)
PERCENT = Number(_format(".1f"), _format("g"), 1)
SHARE = Number(_format(".2f"), _format("g"), 2)
MEASURE = Number(_format(".3f"), _format("g"), 3)
ASIDE = Number(_format(".3f"), _format("g"))


@dataclass(frozen=True)
class Head:
    """A column of both."""

    column: str  # in the frames
    head: str
    number: Number
    note: str = ""


@dataclass(frozen=True)
class Ours:
    """What we have beside one table, in one group of results that may be compared."""

    frame: pd.DataFrame  # row, settings, column, mean, std, n, mark
    heads: Sequence[Sequence[Head]]  # of each table to draw
    where: str = ""
    notes: Sequence[str] = ()
    caption: dict[str, str] | None = None


@dataclass(frozen=True)
class Spec:
    """One table of the paper."""

    number: int
    title: str
    ours: Callable[[Spec, Results], Iterator[Ours]]
    setting: str
    row: Callable[[PaperCell], str | None] = lambda cell: cell.method
    head: str = "method"

    @property
    def family(self) -> str:
        """The paper's name of the model, of tables that have one."""
        return paper_cells(self.number)[0].model

    def paper(self) -> pd.DataFrame:
        """Returns the paper's numbers in long form: row, column, value, std, sure."""
        lines = [
            {
                "row": self.row(c),
                "column": c.model if self.number == 5 else c.column,
                "value": c.value,
                "std": c.std,
                "sure": c.sure,
            }
            for c in paper_cells(self.number)
        ]
        return pd.DataFrame(lines, dtype=object)


def paper_sections(results: Results) -> tuple[list[Section], list[int]]:
    """Returns a section for each table of the paper that we have something of, and the numbers of others."""
    sections, alone = [], []
    for spec in SPECS:
        found = [ours for ours in spec.ours(spec, results) if len(ours.frame)]
        sections += [_section(spec, ours) for ours in found]
        if not found:
            alone.append(spec.number)
    return sections, alone


def _section(spec: Spec, ours: Ours) -> Section:
    paper = _with_derived(spec.paper(), spec)
    tables = [_table(spec, ours.frame, paper, heads) for heads in ours.heads]
    where = f", and {ours.where}" if ours.where else ""
    caption = {"paper": spec.setting, **(ours.caption or {})}
    marks = marks_in(tables)
    return Section(
        title=f"Paper, table {spec.number}: {spec.title}{where}",
        sentence=_sentence(ours, paper),
        tables=tables,
        notes=list(ours.notes),
        caption={**caption, "marks": marks} if marks else caption,
    )


def _table(spec: Spec, ours: pd.DataFrame, paper: pd.DataFrame, heads: Sequence[Head]) -> Table:
    """For each row of ours, or of the paper alone: ours, the paper's and, where both are, the difference."""
    of_paper = {(row["row"], row["column"]): row for row in paper.to_dict("records")}
    of_ours = {(row["row"], row["settings"], row["column"]): row for row in ours.to_dict("records")}
    counts = len({row["n"] for row in of_ours.values()}) > 1
    lines: list[tuple[str, list[str]]] = []
    joined: list[bool] = []
    for name in dict.fromkeys([*paper["row"], *ours["row"]]):
        printed = [of_paper.get((name, head.column)) for head in heads]
        settings = list(dict.fromkeys(s for row, s, _ in of_ours if row == name)) or [None]
        for setting in settings:
            cells = [of_ours.get((name, setting, head.column)) for head in heads]
            label = f"{name} ({setting})" if setting else str(name)
            group = [(label, [_ours_words(*pair, counts) for pair in zip(cells, heads, strict=True)])]
            if any(printed):
                group.append(("paper", [_paper_words(*pair) for pair in zip(printed, heads, strict=True)]))
                differences = [_difference(*triple) for triple in zip(cells, printed, heads, strict=True)]
                if any(text != DASH for text in differences):
                    group.append(("difference", differences))
            if setting is None:
                group = [(f"paper, {name}", group[1][1])] if len(group) > 1 else []
            lines += group
            joined += [place > 0 for place in range(len(group))]
    columns = [Column(spec.head, [label for label, _ in lines])]
    for place, head in enumerate(heads):
        columns.append(Column(head.head, [texts[place] for _, texts in lines], head.note))
    return Table(columns, joined)


def _ours_words(cell: dict[str, Any] | None, head: Head, counts: bool) -> str:
    if cell is None:
        return DASH
    spread = "" if cell["std"] is None else f" ± {head.number.ours(cell['std'])}"
    return head.number.ours(cell["mean"]) + spread + (f" ({cell['n']})" if counts else "") + cell["mark"]


def _paper_words(cell: dict[str, Any] | None, head: Head) -> str:
    if cell is None:
        return DASH
    spread = "" if cell["std"] is None else f" ± {head.number.paper(cell['std'])}"
    return head.number.paper(cell["value"]) + spread + ("" if cell["sure"] else UNSURE)


def _difference(ours: dict[str, Any] | None, paper: dict[str, Any] | None, head: Head) -> str:
    if ours is None or paper is None:
        return DASH
    if head.number.is_ratio:
        return f"× {ours['mean'] / paper['value']:.2g}"
    digits = head.number.digits
    return DASH if digits is None else f"{round(ours['mean'] - paper['value'], digits) + 0.0:+.{digits}f}"


def _sentence(ours: Ours, paper: pd.DataFrame) -> str:
    """The mean difference of each row, of numbers that are scores."""
    scores = [head.column for head in ours.heads[0] if head.number is SCORE and head.column != AVG]
    if not scores:
        return ""
    both = ours.frame.merge(paper, on=["row", "column"], suffixes=("", "_paper"))
    both = both[both["column"].isin(scores)]
    words = [
        f"{row} {fmean(part['mean'] - part['value']):+.1f} ({counted(part['column'].nunique(), 'number')})"
        for row, part in both.groupby("row", sort=False)
    ]
    return f"Ours less the paper's, in points, mean over what both have: {listed(words)}." if words else ""


def _frame(lines: Sequence[dict[str, Any]]) -> pd.DataFrame:
    columns = ["row", "settings", "column", "mean", "std", "n", "mark"]
    return pd.DataFrame(lines, columns=columns, dtype=object)


def _line(
    row: str, column: str, value: MeanStd | None, settings: str = "", mark: str = ""
) -> list[dict[str, Any]]:
    if value is None:
        return []
    return [{"row": row, "settings": settings, "column": column, **vars(value), "mark": mark}]


def _scores(spec: Spec, results: Results) -> Iterator[Ours]:
    """Tables 4, 9 to 12: a row a method, or a number of kept entries; a column a task."""
    by_kept = spec.head == "kept"
    for group, notes in _groups_of(results, spec.family, any_share=by_kept):
        made, lines = _plain_table(group), []
        for row in made.rows:
            label = _kept_label(spec, row) if by_kept else row.method
            if label is None:
                continue
            for column in group.columns:
                score = _hundredfold(made.score(row, column))
                collapsed = column.of(row.runs)["single_class"].any()
                lines += _line(label, column.name, score, row.suffix, COLLAPSED * bool(collapsed))
            lines += _line(label, AVG, _paper_average(group, row), row.suffix)
        heads = {
            c.task: Head(c.task, f"{c.task}\n{metric_words(c.score_name)}", SCORE, c.note or c.mark)
            for c in reversed(group.columns)
            if c.task in GLUE
        }
        yield Ours(
            frame=_by_task(_frame(lines), group),
            heads=[[*reversed(heads.values()), Head(AVG, "average", SCORE)]],
            where=group_words(group),
            notes=notes,
            caption=run_caption(made) | {"average": f"over {', '.join(GLUE)}, where a row has them all"},
        )


def _by_task(frame: pd.DataFrame, group: Group) -> pd.DataFrame:
    """Names columns by their tasks, as the paper; of a task with two sets of examples the first counts."""
    tasks = {column.name: column.task for column in group.columns}
    renamed = frame.assign(column=frame["column"].map(lambda name: tasks.get(name, name)))
    return renamed.drop_duplicates(["row", "settings", "column"])


def _averages(spec: Spec, results: Results) -> Iterator[Ours]:
    """Table 5: a row a method, a column a model."""
    lines, heads = [], []
    for family in dict.fromkeys(cell.model for cell in paper_cells(5)):
        for group, _ in _groups_of(results, family):
            found = [
                line
                for row in _plain_table(group).rows
                for line in _line(row.method, family, _paper_average(group, row), row.suffix)
            ]
            if found:
                lines += found
                heads.append(Head(family, family, SCORE, group_words(group)))
    frame = _frame(lines).drop_duplicates(["row", "settings", "column"])
    caption = {"average": f"over {', '.join(GLUE)}, where a row has them all"}
    yield Ours(frame, [list({head.column: head for head in heads}.values())], caption=caption)


def _chat(spec: Spec, results: Results) -> Iterator[Ours]:
    """Table 6: LLaMA-2 on OpenAssistant conversations."""
    runs = results.done
    chat = runs[runs["score_name"].eq("loss")] if len(runs) else runs
    for group, notes in _groups_in(chat, spec.family, _chat_reason, _is_shorter_chat):
        ratings = find_ratings(group, results.judgements)
        made, lines = _plain_table(group), []
        for row in made.rows:
            totals = row.runs["total"].astype(float)
            share = known(100 * row.runs["trainable"].astype(float) / totals)
            lines += _line(
                row.method, "trainable_percent", MeanStd.over(share) if share else None, row.suffix
            )
            lines += _line(row.method, "valid_loss", made.score(row, group.columns[0]), row.suffix)
            for judge in ratings[:1]:
                lines += _line(row.method, "judge_score", judge.scores.get(row.label), row.suffix)
        all_turns = group.first["loss_on"] == "all"
        gpt4 = bool(ratings) and ratings[0].model.startswith("gpt-4")
        loss_note = "" if all_turns else "ours: assistant's turns alone"
        judge_note = f"ours: {ratings[0].name}" if ratings else ""
        heads = [
            Head("trainable_percent", "trained\n% of all", SHARE),
            Head("valid_loss", "validation\nloss", MEASURE if all_turns else ASIDE, loss_note),
            Head("judge_score", "judge's\nscore", MEASURE if gpt4 else ASIDE, judge_note),
        ]
        yield Ours(_frame(lines), [heads], group_words(group), notes, run_caption(made))


def _costs(spec: Spec, results: Results) -> Iterator[Ours]:
    """Tables 3, 7 and 8: steps per second and peak memory, by task or over all."""
    for benches in _bench_groups(results.benches, spec.family):
        measured = {
            (row.name, bench.config.task): row
            for bench in benches
            if isinstance(bench.result, BenchResult)
            for row in bench.result.rows
            if row.status == "done"
        }
        tasks = {task for _, task in measured}
        whole = tasks >= set(GLUE)
        if spec.number == 3:
            places: dict[str, Sequence[str | None]] = {"": GLUE} if whole else {"": [None]}
            if not whole and None not in tasks:
                continue
        else:
            places = {task: [task] for task in GLUE if task in tasks} | ({AVG: GLUE} if whole else {})
        lines = []
        names = list(dict.fromkeys(name for name, _ in measured))
        for what, key, times in (
            ("steps_per_second", "steps_per_second", 1),
            ("peak_memory", "peak_memory_bytes", 1e-6),
        ):
            if spec.number == (8 if what == "steps_per_second" else 7):
                continue
            for place, of in places.items():
                column = place or what
                values = {}
                for name in names:
                    cells = [getattr(measured[name, t], key) for t in of if (name, t) in measured]
                    if len(cells) == len(of) and None not in cells:
                        values[name] = times * fmean(cells)
                for name, value in values.items():
                    lines += _line(name, column, MeanStd.single(value))
                    if "ft" in values:
                        lines += _line(name, f"{column} vs ft", MeanStd.single(value / values["ft"]))
        columns = list(dict.fromkeys(line["column"] for line in lines))
        first = benches[0]
        config = first.config
        assert isinstance(config, BenchConfig)
        kind = "random tokens" if spec.number == 3 and not whole else "batches of each task"
        yield Ours(
            frame=_frame(lines),
            heads=[
                [_cost_head(c, spec) for c in columns if not c.endswith("vs ft")],
                [
                    Head(c, c.replace("_", " ").replace(" vs", "\nvs"), RATIO)
                    for c in columns
                    if c.endswith("vs ft")
                ],
            ],
            where=f"{config.model}, {config.device}, {config.precision}",
            caption={
                "ran on": bench_machine(first),
                "batches": f"{config.batch_size} × {config.length}, {kind}; the paper's: means over GLUE",
                "training": bench_training(config),
            },
        )


def _cost_head(column: str, spec: Spec) -> Head:
    is_speed = column == "steps_per_second" or spec.number == 7
    head = {"steps_per_second": "steps/s", "peak_memory": "peak\nMB", AVG: "average"}.get(column, column)
    return Head(column, head, SPEED if is_speed else MEMORY)


def _with_derived(paper: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """Adds what speeds and memory are over full fine-tuning's; shares of table 1; batches of 13 to 15."""
    if spec.number in (3, 7, 8):
        base = paper[paper["row"] == "ft"].set_index("column")
        over = paper[paper["column"].isin(base.index)].copy()
        over["value"] = over["value"] / over["column"].map(base["value"])
        over["sure"] = over["sure"].astype(bool) & over["column"].map(base["sure"]).astype(bool)
        over["column"], over["std"] = over["column"] + " vs ft", None
        return pd.concat([paper, over])
    cells = paper_cells(spec.number)
    extra = {1: ("percent", "{} %"), 13: ("batch_size", "{} batch")}
    extra |= {14: extra[13], 15: extra[13]}
    if spec.number not in extra:
        return paper
    name, text = extra[spec.number]
    more = [
        {
            "row": spec.row(c),
            "column": text.format(c.column),
            "value": getattr(c, name),
            "std": None,
            "sure": c.sure,
        }
        for c in cells
        if getattr(c, name) is not None
    ]
    return pd.concat([paper, pd.DataFrame(more, dtype=object)])


def _rates(spec: Spec, results: Results) -> Iterator[Ours]:
    """Tables 13 to 15: the best learning rates and batch sizes of our sweeps."""
    fit = []
    for read in results.sweeps:
        config = read.sweep.config
        searched: dict[str, Any] = dict.fromkeys(config.space.parameters)
        run: dict[Any, Any] = {**config.template.model_dump(), **searched}
        glue = KINDS[config.data.completeness] == "GLUE"
        if glue and same_model(config.model, spec.family) and not method_reason(run, spec.family):
            fit.append(read)
    for studies in group_studies(fit):
        lines = []
        for read in studies:
            config, best = read.sweep.config, read.sweep.result.best
            for name, column in (("learning_rate", config.task), ("batch_size", f"{config.task} batch")):
                value = best.params.get(name) if best else None
                if isinstance(value, int | float):
                    lines += _line("all methods", column, MeanStd.single(float(value)), config.method)
        found = [t for t in GLUE if any(line["column"] == t for line in lines)]
        heads = [
            [Head(task, f"{task}\nlearning rate", RATE) for task in found],
            [Head(f"{task} batch", f"{task}\nbatch size", BATCH) for task in found],
        ]
        frame = _frame(lines).drop_duplicates(["row", "settings", "column"])
        yield Ours(frame, heads, short_model(studies[0].sweep.config.model), caption=sweep_caption(studies))


def _parts(spec: Spec, results: Results) -> Iterator[Ours]:
    """Table 1: numbers of parameters."""
    lines, names = [], {"full": "total", "mlp": "mlp", "embeddings": "embeddings", "attention": "attention"}
    for family in dict.fromkeys(cell.model for cell in paper_cells(1)):
        for counts in results.parts:
            if same_model(counts.config.model, family):
                parts = counts.result.parts
                for column, name in names.items():
                    size, settings = getattr(parts, name), counts.config.model
                    lines += _line(family, column, MeanStd.single(size / 1e6), settings)
                    lines += _line(family, f"{column} %", MeanStd.single(100 * size / parts.total), settings)
    heads = [
        *(Head(name, f"{name}\nmillions", MILLIONS) for name in names),
        *(Head(f"{name} %", f"{name}\n%", PERCENT) for name in names if name != "full"),
    ]
    yield Ours(_frame(lines), [heads])


def _bench_groups(benches: Sequence[Bench], family: str) -> list[list[Bench]]:
    """Benchmarks of whole models in the paper's setting, those together that may be compared."""
    alike: dict[str, list[Bench]] = defaultdict(list)
    for bench in benches:
        config = bench.config
        if not isinstance(config, BenchConfig):
            continue
        share = kept_share({"density": config.density, "kept": config.kept}, family)
        if (
            same_model(config.model, family)
            and config.layers is None
            and not config.freeze_rest
            and config.basis_rank is None
            and config.data != "demo"
            and config.rank in (None, RANKS[family])
            and (share is None or is_one_percent(share))
        ):
            shape = config.model_dump(exclude=OF_TASK | HOW_MEASURED)
            machine = device_words(bench.environment, config.device)
            alike[json.dumps([machine, shape], sort_keys=True)].append(bench)
    return [found for _, found in sorted(alike.items())]


def _groups_of(results: Results, family: str, any_share: bool = False) -> Iterator[tuple[Group, list[str]]]:
    """Our runs on GLUE of a model of the paper, in groups, each with what a reader must know of it."""
    runs = results.done
    if any_share and len(runs):
        runs = runs[runs["method"] == "sparsegrad"]
    scored = runs[runs["score_name"].ne("loss")] if len(runs) else runs
    yield from _groups_in(scored, family, lambda run, f: run_reason(run, f, any_share), _is_shorter)


def _groups_in(
    runs: pd.DataFrame,
    family: str,
    reason: Callable[[Run, str], str],
    is_shorter: Callable[[Run], bool],
) -> Iterator[tuple[Group, list[str]]]:
    if runs.empty:
        return
    own = runs[[same_model(model, family) for model in runs["model"]]]
    reasons = [reason(run, family) for run in own.to_dict("records")]
    fit = own[[not why for why in reasons]]
    others = Counter(filter(None, reasons))
    for group in split_groups(fit):
        notes, records = [], group.runs.to_dict("records")
        if short := sum(map(is_shorter, records)):
            which = "All" if short == len(records) else f"{short} of {len(records)}"
            notes.append(f"{which} runs of ours are shorter than the paper's.")
        if others:
            words = ", ".join(f"{count} {why}" for why, count in sorted(others.items()))
            notes.append(f"Runs of this model in another setting, not shown: {words}.")
        yield group, notes


def _plain_table(group: Group) -> GroupTable:
    return GroupTable(group, group.all_rows, Significance((), 0, ()))


def run_reason(run: Run, family: str, any_share: bool) -> str:
    """Returns why a run is not in the paper's setting, in words; empty where it is."""
    if KINDS[str(run["completeness"])] != "GLUE":
        return "data that is not GLUE's"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    if run["task"] in task_names() and run["score_name"] != get_task(str(run["task"])).score_name:
        return f"scored by {run['score_name']}"
    if run["freeze_rest"]:
        return "freeze-rest"
    return method_reason(run, family, any_share)


def method_reason(run: Run, family: str, any_share: bool = False) -> str:
    """Returns why what a run trains is not what the paper trains, in words; empty where it is.

    Args:
        any_share: however many entries of the MLP matrices are kept.
    """
    method = str(run["method"])
    mask = run.get("mask")
    if method not in METHODS:
        return method
    if run["freeze_rest"] and family != "llama-2-7b":
        return "freeze-rest"
    if method == "lora" and run["rank"] != RANKS.get(family):
        return f"lora rank {run['rank']}"
    if method == "sparsegrad" and mask != "dynamic":
        return f"sparsegrad mask {mask}"
    if run.get("sparse_learning_rate") is not None:
        return f"{method} with a sparse-learning-rate"
    if run.get("basis_rank") is not None:
        return f"{method} basis-rank {run['basis_rank']}"
    share = kept_share(run, family)
    if share is not None and not any_share and not is_one_percent(share):
        return f"{method} keeping {100 * share:.3g}%"
    return ""


def _chat_reason(run: Run, family: str) -> str:
    if run["completeness"] != "complete":
        return "data that is not the whole release"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    if run["blocks"] != CHAT_BLOCKS:
        return f"blocks {run['blocks'] or 'all'}"
    share = kept_share(run, family)
    if share is not None and round(share, 3) != CHAT_SHARE:
        return f"{run['method']} keeping {100 * share:.2g}%"
    return method_reason(run, family, any_share=True)


def kept_share(run: Run, family: str) -> float | None:
    """Returns the share of each MLP matrix that a step trains; None where the method keeps none."""
    if run["density"] is not None:
        return float(run["density"])
    return int(run["kept"]) / MATRIX[family] if run["kept"] is not None else None


def is_one_percent(share: float) -> bool:
    return ONE_PERCENT[0] <= round(share, 4) <= ONE_PERCENT[1]


def _is_shorter(run: Run) -> bool:
    cut = run["max_steps"] is not None or run["max_train_examples"] is not None
    short = float(run["epochs"] or 0) < EPOCHS or int(run["length"] or 0) < LENGTH
    return cut or short or 0 < int(run["patience"] or 0) < PATIENCE


def _is_shorter_chat(run: Run) -> bool:
    cut = run["max_steps"] is not None or run["max_train_examples"] is not None
    return cut or float(run["epochs"] or 0) < 1 or int(run["length"] or 0) < CHAT_LENGTH


def _paper_average(group: Group, row: Row) -> MeanStd | None:
    """Over the paper's eight tasks, of the main metrics; of fewer it would be another number."""
    columns = [column for column in group.columns if column.task in GLUE]
    if {column.task for column in columns} != set(GLUE) or len(columns) != len(GLUE):
        return None
    return _hundredfold(average(row, columns, main_score))


def _hundredfold(value: MeanStd | None) -> MeanStd | None:
    """A score as the paper prints it."""
    if value is None:
        return None
    return MeanStd(100 * value.mean, None if value.std is None else 100 * value.std, value.n)


def kept_words(cell: PaperCell) -> str:
    return f"{cell.kept_entries:,} ({cell.kept_percent:g}%)" if cell.kept_entries else "all (100%)"


def _kept_label(spec: Spec, row: Row) -> str | None:
    """The row of the paper that keeps as many, to the digit that its percentage has; None: it has none."""
    run = row.runs.iloc[0]
    share = kept_share(run.to_dict(), spec.family)
    for cell in paper_cells(spec.number):
        if run["kept"] is not None and run["kept"] == cell.kept_entries:
            return kept_words(cell)
        percent = None if share is None or run["kept"] is not None else round(100 * share, 1)
        if percent is not None and percent == cell.kept_percent:
            return kept_words(cell)
    return None


def _glue(number: int, title: str) -> Spec:
    family = paper_cells(number)[0].model
    return Spec(number, title, _scores, GLUE_SETTING.format(rank=RANKS[family]))


def _bench_row(cell: PaperCell) -> str | None:
    return BENCH_ROWS.get(cell.method or "", cell.method)


SPECS: tuple[Spec, ...] = (
    Spec(1, "where models keep their parameters", _parts, PARTS_SETTING, lambda c: c.model, "model"),
    Spec(3, "roberta-base, speed and memory", _costs, COST_SETTING, _bench_row),
    _glue(4, "roberta-large on GLUE"),
    Spec(5, "averages over GLUE", _averages, "as in tables 9 and 10"),
    Spec(6, "LLaMA-2 7B on OpenAssistant conversations", _chat, CHAT_SETTING),
    Spec(7, "roberta-base, speed by task", _costs, COST_SETTING, _bench_row),
    Spec(8, "roberta-base, memory by task", _costs, COST_SETTING, _bench_row),
    _glue(9, "bert-base on GLUE"),
    _glue(10, "roberta-base on GLUE"),
    Spec(11, "bert-base, SparseGrad by kept entries", _scores, KEPT_SETTING, kept_words, "kept"),
    Spec(12, "roberta-base, SparseGrad by kept entries", _scores, KEPT_SETTING, kept_words, "kept"),
    *(
        Spec(
            number,
            f"best learning rate and batch size, {family}",
            _rates,
            RATE_SETTING,
            lambda c: "all methods",
        )
        for number, family in ((13, "bert-base"), (14, "roberta-base"), (15, "roberta-large"))
    ),
)
