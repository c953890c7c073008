"""Which runs stand for the paper's: those that train what it trains, on GLUE, by its protocol.

Shorter or otherwise cheaper training is let in, and told; another method or another score is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from ...paper import same_model
from ...tasks import get_task, task_names
from ..build import KINDS
from ..rows import METHODS, Setting

EPOCHS, LENGTH, PATIENCE = 20, 128, 5
RANKS = {"bert-base": 7, "roberta-base": 7, "roberta-large": 10, "llama-2-7b": 32}
MATRIX = {  # entries
    "bert-base": 768 * 3072,
    "roberta-base": 768 * 3072,
    "roberta-large": 1024 * 4096,
    "llama-2-7b": 4096 * 11008,
}
SHARES = (0.009, 0.012)  # kept of each MLP matrix
FULL = f"{EPOCHS} epochs at most, every training example, {LENGTH} tokens"


def of_family(runs: pd.DataFrame, family: str) -> pd.DataFrame:
    """The runs of a model of the paper."""
    return runs if runs.empty else runs[[same_model(model, family) for model in runs["model"]]]


def split_by_setting(
    runs: pd.DataFrame, family: str, any_share: bool = False
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The runs of a model that are in the paper's setting, and how many are not: why -> runs."""
    own = of_family(runs, family)
    reasons = [run_reason(run, family, any_share) for run in own.to_dict("records")]
    return own[[not reason for reason in reasons]], dict(Counter(filter(None, reasons)))


def run_reason(run: Mapping[str, Setting], family: str, any_share: bool) -> str:
    """Why a run is not in the paper's setting, in words; empty where it is."""
    if KINDS[str(run["completeness"])] != "GLUE":
        return "data that is not GLUE's"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    if run["task"] in task_names() and run["score_name"] != get_task(str(run["task"])).score_name:
        return f"scored by {run['score_name']}"
    return method_reason(run, family, any_share)


def method_reason(run: Mapping[str, Setting], family: str, any_share: bool = False) -> str:
    """Why what a run trains is not what the paper trains, in words; empty where it is.

    Args:
        any_share: however many entries of the MLP matrices are kept.
    """
    method = str(run["method"])
    if method not in METHODS:
        return method
    if run["freeze_rest"]:
        return "freeze-rest"
    if method == "lora" and run["rank"] != RANKS.get(family):
        return f"lora rank {run['rank']}"
    if method == "sparsegrad" and run["support"] != "dynamic":
        return f"sparsegrad support {run['support']}"
    if run.get("sparse_learning_rate") is not None:
        return f"{method} with a sparse-learning-rate"
    if run.get("basis_rank") is not None:
        return f"{method} basis-rank {run['basis_rank']}"
    share = kept_share(run, family)
    if share is not None and not any_share and not is_one_percent(share):
        return f"{method} keeping {100 * share:.3g}%"
    return ""


def kept_share(run: Mapping[str, Setting], family: str) -> float | None:
    """Of each MLP matrix, at a step; None where the method keeps none."""
    if run["density"] is not None:
        return float(run["density"])
    return int(run["kept"]) / MATRIX[family] if run["kept"] is not None else None


def setting_words(family: str) -> str:
    """What the paper trains by each method."""
    return (
        f"all but the MLP matrices trained in full; lora rank {RANKS[family]}; meprop and sparsegrad about "
        "1% of each MLP matrix at a step, chosen anew at each"
    )


def is_one_percent(share: float) -> bool:
    """As the paper counts, whose 1% is 22,000 to 28,000 entries of a base model's matrix."""
    return SHARES[0] <= round(share, 4) <= SHARES[1]


def setting_notes(fit: pd.DataFrame, others: Mapping[str, int]) -> tuple[str, ...]:
    """What a reader must know of the runs that are shown, and of those that are not."""
    found = []
    if short := sum(map(_is_shorter, fit.to_dict("records"))):
        which = "All" if short == len(fit) else f"{short} of {len(fit)}"
        found.append(f"{which} runs of ours are shorter than the paper's, which have {FULL}.")
    if others:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(others.items()))
        found.append(f"Runs of this model in another setting, not shown: {told}.")
    return tuple(found)


def _is_shorter(run: Mapping[str, Setting]) -> bool:
    steps = run["max_steps"] is not None
    return (
        steps
        or run["max_train_examples"] is not None
        or float(run["epochs"] or 0) < EPOCHS
        or int(run["length"] or 0) < LENGTH
        or 0 < int(run["patience"] or 0) < PATIENCE
    )
