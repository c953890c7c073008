"""The paper's tables beside ours: ours, what the paper prints, the difference, a line each.

A table is a `Spec`: its number, what its rows are, and the function that finds our numbers for it in long
form (`row`, `settings`, `column`, `mean`, ...). These are joined to the paper's numbers, in long form too
(`paper/tables.json`). Runs stand beside the paper only if they train what it trains, by its protocol;
shorter training is let in, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from ..bench.config import BenchConfig, BenchResult
from ..paper import GLUE, PaperCell, paper_cells, same_model
from .bench_tables import BENCH_ROWS
from .caption import bench_machine, bench_training, group_words, run_caption, sweep_caption
from .comparable import KINDS, Group, Row
from .load import Results
from .paper_beside import (
    ASIDE,
    BATCH,
    MEASURE,
    MEMORY,
    MILLIONS,
    PERCENT,
    RATE,
    RATIO,
    SCORE,
    SHARE,
    SPEED,
    Head,
    Ours,
    beside_table,
)
from .paper_setting import (
    CHAT_SETTING,
    COST_SETTING,
    GLUE_SETTING,
    KEPT_SETTING,
    PARTS_SETTING,
    RANKS,
    RATE_SETTING,
    bench_groups,
    chat_reason,
    groups_in,
    groups_of,
    is_shorter_chat,
    kept_share,
    method_reason,
)
from .ratings import find_ratings
from .run_tables import GroupTable, average, main_score
from .significance import Significance
from .sweep_tables import group_studies
from .table import (
    COLLAPSED,
    MeanStd,
    Section,
    counted,
    known,
    listed,
    marks_in,
    metric_words,
    short_model,
)

AVG = "avg"


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
    tables = [beside_table(spec.head, ours.frame, paper, heads) for heads in ours.heads]
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
    for group, notes in groups_of(results, spec.family, any_share=by_kept):
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
        for group, _ in groups_of(results, family):
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
    for group, notes in groups_in(chat, spec.family, chat_reason, is_shorter_chat):
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
    for benches in bench_groups(results.benches, spec.family):
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
        config = read.config
        searched: dict[str, Any] = dict.fromkeys(config.space.parameters)
        run: dict[Any, Any] = {**config.template.model_dump(), **searched}
        glue = KINDS[config.data.completeness] == "GLUE"
        if glue and same_model(config.model, spec.family) and not method_reason(run, spec.family):
            fit.append(read)
    for studies in group_studies(fit):
        lines = []
        for read in studies:
            config, best = read.config, read.result.best
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
        yield Ours(frame, heads, short_model(studies[0].config.model), caption=sweep_caption(studies))


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


def _plain_table(group: Group) -> GroupTable:
    return GroupTable(group, group.all_rows, Significance((), 0, ()))


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
