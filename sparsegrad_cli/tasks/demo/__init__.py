"""Small synthetic English versions of the nine GLUE tasks, made from a seed.

The splits of a task share their grammar and hardly a noun or name, so that a score on the dev split says what
was learned and not what was seen.
"""

from __future__ import annotations

DEMO_ROWS: dict[str, dict[str, int]] = {
    "cola": {"train": 1600, "validation": 400},
    "sst2": {"train": 1200, "validation": 300},
    "mrpc": {"train": 1600, "validation": 300},
    "stsb": {"train": 1600, "validation": 300},
    "qqp": {"train": 1600, "validation": 300},
    "mnli": {"train": 1600, "validation_matched": 300, "validation_mismatched": 300},
    "qnli": {"train": 1600, "validation": 300},
    "rte": {"train": 1600, "validation": 300},
    "wnli": {"train": 1200, "validation": 200},
}


def demo_rows(task: str, split: str, seed: int = 0) -> list[dict[str, str | int | float]]:
    """The rows of one split: `idx`, the text columns of GLUE, and `label`.

    Args:
        task: a key of `DEMO_ROWS`.
        split: a key of `DEMO_ROWS[task]`.
        seed: equal seeds give equal rows on every machine.

    Returns:
        As many rows as `DEMO_ROWS` says, no two with the same texts.
    """
    from .makers import make_rows

    return make_rows(task, split, seed, DEMO_ROWS[task][split])
