"""What was found, in sentences: one for each question that a group of runs answers."""

from __future__ import annotations

import math

from .comparable import Row, tasks_words
from .run_tables import GroupTable
from .significance import AVERAGE, LEVEL, TYPICAL_STD, Comparison, detectable_difference
from .table import COLLAPSED, counted, listed, ratio

VERDICTS = ("above", "below", "open", "one seed")  # what is significant first


def sentence(made: GroupTable, title: bool = True) -> str:
    """Returns what the group says of its question, in one sentence.

    Args:
        title: begin with what was run.
    """
    subject = subject_of(made)
    score = made.main_score(subject)
    over = list(made.group.average_over) if made.main == AVERAGE else []
    what = tasks_words(over or made.columns)
    seeds = counted(len(set(subject.runs["seed"])), "seed")
    start = f"{made.group.title} ({what}, {seeds})" if title else f"{what[0].upper()}{what[1:]}, {seeds}"
    if score is None:
        return f"{start}: {subject.label} has no score on all tasks to compare."
    found = [each for each in made.significance.main(made.main) if each.subject == subject.label]
    collapsed = COLLAPSED if subject.runs["single_class"].any() else ""
    if not found:
        return f"{start}: {subject.label} scores {made.scale.words(score)}{collapsed}."
    found.sort(key=lambda each: VERDICTS.index(each.verdict))
    verdicts = listed([each.words(made.scale) + _where_both(each, subject) for each in found])
    cost = _costs(made, subject)
    return f"{start}: {subject.label}{collapsed} is {verdicts}{f'; it runs {cost}' if cost else ''}."


def subject_of(made: GroupTable) -> Row:
    """Returns the row that the sentence is about: the first of sparsegrad, else the last."""
    if made.fixed and made.significance.is_subject:
        return next(row for row in made.rows if row.label == made.fixed)
    others = [row for row in made.rows if row.label != made.fixed] or list(made.rows)
    return next((row for row in others if row.method == "sparsegrad"), others[-1])


def _where_both(each: Comparison, subject: Row) -> str:
    """Returns over how many seeds a difference goes, where the other row lacks some of the subject's."""
    lacks_some = set(each.seeds) < set(subject.runs["seed"])
    return f" over the {counted(len(each.seeds), 'seed')} of both" if lacks_some else ""


def _costs(made: GroupTable, subject: Row) -> str:
    """Speed and memory over those of full fine-tuning, else of lora."""
    base = next((r for m in ("ft", "lora") for r in made.rows if r.method == m and r is not subject), None)
    if base is None:
        return ""
    ours, theirs = made.costs[subject.label], made.costs[base.label]
    whose, words = f"{base.label}'s", []
    for what, name in (("speed", "steps_per_second"), ("memory", "peak_memory_bytes")):
        one, other = getattr(ours, name), getattr(theirs, name)
        if one and other:
            words.append(f"{ratio(one / other)} of {whose} {what}")
            whose = "its"
    return f"at {' and '.join(words)}" if words else ""


def power_words(made: GroupTable) -> str:
    """Returns what difference these seeds could have shown; with one seed, what more seeds would show."""
    found = made.significance.main(made.main)
    if not found:
        return ""
    seeds = min(len(each.seeds) for each in found)
    scale = made.scale
    if seeds < 2:
        usual = TYPICAL_STD.get(made.columns[0].task) if len(made.columns) == 1 else None
        std = usual * math.sqrt(2) if usual else 1.0
        sizes = ", ".join(f"{n} seeds {detectable_difference(std, n):.1f}" for n in (3, 5, 10))
        unit = "standard deviations of the seeds' differences"
        if usual:
            unit = f"{scale.unit}, with the spread that {made.columns[0].task} usually has"
        return f"One seed says nothing about other seeds. Differences that more would find: {sizes} {unit}."
    stds = [each.std for each in found if each.std is not None]
    pooled = math.sqrt(sum(value**2 for value in stds) / len(stds))
    size, more = (detectable_difference(pooled, n) for n in (seeds, 2 * seeds))
    return (
        f"With {seeds} seeds a difference of {scale.number(size)} {scale.unit} is found 8 times of 10 "
        f"(two-sided {LEVEL:.0%} t test, spread between seeds alone); with {2 * seeds}, {scale.number(more)}."
    )


def rate_sentences(made: GroupTable) -> list[str]:
    """Returns which rate each method did best at, of those that were tried, where that were several."""
    texts = []
    for column in made.columns:
        choices = {row.label: row.choices[column.name] for row in made.rows if column.name in row.choices}
        words = [
            f"{label} at {choice.recipe[0]:g}{' (the edge of what was tried)' * choice.at_edge}"
            for label, choice in choices.items()
            if len(choice.rates) > 1
        ]
        if words:
            rates = sorted({rate for choice in choices.values() for rate in choice.rates})
            texts.append(
                f"On {column.name}, of {counted(len(rates), 'learning rate')} from {rates[0]:g} to "
                f"{rates[-1]:g}, the best on the split that selects is that of {', '.join(words)}."
            )
    return texts


def setting_sentence(made: GroupTable) -> str:
    """Returns which settings of one method differ from the reference in the first row."""
    found = [each for each in made.significance.comparisons if each.verdict in ("above", "below")]
    if found:
        return f"{'; '.join(f'{e.subject} is {e.words(made.scale)} on {e.task}' for e in found)}."
    if made.significance.comparisons:
        return "No setting is shown to differ from the reference in the first row."
    return "Nothing to compare."
