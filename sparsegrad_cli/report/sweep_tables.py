"""Sweeps as sections: the best parameters of each study, and what became of its trials."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..paper import paper_hyperparameters
from ..sweep.records import Sweep, SweepConfig, SweepResult, TrialRecord
from .caption import (
    sweep_caption,
)
from .comparable import KINDS
from .load import METHODS
from .table import (
    DASH,
    Figure,
    Section,
    counted,
    scale_of,
    short_model,
    table_of,
)

SHORT = {"learning_rate": "lr", "sparse_learning_rate": "sparse lr", "batch_size": "batch"}
REASON = 64  # characters of a trial's reason in its line


def group_studies(sweeps: Iterable[Sweep]) -> list[list[Sweep]]:
    """Splits studies into those that may be compared: as runs are, and selecting on the same examples."""
    found: dict[tuple[str, ...], list[Sweep]] = defaultdict(list)
    for read in sweeps:
        config, run = read.config, read.config.template
        shared = [run.model, KINDS[config.data.completeness], config.select_on, config.checkpoint]
        shared += [run.protocol, run.device, run.precision]
        if not config.greater_is_better:
            shared += [str(run.loss_on), str(run.chat_format), str(run.length)]
        found[tuple(map(str, shared))].append(read)
    return [_in_order(studies) for _, studies in sorted(found.items())]


def _in_order(studies: Sequence[Sweep]) -> list[Sweep]:
    def key(read: Sweep) -> tuple[Any, ...]:
        config = read.config
        known = METHODS.index(config.method) if config.method in METHODS else len(METHODS)
        return (config.task, known, config.method, config.study_id())

    return sorted(studies, key=key)


def sweep_sections(sweeps: Iterable[Sweep], trials: bool) -> list[Section]:
    """Returns a section for each group of studies: the best parameters and what became of the trials.

    Args:
        trials: with a section for each study that lists its trials, and its plot.
    """
    sections = []
    for studies in group_studies(sweeps):
        sections.append(_studies_section(studies))
        if trials:
            sections += [_trials_section(read) for read in studies]
    return sections


def _studies_section(studies: Sequence[Sweep]) -> Section:
    first = studies[0].config
    results = [read.result for read in studies]
    names = list(
        dict.fromkeys(name for result in results for name in (result.best.params if result.best else {}))
    )
    ordered = sorted(names, key=lambda name: list(SHORT).index(name) if name in SHORT else len(SHORT))
    columns = {
        "study": study_labels(studies),
        **{
            SHORT.get(n, n.replace("_", " ")): [_best_value(result, n) for result in results] for n in ordered
        },
        "best": [_best_score(read) for read in studies],
        "paper": [_paper_words(read.config) for read in studies],
        "asked": [str(result.asked) for result in results],
        "complete": [str(result.count("complete")) for result in results],
        "pruned": [str(result.count("pruned")) for result in results],
        "diverged": [str(result.count("diverged")) for result in results],
        "out of\nmemory": [str(result.count("out-of-memory")) for result in results],
        "failed": [str(result.count("failed")) for result in results],
        "to do": [str(max(0, result.asked - result.finished)) for result in results],
        "seconds": [_seconds(result.trials) for result in results],
    }
    if not any(text != DASH for text in columns["paper"]):
        del columns["paper"]
    caption = sweep_caption(studies)
    if "paper" in columns:
        caption["paper"] = "tables 13-15: one learning rate and batch size for all methods"
    tasks = list(dict.fromkeys(read.config.task for read in studies))
    return Section(
        title=f"Best parameters: {short_model(first.model)} on {', '.join(tasks)}",
        sentence=_studies_sentence(studies),
        tables=[table_of(columns)],
        notes=[
            f"{label}: no trial has come to its end yet."
            for label, result in zip(study_labels(studies), results, strict=True)
            if result.best is None
        ],
        caption=caption,
    )


def study_labels(studies: Sequence[Sweep]) -> list[str]:
    """Returns task and method of each study, with its id where several have the same."""
    labels = [f"{read.config.task} {read.config.method}" for read in studies]
    return [
        f"{label} {read.result.id[:6]}" if labels.count(label) > 1 else label
        for label, read in zip(labels, studies, strict=True)
    ]


def _studies_sentence(studies: Sequence[Sweep]) -> str:
    words = []
    for label, read in zip(study_labels(studies), studies, strict=True):
        best = read.result.best
        if best is not None:
            parameters = ", ".join(parameter_words(best.params))
            words.append(f"{label} did best ({_best_score(read)}) with {parameters}")
    return "; ".join(words) + "." if words else ""


def _trials_section(read: Sweep) -> Section:
    result, config = read.result, read.config
    begun = [trial for trial in result.trials if trial.state != "waiting"]
    names = list(dict.fromkeys(name for trial in begun for name in trial.params))
    ordered = sorted(names, key=lambda name: list(SHORT).index(name) if name in SHORT else len(SHORT))
    reasons = [_reason(trial) for trial in begun]
    columns: dict[str, Sequence[str]] = {
        "trial": [str(trial.number) for trial in begun],
        "state": [trial.state for trial in begun],
        **{
            SHORT.get(n, n.replace("_", " ")): [
                value_words(n, trial.params[n]) if n in trial.params else DASH for trial in begun
            ]
            for n in ordered
        },
        "score": [_trial_score(trial, read) for trial in begun],
        "evals": [str(len(trial.evaluations)) for trial in begun],
        "seconds": [_seconds([trial]) for trial in begun],
        "reason": [text if len(text) <= REASON else f"{text[: REASON - 2]} …" for text in reasons],
    }
    if not any(columns["reason"]):
        del columns["reason"]
    plot = Figure(f"the trials of {config.study_name()}", read.folder / "plot.png")
    states = ", ".join(f"{result.count(s)} {s}" for s in dict.fromkeys(t.state for t in begun))
    important = max(result.importances, key=lambda n: result.importances[n]) if result.importances else ""
    hint = f" The score hangs most on the {important.replace('_', ' ')}." if important else ""
    return Section(
        title=f"Trials: {config.study_name()}",
        sentence=f"{counted(len(begun), 'trial')}: {states}.{hint}",
        tables=[table_of(columns, left=("state", "reason"))],
        notes=[
            f"trial {trial.number}: {reason}"
            for trial, reason in zip(begun, reasons, strict=True)
            if len(reason) > REASON
        ],
        caption={"score": "in parentheses the best evaluation of a trial that did not come to its end"},
        figures=[plot] if plot.path.is_file() else [],
        is_listing=True,
    )


def parameter_words(params: Mapping[str, Any]) -> list[str]:
    """Returns `lr 3.05e-05`, `batch 16`, `density 0.012`; rate and batch size first."""
    ordered = sorted(params, key=lambda name: list(SHORT).index(name) if name in SHORT else len(SHORT))
    return [f"{SHORT.get(n, n.replace('_', '-'))} {value_words(n, params[n])}" for n in ordered]


def value_words(name: str, value: Any) -> str:
    """Returns a value alone: `3.05e-05`, `16`, `block`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("learning_rate"):
        return f"{value:.2e}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _best_value(result: SweepResult, name: str) -> str:
    params = result.best.params if result.best else {}
    return value_words(name, params[name]) if name in params else DASH


def _best_score(read: Sweep) -> str:
    best = read.result.best
    if best is None or best.score is None:
        return DASH
    return scale_of(read.config.score_name).number(best.score)


def _paper_words(config: SweepConfig) -> str:
    found = None
    if KINDS[config.data.completeness] == "GLUE":
        found = paper_hyperparameters(config.model, config.task)
    return DASH if found is None else f"{found[0]:.2e}, {found[1]}"


def _seconds(trials: Sequence[TrialRecord]) -> str:
    known = [trial.seconds for trial in trials if trial.seconds is not None]
    return f"{sum(known):,.0f}" if known else DASH


def _trial_score(trial: TrialRecord, read: Sweep) -> str:
    scale = scale_of(read.config.score_name)
    if trial.score is not None:
        return scale.number(trial.score)
    best = read.result.better(trial.evaluations.values()) if trial.evaluations else None
    return DASH if best is None else f"({scale.number(best)})"


def _reason(trial: TrialRecord) -> str:
    words = [" ".join((trial.reason or "").split())]
    if trial.same_as is not None:
        words.append(f"same parameters as trial {trial.same_as}")
    if trial.attempts > 1:
        words.append(f"attempt {trial.attempts}")
    return "; ".join(word for word in words if word)
