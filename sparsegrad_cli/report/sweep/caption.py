"""What stands over and under a table of studies: what was searched, on what, and what scores are worth."""

from __future__ import annotations

from collections.abc import Callable

from ...config import RunConfig
from ...sweep.schema import SweepConfig
from ..bench.caption import counted
from ..caption import (
    code_words,
    data_words,
    machine_words,
    method_words,
    short_identity,
    subject,
    training_words,
)
from ..chat.caption import FORMATS, TURNS, chat_training
from ..numbers import metric_words
from .best import has_paper
from .group import Group
from .params import is_papers, space_words
from .trials import SUMMARY_LEGEND

DEV = {"paper": "dev", "heldout": "one half of dev"}


def sweep_title(group: Group) -> str:
    """Model, tasks, and what selects."""
    config = group.config
    return (
        f"best parameters: {subject(config.model, group.kind, group.columns)}, selected on {examples(config)}"
    )


def sweep_caption(group: Group) -> dict[str, str]:
    """Named texts; what differs between studies is told of each."""
    known = group.frame[group.frame["known"]]
    first = group.config.template
    aim = "maximised" if group.config.greater_is_better else "minimised"
    told = {
        aim: f"{_told(group, _metric)}, at a trial's best evaluation",
        "selected on": _selected(group),
        "space": _told(group, _space),
        "search": _told(group, search_words),
        "paper": "tables 13-15: one learning rate and batch size for all methods" if has_paper(group) else "",
        "training": training_words(group.frame) if first.loss_on is None else chat_training(group.frame),
        "methods": method_words(group.frame),
        "tokens": "" if first.loss_on is None else token_words(first),
        "data": data_words(group.columns),
        "checkpoint": f"{first.model}, {short_identity(group.config.checkpoint)}",
        "ran on": f"{first.device}, {first.precision}" if known.empty else machine_words(known),
        "code": "" if known.empty else code_words(known),
        **SUMMARY_LEGEND,
    }
    return {name: text for name, text in told.items() if text}


def examples(config: SweepConfig) -> str:
    """What the scores are of."""
    return "a part of train" if config.select_on == "holdout" else DEV[config.template.protocol]


def search_words(config: SweepConfig) -> str:
    """Sampler and pruner."""
    pruner = "no pruner" if config.pruner == "none" else f"{config.pruner} pruner"
    return f"TPE, seed {config.template.seed}, {pruner}"


def token_words(run: RunConfig) -> str:
    """What the loss of a chat task is over."""
    turns, form = TURNS[run.loss_on or "all"], FORMATS[run.chat_format or "own"]
    return f"the loss is over {turns}, in nats a token; {form}, packed to {run.length}"


def _metric(config: SweepConfig) -> str:
    return metric_words(config.score_name)


def _space(config: SweepConfig) -> str:
    papers = " (the paper's)" if is_papers(config.space) else ""
    return f"{', '.join(space_words(config).values())}{papers}"


def _selected(group: Group) -> str:
    """What the scores are of, and what that makes of them."""
    counts = {study.sweep.result.finished for study in group.labelled.values()}
    best = f"the best of {'up to ' if len(counts) > 1 else ''}{counted(max(counts), 'trial')}"
    config, protocol = group.config, group.config.template.protocol
    if config.select_on == "holdout":
        return f"a tenth of train at most, held out: dev was not looked at; shown is {best}"
    rest = ", the other half was not looked at" if protocol == "heldout" else ""
    what = f"{examples(config)} selects{rest} ({protocol} protocol)"
    return f"{what}: scores are optimistic, since {best} on it is shown"


def _told(group: Group, words: Callable[[SweepConfig], str]) -> str:
    """One text where it holds for all studies; else each after the tasks, methods or studies it holds for."""
    studies = group.labelled
    for name in (
        lambda label: "",
        lambda label: studies[label].sweep.config.task,
        lambda label: studies[label].sweep.config.method,
        lambda label: label,
    ):
        by_name: dict[str, set[str]] = {}
        for label, study in studies.items():
            by_name.setdefault(name(label), set()).add(words(study.sweep.config))
        if all(len(texts) == 1 for texts in by_name.values()):
            break
    by_text: dict[str, list[str]] = {}
    for called, (text,) in by_name.items():
        by_text.setdefault(text, []).append(called)
    return "; ".join(f"{', '.join(names)}: {text}".removeprefix(": ") for text, names in by_text.items())
