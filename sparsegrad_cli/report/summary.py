"""What was found, in sentences: one for each question that a group of runs answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .caption import PROTOCOLS
from .comparable import Row, tasks_words
from .run_tables import GroupTable
from .significance import AVERAGE, LEVEL, TYPICAL_STD, Comparison, detectable_difference
from .table import COLLAPSED, counted, listed, ratio


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
    verdicts = listed(_ordered_words(found, made))
    cost = _costs(made, subject)
    return f"{start}: {subject.label}{collapsed} is {verdicts}{f'; it runs {cost}' if cost else ''}."


def subject_of(made: GroupTable) -> Row:
    """Returns the row that the sentence is about: the first of sparsegrad, else the last."""
    rows = list(made.rows)
    fixed = made.fixed
    ours = [row for row in rows if row.method == "sparsegrad" and row.label != fixed]
    if fixed and any(each.subject == fixed for each in made.significance.comparisons):
        return next(row for row in rows if row.label == fixed)
    others = [row for row in rows if row.label != fixed]
    return (ours or others or rows)[0 if ours else -1]


def _ordered_words(found: Sequence[Comparison], made: GroupTable) -> list[str]:
    """What is significant first."""
    order = ("above", "below", "open", "one seed")
    ranked = sorted(found, key=lambda each: order.index(each.verdict))
    return [each.words(made.scale) for each in ranked]


def _costs(made: GroupTable, subject: Row) -> str:
    """Speed and memory over those of full fine-tuning, else of lora."""
    base = next((r for m in ("ft", "lora") for r in made.rows if r.method == m and r is not subject), None)
    if base is None:
        return ""
    ours, theirs = made.costs[subject.label], made.costs[base.label]
    words = []
    if ours.steps_per_second and theirs.steps_per_second:
        words.append(f"at {ratio(ours.steps_per_second / theirs.steps_per_second)} of {base.label}'s speed")
    if ours.peak_memory_bytes and theirs.peak_memory_bytes:
        start = "" if words else "at "
        whose = "its" if words else f"{base.label}'s"
        over = ratio(ours.peak_memory_bytes / theirs.peak_memory_bytes)
        words.append(f"{start}{over} of {whose} memory")
    return " and ".join(words)


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
        sizes = ", ".join(f"{n} seeds {detectable_difference(std, n) or 0.0:.1f}" for n in (3, 5, 10))
        unit = (
            f"{scale.unit}, with the spread that {made.columns[0].task} usually has"
            if usual
            else "standard deviations of the seeds' differences"
        )
        return f"One seed says nothing about other seeds. Differences that more would find: {sizes} {unit}."
    stds = [each.std for each in found if each.std is not None]
    pooled = math.sqrt(sum(value**2 for value in stds) / len(stds))
    size, more = (detectable_difference(pooled, n) or 0.0 for n in (seeds, 2 * seeds))
    return (
        f"With {seeds} seeds a difference of {scale.number(size)} {scale.unit} is found 8 times of 10 "
        f"(two-sided {LEVEL:.0%} t test, spread between seeds alone); with {2 * seeds}, {scale.number(more)}."
    )


def rate_sentences(made: GroupTable) -> list[str]:
    """Returns which rate each method did best at, of those that were tried, where that were several."""
    texts = []
    for column in made.columns:
        words = []
        for row in made.rows:
            choice = row.choices.get(column.name)
            if choice is not None and len(choice.rates) > 1:
                edge = " (the edge of what was tried)" if choice.at_edge else ""
                words.append(f"{row.label} at {choice.recipe[0]:g}{edge}")
        if words:
            rates = sorted({r for row in made.rows if (c := row.choices.get(column.name)) for r in c.rates})
            texts.append(
                f"On {column.name}, of {counted(len(rates), 'learning rate')} from {rates[0]:g} to "
                f"{rates[-1]:g}, the best on the split that selects is that of {', '.join(words)}."
            )
    return texts


def protocol_words(protocol: str) -> str:
    return f"{protocol}: {PROTOCOLS[protocol]}"
