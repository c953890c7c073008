"""Which runs stand for the paper's: those that train what it trains, on its data, by its protocol.

Shorter or otherwise cheaper training is let in, and said; another method or another score is not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ..bench.config import Bench, BenchConfig
from ..paper import PaperCell, paper_cells, same_model
from ..store.records import LOSS
from .caption import bench_machine
from .comparable import KINDS, Group, Run, glue_task, setting_words, split_groups
from .load import Results, records

CHAT = "llama-2-7b"  # its model of conversations
LENGTHS = {"epochs": 20, "length": 128, "patience": 5}  # of its training on GLUE
CHAT_LENGTHS = {"epochs": 1, "length": 512}
RANKS = {"bert-base": 7, "roberta-base": 7, "roberta-large": 10, CHAT: 32}
MATRIX = {
    "bert-base": 768 * 3072,
    "roberta-base": 768 * 3072,
    "roberta-large": 1024 * 4096,
    CHAT: 4096 * 11008,
}
ONE_PERCENT = (0.009, 0.012)  # the paper's 1% is 22,000 to 28,000 entries of a base model's matrix
CHAT_SHARE = 0.002
HOW_MEASURED = {"rows", "rounds", "steps", "burn_in", "seed", "calibration_steps"}
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
COST_SETTING = (
    "other machines have other speeds: only what is over ft's compares; batches padded to 128 tokens"
)
RATE_SETTING = "one learning rate and batch size for all methods"
PARTS_SETTING = (
    "mlp and attention: weights and biases of their linears; embeddings: of tokens, positions and types; "
    "full: with norms, an encoder's pooler, a decoder's output layer"
)
OF_TASK = {"task", "task_file", "data", "data_revision", "lengths", "model"}


def bench_groups(benches: Sequence[Bench], family: str) -> list[list[Bench]]:
    """Returns benchmarks of whole models in the paper's setting, those together that may be compared."""
    alike: dict[str, list[Bench]] = defaultdict(list)
    for bench in benches:
        config = bench.config
        if not isinstance(config, BenchConfig) or not same_model(config.model, family):
            continue
        cut = config.layers is not None or config.freeze_rest or config.basis_rank is not None
        share = kept_share({"density": config.density, "kept": config.kept}, family)
        is_papers = config.rank in (None, RANKS[family]) and (share is None or is_one_percent(share))
        if is_papers and not cut and config.data != "demo":
            shape = config.model_dump_json(exclude=OF_TASK | HOW_MEASURED)
            alike[f"{bench_machine(bench)} {shape}"].append(bench)
    return [found for _, found in sorted(alike.items())]


def paper_groups(
    results: Results, family: str, methods: Sequence[str] = (), any_share: bool = False
) -> Iterator[tuple[Group, list[str]]]:
    """Yields our runs of a model of the paper in groups, each with what a reader must know of it.

    Args:
        methods: these alone; empty: all.
        any_share: however many entries of the MLP matrices are kept.
    """
    runs = results.done
    if runs.empty:
        return
    is_chat = family == CHAT
    own = runs[[same_model(model, family) for model in runs["model"]]]
    own = own[own["score_name"].eq(LOSS).eq(is_chat)]
    own = own[own["method"].isin(methods)] if methods else own
    reasons = [run_reason(run, family, any_share) for run in records(own)]
    others = Counter(filter(None, reasons))
    for group in split_groups(own[[not why for why in reasons]]):
        notes, shorter = [], sum(map(is_shorter, records(group.runs)))
        if shorter:
            which = "All" if shorter == len(group.runs) else f"{shorter} of {len(group.runs)}"
            notes.append(f"{which} runs of ours are shorter than the paper's.")
        if others:
            words = ", ".join(f"{count} {why}" for why, count in sorted(others.items()))
            notes.append(f"Runs of this model in another setting, not shown: {words}.")
        yield group, notes


def run_reason(run: Run, family: str, any_share: bool = False) -> str:
    """Returns why a run is not in the paper's setting, in words; empty where it is."""
    is_chat, task = family == CHAT, glue_task(str(run["task"]))
    if is_chat and run["completeness"] != "complete":
        return "data that is not the whole release"
    if not is_chat and KINDS[str(run["completeness"])] != "GLUE":
        return "data that is not GLUE's"
    if task is not None and run["score_name"] != task.score_name:
        return f"scored by {run['score_name']}"
    if run["protocol"] != "paper":
        return f"{run['protocol']} protocol"
    return method_reason(run, family, any_share)


def method_reason(run: Run, family: str, any_share: bool = False) -> str:
    """Returns why what a run trains is not what the paper trains, in words; empty where it is."""
    method, is_chat = str(run["method"]), family == CHAT
    if method not in {cell.method for cell in paper_cells(10)}:
        return method
    wanted: dict[str, str | int | None] = {"blocks": "every:3" if is_chat else "all"}
    wanted |= {"sparse_learning_rate": None, "basis_rank": None}
    if not is_chat:
        wanted["freeze_rest"] = False
    if method == "lora":
        wanted["rank"] = RANKS[family]
    if method == "sparsegrad":
        wanted["mask"] = "dynamic"
    for name, value in wanted.items():
        if run.get(name) != value:
            return f"{method} {setting_words(name, run[name]) or f'{name} {run[name]}'}"
    share = kept_share(run, family)
    if share is None or any_share:
        return ""
    is_papers = round(share, 3) == CHAT_SHARE if is_chat else is_one_percent(share)
    return "" if is_papers else f"{method} keeping {100 * share:.3g}%"


def kept_share(run: Run, family: str) -> float | None:
    """Returns the share of each MLP matrix that a step trains; None where the method keeps none."""
    if run["density"] is not None:
        return float(run["density"])
    return int(run["kept"]) / MATRIX[family] if run["kept"] is not None else None


def kept_words(cell: PaperCell) -> str:
    return f"{cell.kept_entries:,} ({cell.kept_percent:g}%)" if cell.kept_entries else "all (100%)"


def kept_label(run: Run, number: int) -> str | None:
    """Returns the row of table 11 or 12 that keeps as many, to the digit that its percentage has."""
    for cell in paper_cells(number):
        same_share = run["density"] is not None and round(100 * run["density"], 1) == cell.kept_percent
        if same_share or (run["kept"] is not None and run["kept"] == cell.kept_entries):
            return kept_words(cell)
    return None


def is_one_percent(share: float) -> bool:
    return ONE_PERCENT[0] <= round(share, 4) <= ONE_PERCENT[1]


def is_shorter(run: Run) -> bool:
    """Returns whether a run trains for less than the paper's, or on shorter texts."""
    usual = CHAT_LENGTHS if run["score_name"] == LOSS else LENGTHS
    cut = run["max_steps"] is not None or run["max_train_examples"] is not None
    never_stops = {"patience"} if run["patience"] == 0 else set()
    return cut or any(
        float(run[name] or 0) < least for name, least in usual.items() if name not in never_stops
    )
