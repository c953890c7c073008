"""What became of the trials: of each study in numbers, of each trial in a line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ...sweep.schema import Sweep, SweepResult, TrialRecord
from ..layout import Part
from ..numbers import DASH
from ..scale import scale_of
from .group import Group
from .params import SHORT, value_words

REASON = 64  # characters of a reason in a line; longer ones are told whole below
SUMMARY_LEGEND = {
    "to do": "waiting or running",
    "seconds": "of all trials, evaluations included",
}
LEGEND = {
    "score": "in parentheses the best evaluation of a trial that did not come to its end",
    "evals": "evaluations made",
}


def summary_parts(group: Group) -> list[Part]:
    """A row a study: its budget, how trials ended, the best of them."""
    labels = list(group.labelled)
    results = [study.sweep.result for study in group.labelled.values()]
    bests = [result.best for result in results]
    scales = [scale_of(study.sweep.config.score_name) for study in group.labelled.values()]
    scores = [best.score if best else None for best in bests]
    return [
        _part("study", labels),
        _part("asked", [str(result.asked) for result in results]),
        _part("complete", [str(result.count("complete")) for result in results]),
        _part("pruned", [str(result.count("pruned")) for result in results]),
        _part("diverged", [str(result.count("diverged")) for result in results]),
        _part("out of\nmemory", [str(result.count("out-of-memory")) for result in results]),
        _part("failed", [str(result.count("failed")) for result in results]),
        _part("to do", [str(max(0, result.asked - result.finished)) for result in results]),
        _part("seconds", [_seconds(result.trials) for result in results]),
        _part(
            "best",
            [
                DASH if score is None else scale.number(score)
                for score, scale in zip(scores, scales, strict=True)
            ],
        ),
        _part("of\ntrial", [str(best.number) if best else DASH for best in bests]),
    ]


def trial_parts(sweep: Sweep) -> list[Part]:
    """A row a trial that has begun."""
    trials = _begun(sweep.result)
    rest = dict.fromkeys(name for trial in trials for name in trial.params if name not in SHORT)
    names = [name for name in SHORT if any(name in trial.params for trial in trials)] + list(rest)
    return [
        _part("trial", [str(trial.number) for trial in trials]),
        _part("state", [trial.state for trial in trials], left=True),
        *(_part(name.replace("_", "\n"), [_value(trial, name) for trial in trials]) for name in names),
        _part("score", [_score(trial, sweep) for trial in trials]),
        _part("evals", [str(len(trial.evaluations)) for trial in trials]),
        _part("seconds", [_seconds([trial]) for trial in trials]),
        _part("reason", [textwrap.shorten(_reason(t), REASON, placeholder=" …") for t in trials], left=True),
    ]


def long_reasons(result: SweepResult) -> list[str]:
    """A text for each trial whose reason is too long for its line."""
    return [
        f"trial {trial.number}: {_reason(trial)}" for trial in _begun(result) if len(_reason(trial)) > REASON
    ]


def _part(head: str, texts: list[str], left: bool = False) -> Part:
    return Part(head.split("\n"), [[text] for text in texts], left=left)


def _begun(result: SweepResult) -> list[TrialRecord]:
    return [trial for trial in result.trials if trial.state != "waiting"]


def _seconds(trials: Sequence[TrialRecord]) -> str:
    known = [trial.seconds for trial in trials if trial.seconds is not None]
    return f"{sum(known):,.0f}" if known else DASH


def _value(trial: TrialRecord, name: str) -> str:
    return value_words(name, trial.params[name]) if name in trial.params else DASH


def _score(trial: TrialRecord, sweep: Sweep) -> str:
    scale = scale_of(sweep.config.score_name)
    if trial.score is not None:
        return scale.number(trial.score)
    best = sweep.result.better(trial.evaluations.values()) if trial.evaluations else None
    return DASH if best is None else f"({scale.number(best)})"


def _reason(trial: TrialRecord) -> str:
    words = [" ".join((trial.reason or "").split())]
    if trial.same_as is not None:
        words.append(f"same parameters as trial {trial.same_as}")
    if trial.attempts > 1:
        words.append(f"attempt {trial.attempts}")
    return "; ".join(word for word in words if word)
