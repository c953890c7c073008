"""The paper's tables beside ours: ours, what the paper prints, the difference, a line each.

A table is a `Spec`: its number, what its rows are, and the function that finds our numbers for it. Both are
frames in long form: `row`, `column`, `mean`, `std`, and of ours also `settings`, `n` and `mark`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd

from ..bench.config import BenchConfig, BenchResult
from ..paper import GLUE, PaperCell, paper_cells, same_model
from .bench_tables import BENCH_ROWS, PADDINGS
from .caption import bench_machine, bench_training, run_caption, sweep_caption
from .comparable import KINDS, Group, Row
from .load import Results
from .paper_runs import (
    CHAT_SETTING,
    COST_SETTING,
    GLUE_SETTING,
    KEPT_SETTING,
    PARTS_SETTING,
    RANKS,
    RATE_SETTING,
    bench_groups,
    kept_label,
    kept_words,
    method_reason,
    paper_groups,
)
from .run_tables import GroupTable, average, find_ratings, main_score
from .significance import Significance
from .sweep_tables import group_studies
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

AVERAGE = {"average": f"over {', '.join(GLUE)}, where a row has them all"}
AVG, RANDOM = "avg", "random tokens"


@dataclass(frozen=True)
class Head:
    """A column of both: how its numbers are written, and how ours is held against the paper's."""

    column: str  # in our frame
    head: str
    ours: str = ".1f"  # format of a number of ours; "3" for three digits
    paper: str = ".1f"
    digits: int | None = 1  # of the difference; None: the two do not compare
    is_ratio: bool = False  # compared by their ratio
    note: str = ""
    beside: str = ""  # the paper's column, where it is called otherwise


@dataclass(frozen=True)
class Ours:
    """What we have beside one table, in one group of results that may be compared."""

    lines: list[dict[str, Any]]  # row, settings, column, mean, std, n, mark
    heads: list[list[Head]]  # of each table to draw
    where: str = ""
    notes: Sequence[str] = ()
    caption: dict[str, str] = field(default_factory=dict)

    def add(
        self, row: str, column: str, value: MeanStd | float | None, settings: str = "", mark: str = ""
    ) -> None:
        """Adds a number; None adds nothing, and the first of two for one place counts."""
        if value is not None:
            found = value if isinstance(value, MeanStd) else MeanStd(value, None, 1)
            self.lines.append(
                {"row": row, "settings": settings, "column": column, **vars(found), "mark": mark}
            )

    def cells(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        return {(each["row"], each["settings"], each["column"]): each for each in reversed(self.lines)}


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
        """Returns the paper's numbers, with those that follow from them: ratios, shares, batch sizes."""
        lines = []
        for cell in paper_cells(self.number):
            column = cell.model if self.number == 5 else cell.column
            shared = {"row": self.row(cell), "std": cell.std, "sure": cell.sure}
            beside = {"%": cell.percent, "batch": cell.batch_size}
            lines.append({**shared, "column": column, "mean": cell.value})
            lines += [
                {**shared, "column": f"{column} {name}", "mean": value, "std": None}
                for name, value in beside.items()
                if value is not None
            ]
        frame = pd.DataFrame(lines, dtype=object)
        if self.number in (3, 7, 8):
            base = frame[frame["row"] == "ft"].set_index("column")
            over = frame[frame["column"].isin(base.index)].copy()
            over["mean"] = over["mean"] / over["column"].map(base["mean"])
            over["sure"] = over["sure"].astype(bool) & over["column"].map(base["sure"]).astype(bool)
            over["column"] += " vs ft"
            frame = pd.concat([frame, over.assign(std=None)])
        return frame


def paper_sections(results: Results) -> tuple[list[Section], list[int]]:
    """Returns a section for each table of the paper that we have something of, and the numbers of others."""
    sections, alone = [], []
    for spec in SPECS:
        found = [ours for ours in spec.ours(spec, results) if ours.lines]
        sections += [_section(spec, ours) for ours in found]
        if not found:
            alone.append(spec.number)
    return sections, alone


def _section(spec: Spec, ours: Ours) -> Section:
    paper = spec.paper()
    tables = [_beside_table(spec.head, ours, paper, heads) for heads in ours.heads if heads]
    marks = marks_in(tables)
    return Section(
        title=f"Paper, table {spec.number}: {spec.title}{f', and {ours.where}' if ours.where else ''}",
        sentence=_sentence(ours, paper),
        tables=tables,
        notes=list(ours.notes),
        caption={"paper": spec.setting, **ours.caption, **({"marks": marks} if marks else {})},
    )


def _sentence(ours: Ours, paper: pd.DataFrame) -> str:
    """The mean difference of each row, of numbers that are scores."""
    scores = [head.column for head in ours.heads[0] if head.ours == ".1f" and head.column in (*GLUE, *RANKS)]
    both = pd.DataFrame(ours.lines).merge(paper, on=["row", "column"], suffixes=("", "_paper"))
    both = both[both["column"].isin(scores)]
    words = [
        f"{row} {fmean(part['mean'] - part['mean_paper']):+.1f} "
        f"({counted(part['column'].nunique(), 'number')})"
        for row, part in both.groupby("row", sort=False)
    ]
    return f"Ours less the paper's, in points, mean over what both have: {listed(words)}." if words else ""


def _beside_table(head_of_rows: str, ours: Ours, paper: pd.DataFrame, heads: Sequence[Head]) -> Table:
    """For each row of ours, or of the paper alone: ours, the paper's and, where both are, the difference."""
    printed = {(row["row"], row["column"]): row for row in paper.to_dict("records")}
    cells = ours.cells()
    counts = len({cell["n"] for cell in cells.values()}) > 1
    lines: list[tuple[str, list[str]]] = []
    joined: list[bool] = []

    def written(numbers: Sequence[dict[str, Any] | None]) -> list[str]:
        return [_text(number, head, counts) for number, head in zip(numbers, heads, strict=True)]

    for name in dict.fromkeys([*paper["row"], *(row for row, _, _ in reversed(cells))]):
        theirs = [printed.get((name, head.beside or head.column)) for head in heads]
        settings = list(dict.fromkeys(s for row, s, _ in reversed(cells) if row == name))
        for setting in settings or [""]:
            own = [cells.get((name, setting, head.column)) for head in heads]
            group = [(f"{name} ({setting})" if setting else name, written(own))] if settings else []
            if any(theirs):
                group.append(("paper" if settings else f"paper, {name}", written(theirs)))
            differences = [_difference(*three) for three in zip(own, theirs, heads, strict=True)]
            if set(differences) - {DASH}:
                group.append(("difference", differences))
            lines += group
            joined += [place > 0 for place in range(len(group))]
    columns = [Column(head_of_rows, [label for label, _ in lines])]
    for place, head in enumerate(heads):
        columns.append(Column(head.head, [texts[place] for _, texts in lines], head.note))
    return Table(columns, joined)


def _text(cell: dict[str, Any] | None, head: Head, counts: bool) -> str:
    """A number of ours, or of the paper, which has no `n`."""
    if cell is None:
        return DASH
    form = head.ours if "n" in cell else head.paper

    def written(value: float) -> str:
        return three_digits(value) if form == "3" else format(value, form)

    spread = "" if cell["std"] is None else f" ± {written(cell['std'])}"
    count = f" ({cell['n']})" if counts and "n" in cell else ""
    mark = cell["mark"] if "n" in cell else UNSURE * (not cell["sure"])
    return f"{written(cell['mean'])}{spread}{count}{mark}"


def _difference(ours: dict[str, Any] | None, paper: dict[str, Any] | None, head: Head) -> str:
    if ours is None or paper is None or (head.digits is None and not head.is_ratio):
        return DASH
    if head.is_ratio:
        return f"× {ours['mean'] / paper['mean']:.2g}"
    return f"{round(ours['mean'] - paper['mean'], head.digits or 0) + 0.0:+.{head.digits}f}"


def _scores(spec: Spec, results: Results) -> Iterator[Ours]:
    """Tables 4, 9 to 12: a row a method, or a number of kept entries; a column a task."""
    by_kept = spec.head == "kept"
    methods = ("sparsegrad",) if by_kept else ()
    for group, notes in paper_groups(results, spec.family, methods, any_share=by_kept):
        made = _plain_table(group)
        heads = [
            Head(c.task, f"{c.task}\n{metric_words(c.score_name)}", note=c.note or c.mark)
            for c in group.columns
            if c.task in GLUE and c is next(each for each in group.columns if each.task == c.task)
        ]
        heads.append(Head(AVG, "average"))
        found = Ours([], [heads], group_words(group), notes, run_caption(made) | AVERAGE)
        for row in made.rows:
            label = kept_label(row.runs.iloc[0].to_dict(), spec.number) if by_kept else row.method
            for column in group.columns if label else ():
                score, collapsed = made.score(row, column), column.of(row.runs)["single_class"].any()
                mark = COLLAPSED * bool(collapsed)
                found.add(label or "", column.task, score.times(100) if score else None, row.suffix, mark)
            if label:
                found.add(label, AVG, _paper_average(group, row), row.suffix)
        yield found


def _averages(spec: Spec, results: Results) -> Iterator[Ours]:
    """Table 5: a row a method, a column a model."""
    heads: dict[str, Head] = {}
    found = Ours([], [], caption=AVERAGE)
    for family in dict.fromkeys(cell.model for cell in paper_cells(5)):
        for group, _ in paper_groups(results, family):
            for row in _plain_table(group).rows:
                mean = _paper_average(group, row)
                found.add(row.method, family, mean, row.suffix)
                if mean is not None:
                    heads.setdefault(family, Head(family, family, note=group_words(group)))
    yield Ours(found.lines, [list(heads.values())], caption=AVERAGE)


def _chat(spec: Spec, results: Results) -> Iterator[Ours]:
    """Table 6: LLaMA-2 on OpenAssistant conversations."""
    for group, notes in paper_groups(results, spec.family):
        ratings, made = find_ratings(group, results.judgements), _plain_table(group)
        all_turns = group.first["loss_on"] == "all"
        turns = "" if all_turns else "ours: assistant's turns alone"
        gpt4 = bool(ratings) and ratings[0].config.judge_model.startswith("gpt-4")
        judge = f"ours: {ratings[0].name}" if ratings else ""
        heads = [
            Head("trainable_percent", "trained\n% of all", ".2f", "g", 2),
            Head("valid_loss", "validation\nloss", ".3f", "g", 3 if all_turns else None, note=turns),
            Head("judge_score", "judge's\nscore", ".3f", "g", 3 if gpt4 else None, note=judge),
        ]
        found = Ours([], [heads], group_words(group), notes, run_caption(made))
        for row in made.rows:
            share = known(100 * row.runs["trainable"].astype(float) / row.runs["total"].astype(float))
            found.add(row.method, "trainable_percent", MeanStd.over(share) if share else None, row.suffix)
            found.add(row.method, "valid_loss", made.score(row, group.columns[0]), row.suffix)
            rated = ratings[0].scores.get(row.label) if ratings else None
            found.add(row.method, "judge_score", rated, row.suffix)
        yield found


def _costs(spec: Spec, results: Results) -> Iterator[Ours]:
    """Tables 3, 7 and 8: steps per second and peak memory, by task or over all, in each padding measured."""
    measures = {"steps_per_second": ("steps_per_second", 1.0), "peak_memory": ("peak_memory_bytes", 1e-6)}
    if spec.number != 3:
        measures.pop("peak_memory" if spec.number == 7 else "steps_per_second")
    for benches in bench_groups(results.benches, spec.family):
        config = benches[0].config
        assert isinstance(config, BenchConfig)
        rows = [
            row.model_dump(include={"padding", "steps_per_second", "peak_memory_bytes"})
            | {"row": row.name, "task": bench.config.examples or RANDOM}
            for bench in benches
            if isinstance(bench.config, BenchConfig) and isinstance(bench.result, BenchResult)
            for row in bench.result.rows
            if row.status == "done"
        ]
        frame = pd.DataFrame(
            rows, columns=["row", "padding", "task", "steps_per_second", "peak_memory_bytes"]
        )
        paddings = [name for name in PADDINGS if name in set(frame["padding"])]
        found = Ours([], [[], []], f"{config.model}, {config.device}, {config.precision}")
        for what, (key, times) in measures.items():
            places = {
                padding: _places(spec, frame[frame["padding"] == padding].pivot_table(key, "row", "task"))
                for padding in paddings
            }
            for place in dict.fromkeys(place for of in places.values() for place in of):
                for padding in paddings:
                    values = (times * places[padding].get(place, pd.Series(dtype=float))).dropna()
                    note = PADDINGS[padding] if paddings != ["max"] else ""
                    _add_costs(found, place or what, values, what == "steps_per_second", padding, note)
        kind = " or ".join(
            sorted({RANDOM if task == RANDOM else "batches of each task" for task in frame["task"]})
        )
        found.caption["ran on"] = bench_machine(benches[0])
        found.caption["batches"] = (
            f"{config.batch_size} × {config.length}, {kind}; the paper's: means over GLUE"
        )
        found.caption["training"] = bench_training(config)
        yield found


def _places(spec: Spec, table: pd.DataFrame) -> dict[str, pd.Series]:
    """What of a frame of rows by tasks stands in a table: tasks, their mean where all are there."""
    tasks = [task for task in GLUE if task in table]
    mean = table[tasks].mean(axis=1, skipna=False)
    if spec.number != 3:
        return {task: table[task] for task in tasks} | ({AVG: mean} if len(tasks) == len(GLUE) else {})
    if len(tasks) == len(GLUE):
        return {"": mean}
    return {"": table[RANDOM]} if RANDOM in table else {}


def _add_costs(found: Ours, column: str, values: pd.Series, is_speed: bool, padding: str, note: str) -> None:
    """Adds a measure of each row, and what it is over full fine-tuning's, with a column for both."""
    if values.empty:
        return
    name, words = f"{column} {padding}", column.replace("_", " ")
    head = {"steps_per_second": "steps/s", "peak_memory": "peak\nMB", AVG: "average"}.get(column, column)
    form = ("3", "3") if is_speed else (",.0f", ",.0f")
    found.heads[0].append(Head(name, head, *form, None, note=note, beside=column))
    for row, value in values.items():
        found.add(str(row), name, float(value))
    if "ft" in values:
        over = Head(f"{name} vs ft", f"{words}\nvs ft", ".2f", ".2f", 2, note=note, beside=f"{column} vs ft")
        found.heads[1].append(over)
        for row, value in values.items():
            found.add(str(row), over.column, float(value / values["ft"]))


def _rates(spec: Spec, results: Results) -> Iterator[Ours]:
    """Tables 13 to 15: the best learning rates and batch sizes of our sweeps."""
    fit = []
    for read in results.sweeps:
        config = read.config
        run: dict[Any, Any] = {**config.template.model_dump(), **dict.fromkeys(config.space.parameters)}
        glue = KINDS[config.data.completeness] == "GLUE"
        if glue and same_model(config.model, spec.family) and not method_reason(run, spec.family):
            fit.append(read)
    for studies in group_studies(fit):
        tasks = [task for task in GLUE if any(read.config.task == task for read in studies)]
        rates = [Head(task, f"{task}\nlearning rate", ".2e", ".2e", is_ratio=True) for task in tasks]
        batches = [Head(f"{task} batch", f"{task}\nbatch size", "g", "g", is_ratio=True) for task in tasks]
        where = short_model(studies[0].config.model)
        found = Ours([], [rates, batches], where, caption=sweep_caption(studies))
        for read in studies:
            config, best = read.config, read.result.best
            for name, column in (("learning_rate", config.task), ("batch_size", f"{config.task} batch")):
                value = best.params.get(name) if best else None
                if isinstance(value, int | float):
                    found.add("all methods", column, float(value), config.method)
        yield found


def _parts(spec: Spec, results: Results) -> Iterator[Ours]:
    """Table 1: numbers of parameters."""
    names = {"full": "total", "mlp": "mlp", "embeddings": "embeddings", "attention": "attention"}
    millions = [Head(name, f"{name}\nmillions", ",.1f", ",g") for name in names]
    shares = [Head(f"{name} %", f"{name}\n%", ".1f", "g") for name in names if name != "full"]
    found = Ours([], [[*millions, *shares]])
    for counts in results.parts:
        parts, model = counts.result.parts, counts.config.model
        for family in {cell.model for cell in paper_cells(1) if same_model(model, cell.model)}:
            for column, name in names.items():
                found.add(family, column, getattr(parts, name) / 1e6, model)
                found.add(family, f"{column} %", 100 * getattr(parts, name) / parts.total, model)
    yield found


def group_words(group: Group) -> str:
    """Returns model, device and precision of a group."""
    return f"{group.first['model']}, {group.first['device']}, {group.first['precision']}"


def _plain_table(group: Group) -> GroupTable:
    return GroupTable(group, group.all_rows, Significance())


def _paper_average(group: Group, row: Row) -> MeanStd | None:
    """Over the paper's eight tasks, of the main metrics; of fewer it would be another number."""
    columns = [column for column in group.columns if column.task in GLUE]
    if sorted(column.task for column in columns) != sorted(GLUE):
        return None
    mean = average(row, columns, main_score)
    return mean.times(100) if mean else None


def _bench_row(cell: PaperCell) -> str | None:
    return BENCH_ROWS.get(cell.method or "", cell.method)


def _glue(number: int, title: str) -> Spec:
    return Spec(number, title, _scores, GLUE_SETTING.format(rank=RANKS[paper_cells(number)[0].model]))


def _searched(number: int, family: str) -> Spec:
    title = f"best learning rate and batch size, {family}"
    return Spec(number, title, _rates, RATE_SETTING, lambda cell: "all methods")


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
    *(_searched(number, family) for number, family in ((13, "bert-base"), (14, "roberta-base"))),
    _searched(15, "roberta-large"),
)
