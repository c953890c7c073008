"""What runs predicted, of the split that gives the score, example beside example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

FILE = "predictions.parquet"
LABELLED, LOSSES = ("label", "prediction"), ("tokens", "loss")  # columns


@dataclass(frozen=True)
class Predictions:
    """Of several runs on the same examples; of a loss, each example's tokens that count and loss."""

    labels: np.ndarray  # examples
    predictions: np.ndarray  # examples x runs
    place: dict[Path, int]  # folder of a run -> its column
    missing: dict[Path, str]  # folder of a run that has no column -> why


def read_predictions(folders: Iterable[Path], is_loss: bool = False) -> Predictions:
    """Of runs that stand in one column of a table; a run without them is told, not refused.

    Args:
        is_loss: whether the runs are scored by the loss on their examples.
    """
    found: dict[Path, pd.DataFrame] = {}
    missing: dict[Path, str] = {}
    for folder in folders:
        try:
            found[folder] = _scored(folder, *(LOSSES if is_loss else LABELLED))
        except FileNotFoundError:
            missing[folder] = f"no {FILE}"
        except (OSError, pyarrow.ArrowInvalid):
            missing[folder] = f"{FILE} cannot be read"
    examples = {folder: rows[["idx", "label"]].to_numpy(float).tobytes() for folder, rows in found.items()}
    usual = max(examples.values(), key=Counter(examples.values()).get, default=b"")
    missing |= {folder: f"{FILE} of other examples" for folder in found if examples[folder] != usual}
    same = [folder for folder in found if examples[folder] == usual]
    if not same:
        return Predictions(np.empty(0), np.empty((0, 0)), {}, missing)
    return Predictions(
        labels=found[same[0]]["label"].to_numpy(float),
        predictions=np.column_stack([found[folder]["prediction"].to_numpy(float) for folder in same]),
        place={folder: column for column, folder in enumerate(same)},
        missing=missing,
    )


def read_classes(folder: Path) -> int:
    """How many classes a run told apart."""
    return len(pd.read_parquet(folder / FILE, columns=["logits"])["logits"].iloc[0])


def _scored(folder: Path, label: str, prediction: str) -> pd.DataFrame:
    """The examples of the first split, which gives the score, in the order of their `idx`."""
    examples = pd.read_parquet(folder / FILE, columns=["split", "idx", label, prediction])
    scored = examples[examples["split"] == examples["split"].iloc[0]]
    scored = scored.rename(columns={label: "label", prediction: "prediction"})
    return scored.sort_values("idx", ignore_index=True)
