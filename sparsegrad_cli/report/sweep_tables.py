"""Sweeps as sections: the best parameters of each study, and what became of its trials."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from ..methods import order_and_colour
from ..paper import paper_hyperparameters
from ..sweep.records import Sweep, TrialRecord
from .caption import sweep_caption
from .comparable import KINDS
from .table import (
    DASH,
    Columns,
    Figure,
    Section,
    Table,
    counted,
    listed,
    records_table,
    scale_of,
    short_model,
)

SHORT = {"learning_rate": "lr", "sparse_learning_rate": "sparse lr", "batch_size": "batch"}
REASON = 64  # characters of a trial's reason in its line


def group_studies(sweeps: Iterable[Sweep]) -> list[list[Sweep]]:
    """Splits studies into those that may be compared: as runs are, and selecting on the same examples."""

    def order(read: Sweep) -> tuple[Any, ...]:
        config = read.config
        return config.task, order_and_colour(config.method), config.method, config.study_id()

    found: dict[tuple[str, ...], list[Sweep]] = defaultdict(list)
    for read in sweeps:
        config, run = read.config, read.config.template
        shared = [run.model, KINDS[config.data.completeness], config.select_on, config.checkpoint]
        shared += [run.protocol, run.device, run.precision]
        if not config.greater_is_better:
            shared += [str(run.loss_on), str(run.chat_format), str(run.length)]
        found[tuple(map(str, shared))].append(read)
    return [sorted(studies, key=order) for _, studies in sorted(found.items())]


def sweep_sections(sweeps: Iterable[Sweep], trials: bool) -> list[Section]:
    """Returns a section for each group of studies: the best parameters and what became of the trials.

    Args:
        trials: with a section for each study that lists its trials, and its plot.
    """
    sections = []
    for studies in group_studies(sweeps):
        sections.append(_studies_section(studies))
        sections += [_trials_section(read) for read in studies if trials]
    return sections


def _studies_section(studies: Sequence[Sweep]) -> Section:
    first = studies[0].config
    labels = _study_labels(studies)
    bests = {label: read.result.best for label, read in labels.items()}
    words = [
        f"{label} did best ({_best_score(labels[label])}) with {', '.join(parameter_words(best.params))}"
        for label, best in bests.items()
        if best is not None
    ]

    def best_of(name: str, label: str) -> str:
        best = bests[label]
        return value_words(name, best.params[name]) if best and name in best.params else DASH

    def count(state: Any, label: str) -> str:
        return str(labels[label].result.count(state))

    def to_do(label: str) -> str:
        result = labels[label].result
        return str(max(0, result.asked - result.finished))

    names = _ordered(name for best in bests.values() if best for name in best.params)
    columns: Columns = [
        ("study", str),
        *((SHORT.get(name, name.replace("_", " ")), partial(best_of, name)) for name in names),
        ("best", lambda label: _best_score(labels[label])),
        ("paper", lambda label: _paper_words(labels[label])),
        ("asked", lambda label: str(labels[label].result.asked)),
        *((state, partial(count, state)) for state in ("complete", "pruned", "diverged")),
        ("out of\nmemory", partial(count, "out-of-memory")),
        ("failed", partial(count, "failed")),
        ("to do", to_do),
        ("seconds", lambda label: _seconds(labels[label].result.trials)),
    ]
    table = records_table(list(labels), columns)
    has_paper = any(column.head == "paper" for column in table.columns)
    note = {"paper": "tables 13-15: one learning rate and batch size for all methods"} if has_paper else {}
    return Section(
        title=f"Best parameters: {short_model(first.model)} on "
        f"{', '.join(dict.fromkeys(read.config.task for read in studies))}",
        sentence=f"{'; '.join(words)}." if words else "",
        tables=[table],
        notes=[
            f"{label}: no trial has come to its end yet." for label, best in bests.items() if best is None
        ],
        caption=sweep_caption(studies) | note,
    )


def _study_labels(studies: Sequence[Sweep]) -> dict[str, Sweep]:
    """Task and method of each study, with its id where several have the same."""
    labels = [f"{read.config.task} {read.config.method}" for read in studies]
    times = Counter(labels)
    return {
        f"{label} {read.result.id[:6]}" if times[label] > 1 else label: read
        for label, read in zip(labels, studies, strict=True)
    }


def _trials_section(read: Sweep) -> Section:
    """The trials of a study that were begun."""
    config, result = read.config, read.result
    begun = [trial for trial in result.trials if trial.state != "waiting"]
    states = Counter(trial.state for trial in begun)
    important = max(result.importances, key=lambda n: result.importances[n], default="")
    hint = f" The score hangs most on the {important.replace('_', ' ')}." if important else ""
    plot = Figure("The study's trials", read.folder / "plot.png")
    return Section(
        title=f"Trials: {config.study_name()}",
        sentence=f"{counted(len(begun), 'trial')}: {listed([f'{n} {s}' for s, n in states.items()])}.{hint}",
        tables=[_trial_table(read, begun)],
        notes=[f"trial {t.number}: {reason}" for t in begun if len(reason := _reason(t)) > REASON],
        caption={"score": "in parentheses the best evaluation of a trial that did not come to its end"},
        figures=[plot] if plot.path.is_file() else [],
        is_listing=True,
    )


def _trial_table(read: Sweep, begun: Sequence[TrialRecord]) -> Table:
    def value_of(name: str, trial: TrialRecord) -> str:
        return value_words(name, trial.params[name]) if name in trial.params else DASH

    def score(trial: TrialRecord) -> str:
        scale = scale_of(read.config.score_name)
        if trial.score is not None:
            return scale.number(trial.score)
        if not trial.evaluations:
            return DASH
        return f"({scale.number(read.result.better(trial.evaluations.values()))})"

    def short_reason(trial: TrialRecord) -> str:
        text = _reason(trial)
        return text if len(text) <= REASON else f"{text[: REASON - 2]} …"

    columns: Columns = [
        ("trial", lambda trial: str(trial.number)),
        ("state", lambda trial: trial.state),
        *(
            (SHORT.get(name, name.replace("_", " ")), partial(value_of, name))
            for name in _ordered(name for trial in begun for name in trial.params)
        ),
        ("score", score),
        ("evals", lambda trial: str(len(trial.evaluations))),
        ("seconds", lambda trial: _seconds([trial])),
        ("reason", short_reason),
    ]
    return records_table(begun, columns, left=("state", "reason"))


def parameter_words(params: dict[str, Any]) -> list[str]:
    """Returns `lr 3.05e-05`, `batch 16`, `density 0.012`; rate and batch size first."""
    return [f"{SHORT.get(n, n.replace('_', '-'))} {value_words(n, params[n])}" for n in _ordered(params)]


def value_words(name: str, value: Any) -> str:
    """Returns a value alone: `3.05e-05`, `16`, `block`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("learning_rate"):
        return f"{value:.2e}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ordered(names: Iterable[str]) -> list[str]:
    """Names of parameters, each once; rate and batch size first."""
    return sorted(dict.fromkeys(names), key=lambda name: list(SHORT).index(name) if name in SHORT else 9)


def _best_score(read: Sweep) -> str:
    best = read.result.best
    if best is None or best.score is None:
        return DASH
    return scale_of(read.config.score_name).number(best.score)


def _paper_words(read: Sweep) -> str:
    config, found = read.config, None
    if KINDS[config.data.completeness] == "GLUE":
        found = paper_hyperparameters(config.model, config.task)
    return DASH if found is None else f"{found[0]:.2e}, {found[1]}"


def _seconds(trials: Sequence[TrialRecord]) -> str:
    known = [trial.seconds for trial in trials if trial.seconds is not None]
    return f"{sum(known):,.0f}" if known else DASH


def _reason(trial: TrialRecord) -> str:
    words = [
        " ".join((trial.reason or "").split()),
        "" if trial.same_as is None else f"same parameters as trial {trial.same_as}",
        f"attempt {trial.attempts}" if trial.attempts > 1 else "",
    ]
    return "; ".join(filter(None, words))
