"""Which runs stand for the paper's: those that train what it trains, on its data, by its protocol.

Shorter or otherwise cheaper training is let in, and said; another method or another score is not.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from ..bench.config import Bench, BenchConfig
from ..paper import same_model
from ..tasks import get_task, task_names
from .caption import device_words
from .comparable import KINDS, Group, Run, split_groups
from .load import METHODS, Results

EPOCHS, LENGTH, PATIENCE = 20, 128, 5
CHAT_BLOCKS, CHAT_LENGTH, CHAT_SHARE = "every:3", 512, 0.002
GLUE_SETTING = (
    "all but the MLP matrices trained in full; lora rank {rank}; meprop and sparsegrad about 1% of each MLP "
    "matrix at a step, chosen anew at each; on dev, over 3 seeds"
)
KEPT_SETTING = (
    "as many entries of each MLP matrix at a step, chosen anew at each, and all else; its numbers at 100% "
    "are those of SparseGrad in the table of all tasks, not of full fine-tuning; ours has density 1; the "
    "authors' code keeps about twice as many, since its threshold is the k-th largest signed value"
)
CHAT_SETTING = (
    "up_proj and down_proj of every third block, all else frozen; lora rank 32; meprop and sparsegrad "
    "100,000 entries (0.2%) of each matrix at a step; one epoch, bfloat16; its code counts all turns in the "
    "loss; its judge is GPT-4 on MT-Bench"
)
COST_SETTING = "other machines have other speeds: only what is over ft's compares"
RATE_SETTING = "one learning rate and batch size for all methods"
PARTS_SETTING = (
    "mlp and attention: weights and biases of their linears; embeddings: of tokens, positions and types; "
    "full: with norms, an encoder's pooler, a decoder's output layer"
)
RANKS = {"bert-base": 7, "roberta-base": 7, "roberta-large": 10, "llama-2-7b": 32}
MATRIX = {  # entries of an MLP matrix
    **{"bert-base": 768 * 3072, "roberta-base": 768 * 3072},
    **{"roberta-large": 1024 * 4096, "llama-2-7b": 4096 * 11008},
}
ONE_PERCENT = (0.009, 0.012)  # the paper's 1% is 22,000 to 28,000 entries of a base model's matrix
HOW_MEASURED = {"rows", "rounds", "steps", "burn_in", "seed", "calibration_steps"}
OF_TASK = {"task", "data", "data_revision", "model"}


def bench_groups(benches: Sequence[Bench], family: str) -> list[list[Bench]]:
    """Benchmarks of whole models in the paper's setting, those together that may be compared."""
    alike: dict[str, list[Bench]] = defaultdict(list)
    for bench in benches:
        config = bench.config
        if not isinstance(config, BenchConfig):
            continue
        share = kept_share({"density": config.density, "kept": config.kept}, family)
        if (
            same_model(config.model, family)
            and config.layers is None
            and not config.freeze_rest
            and config.basis_rank is None
            and config.data != "demo"
            and config.rank in (None, RANKS[family])
            and (share is None or is_one_percent(share))
        ):
            shape = config.model_dump(exclude=OF_TASK | HOW_MEASURED)
            machine = device_words(bench.environment, config.device)
            alike[json.dumps([machine, shape], sort_keys=True)].append(bench)
    return [found for _, found in sorted(alike.items())]


def groups_of(results: Results, family: str, any_share: bool = False) -> Iterator[tuple[Group, list[str]]]:
    """Our runs on GLUE of a model of the paper, in groups, each with what a reader must know of it."""
    runs = results.done
    if any_share and len(runs):
        runs = runs[runs["method"] == "sparsegrad"]
    scored = runs[runs["score_name"].ne("loss")] if len(runs) else runs
    yield from groups_in(scored, family, lambda run, f: run_reason(run, f, any_share), is_shorter)


def groups_in(
    runs: pd.DataFrame,
    family: str,
    reason: Callable[[Run, str], str],
    is_shorter: Callable[[Run], bool],
) -> Iterator[tuple[Group, list[str]]]:
    if runs.empty:
        return
    own = runs[[same_model(model, family) for model in runs["model"]]]
    reasons = [reason(run, family) for run in own.to_dict("records")]
    fit = own[[not why for why in reasons]]
    others = Counter(filter(None, reasons))
    for group in split_groups(fit):
        notes, records = [], group.runs.to_dict("records")
        if short := sum(map(is_shorter, records)):
            which = "All" if short == len(records) else f"{short} of {len(records)}"
            notes.append(f"{which} runs of ours are shorter than the paper's.")
        if others:
            words = ", ".join(f"{count} {why}" for why, count in sorted(others.items()))
            notes.append(f"Runs of this model in another setting, not shown: {words}.")
        yield group, notes


def run_reason(run: Run, family: str, any_share: bool) -> str:
    """Returns why a run is not in the paper's setting, in words; empty where it is."""
    if KINDS[str(run["completeness"])] != "GLUE":
        return "data that is not GLUE's"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    if run["task"] in task_names() and run["score_name"] != get_task(str(run["task"])).score_name:
        return f"scored by {run['score_name']}"
    if run["freeze_rest"]:
        return "freeze-rest"
    return method_reason(run, family, any_share)


def method_reason(run: Run, family: str, any_share: bool = False) -> str:
    """Returns why what a run trains is not what the paper trains, in words; empty where it is.

    Args:
        any_share: however many entries of the MLP matrices are kept.
    """
    method = str(run["method"])
    mask = run.get("mask")
    if method not in METHODS:
        return method
    if run["freeze_rest"] and family != "llama-2-7b":
        return "freeze-rest"
    if method == "lora" and run["rank"] != RANKS.get(family):
        return f"lora rank {run['rank']}"
    if method == "sparsegrad" and mask != "dynamic":
        return f"sparsegrad mask {mask}"
    if run.get("sparse_learning_rate") is not None:
        return f"{method} with a sparse-learning-rate"
    if run.get("basis_rank") is not None:
        return f"{method} basis-rank {run['basis_rank']}"
    share = kept_share(run, family)
    if share is not None and not any_share and not is_one_percent(share):
        return f"{method} keeping {100 * share:.3g}%"
    return ""


def chat_reason(run: Run, family: str) -> str:
    if run["completeness"] != "complete":
        return "data that is not the whole release"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    if run["blocks"] != CHAT_BLOCKS:
        return f"blocks {run['blocks'] or 'all'}"
    share = kept_share(run, family)
    if share is not None and round(share, 3) != CHAT_SHARE:
        return f"{run['method']} keeping {100 * share:.2g}%"
    return method_reason(run, family, any_share=True)


def kept_share(run: Run, family: str) -> float | None:
    """Returns the share of each MLP matrix that a step trains; None where the method keeps none."""
    if run["density"] is not None:
        return float(run["density"])
    return int(run["kept"]) / MATRIX[family] if run["kept"] is not None else None


def is_one_percent(share: float) -> bool:
    return ONE_PERCENT[0] <= round(share, 4) <= ONE_PERCENT[1]


def is_shorter(run: Run) -> bool:
    cut = run["max_steps"] is not None or run["max_train_examples"] is not None
    short = float(run["epochs"] or 0) < EPOCHS or int(run["length"] or 0) < LENGTH
    return cut or short or 0 < int(run["patience"] or 0) < PATIENCE


def is_shorter_chat(run: Run) -> bool:
    cut = run["max_steps"] is not None or run["max_train_examples"] is not None
    return cut or float(run["epochs"] or 0) < 1 or int(run["length"] or 0) < CHAT_LENGTH
