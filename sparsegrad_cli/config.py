"""Every setting of a run, declared once; imports neither torch nor transformers, so that `--help` is quick.

A setting is a field of `RunConfig`: type, bounds, help, the defaults of each kind of task, whether it is part
of the run's id and whether a sweep may search it. The options of the commands, the keys of an experiment's
YAML, of a search space and of a `--params` file, and the messages about them all derive from the field.

To add one, write the field and the line that uses its value. Give it an `off` value that stands for what runs
did before: a field at its `off` value is no part of an id, so that the ids of earlier runs stay as they are.

What a user gave is a plain mapping from names of settings to values (`Given`), without those that were left
open. `training.resolve` makes a `RunConfig` of it, and from there on nothing is resolved again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from .errors import InputError, unknown
from .settings import CHAT, METHOD, WHAT, Record, Setting, config_id, setting, settings_of

Protocol = Literal["paper", "heldout"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "tf32", "bf16", "bf16-weights"]
BasisKind = Literal["calibrated", "random", "none"]
Mask = Literal["dynamic", "fixed", "block", "random"]  # as in core
Place = Literal["optimizer", "backward", "adapter"]  # as in core
Padding = Literal["none", "longest", "max"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Save = Literal["model", "adapter", "none"]
Target = Literal["mlp", "attention", "all"]
OptimizerName = Literal["adamw", "galore", "apollo"]
Schedule = Literal["constant", "linear", "cosine"]
LossOn = Literal["assistant", "all"]
ChatFormat = Literal["llama-2", "own"]
PackAttention = Literal["across", "within"]
SelectOn = Literal["dev", "holdout"]
Pruner = Literal["median", "hyperband", "none"]

Given = Mapping[str, Any]  # what a user gave: names of settings -> values; what is left open is absent


class RunConfig(Record):
    """All settings that decide a run's numbers, resolved; those that it does not use are off."""

    model: str = setting(
        "A hub id, a local directory, a .gguf file, demo (all-MiniLM-L6-v2) or smollm2 (a chat model).",
        WHAT,
        default="demo",
    )
    model_revision: str | None  # commit on the hub, or SHA-256 of the files of a local model
    task: str = setting("A GLUE task or oasst1 (see sparsegrad ls tasks), or a YAML of yours.", WHAT)
    task_file: str | None = setting(off=None, in_id=False)  # the YAML of a user's own task
    data: str = setting(
        "hub, a directory with GLUE in it (oasst1: a file of conversation trees), or demo (synthetic).",
        WHAT,
        default="hub",
        in_id=False,
    )
    data_revision: str  # SHA-256 over the task's definition and the examples of every split
    method: str = setting("A method of sparsegrad ls methods, or peft: and an adapter_config.json.", WHAT)
    method_revision: str | None = None  # SHA-256 of that file
    seed: int = setting("Seed of a run.", WHAT, default=0, at_least=0)
    protocol: Protocol = setting(
        "paper: dev selects the checkpoint and is reported; heldout: half of dev selects, half is reported.",
        WHAT,
        default="paper",
    )
    device: Device = setting("Where to train; auto: CUDA where there is a GPU.", WHAT, default="auto")

    learning_rate: float = setting(
        "Learning rate, at its peak.",
        default=5e-5,
        chat=9e-4,
        default_help="the paper's for model and task, else 5e-5 (chat tasks: 9e-4)",
        above=0,
        is_searchable=True,
    )
    batch_size: int = setting(
        "Examples in a batch.",
        default=16,
        chat=64,
        default_help="the paper's for model and task, else 16 (chat tasks: 64)",
        at_least=1,
        is_searchable=True,
        makes_basis=True,
    )
    accumulation_steps: int = setting(
        "Micro batches that a batch is cut into, their gradients summed: less memory, the same batch.",
        off=1,
        default_help="1 (chat tasks: micro batches of 2 examples)",
        at_least=1,
        makes_basis=True,
    )
    epochs: float = setting("Passes over the training split, at most.", default=20.0, chat=1.0, above=0)
    max_steps: int | None = setting("Optimizer steps, in place of --epochs.", off=None, at_least=1)
    max_train_examples: int | None = setting(
        "Train on this many examples, a fixed random choice.",
        off=None,
        default_help="all",
        at_least=1,
        makes_basis=True,
    )
    patience: int = setting(
        "Evaluations without improvement before training stops; 0: it never stops early.",
        default=5,
        chat=0,
        at_least=0,
    )
    eval_steps: int | None = setting(
        "Optimizer steps between evaluations.",
        off=None,
        chat=75,
        default_help="one epoch (chat tasks: 75)",
        at_least=1,
    )
    length: int = setting(
        "Tokens of an example, at most.", default=128, chat=512, at_least=4, makes_basis=True
    )
    padding: Padding = setting(
        "none: compute on real tokens alone; longest: pad a batch to its longest example; max: to --length, "
        "as the paper.",
        off="longest",
        default="none",
        default_help="none where the model can, else longest (chat tasks: sequences are packed full)",
        makes_basis=True,
    )
    precision: Precision = setting(
        "tf32: CUDA only; bf16: autocast over float32 weights, faster on a CPU with AVX512-BF16 too; "
        "bf16-weights: frozen weights are held in bf16 too (chat tasks).",
        default_help="fp32 (chat tasks on CUDA: bf16-weights)",
    )
    schedule: Schedule = setting("Schedule of the learning rate.", off="constant", chat="cosine")
    warmup_steps: int = setting(
        "Steps in which the learning rate rises from 0, at most a third of all.", off=0, chat=50, at_least=0
    )
    gradient_checkpointing: bool = setting(
        "Compute activations again in backward: less memory, a third slower.", off=False
    )
    weight_decay: float = setting(
        "Decoupled weight decay of all that is trained but masked entries.",
        off=0.0,
        at_least=0,
        is_searchable=True,
    )
    freeze_rest: bool = setting(
        "Train only the adapted MLP matrices and the head, not the rest of the model.",
        default=False,
        chat=True,
        default_help="the rest is trained too (chat tasks: frozen)",
        flag="--freeze-rest/--train-rest",
        is_searchable=True,
    )

    languages: tuple[str, ...] = setting(
        "Language of the conversations: a code such as en, or all; repeatable.",
        CHAT,
        off=("en",),
        flag="--language",
        chat_only=True,
        in_id=False,  # the data's revision counts
    )
    loss_on: LossOn | None = setting(
        "Turns that the loss counts.", CHAT, off=None, chat="assistant", chat_only=True, makes_basis=True
    )
    chat_format: ChatFormat | None = setting(
        "How turns are written: by the tokenizer's own template, or LLaMA-2's.",
        CHAT,
        off=None,
        default_help="own, where there is one",
        chat_only=True,
        makes_basis=True,
    )

    pack_attention: PackAttention = setting(
        "What a token sees of a packed sequence: across: all before it, of other conversations too, as the "
        "authors' code; within: its own conversation alone, with positions from 0.",
        CHAT,
        off="across",
        chat_only=True,
        makes_basis=True,
    )

    sparse_learning_rate: float | None = setting(
        "Sparse methods: learning rate of the chosen entries.",
        METHOD,
        off=None,
        default_help="--learning-rate",
        above=0,
        of_method=True,
        is_searchable=True,
    )
    blocks: str = setting(
        "Blocks whose MLP matrices are adapted: all, every:3 (0, 3, 6, ...), or numbers such as 0-3,8.",
        METHOD,
        off="all",
        chat="every:3",
        makes_basis=True,
    )
    kept: int | None = setting(
        "Sparse methods: entries of each MLP matrix trained at a step, in place of --density.",
        METHOD,
        off=None,
        at_least=1,
        of_method=True,
        is_searchable=True,
    )
    density: float | None = setting(
        "Sparse methods: share of each MLP matrix trained at a step.",
        METHOD,
        off=None,
        default=0.01,
        chat=0.002,
        default_help="0.01 (chat tasks: 0.002; LLaMA-2-7B: --kept 100000)",
        above=0,
        at_most=1,
        of_method=True,
        is_searchable=True,
    )
    target: Target = setting(
        "ft and PEFT's methods: linears of a block that are adapted.", METHOD, off="mlp", of_method=True
    )
    optimizer: OptimizerName = setting(
        "ft: the optimizer; galore and apollo keep moments of targeted matrices in a subspace of rank 128.",
        METHOD,
        off="adamw",
        of_method=True,
    )
    rank: int | None = setting(
        "PEFT's methods: rank of LoRA, or as many trained values as LoRA has at this rank.",
        METHOD,
        off=None,
        default=7,
        chat=32,
        default_help="7, or 10 from hidden size 1024 (chat tasks: 32)",
        at_least=1,
        of_method=True,
        is_searchable=True,
    )
    mask: Mask | None = setting(
        "sparsegrad: entries chosen at each step (dynamic), by the calibration (fixed, block) or at random.",
        METHOD,
        off=None,
        default="dynamic",
        of_method=True,
        is_searchable=True,
    )
    place: Place | None = setting(
        "Sparse methods: where a step is taken; all places train the same, at other costs.",
        METHOD,
        off=None,
        default_help="the one that suits",
        of_method=True,
    )
    recompute: bool = setting(
        "With --place backward: compute the MLP's hidden layer again in backward, lighter and slower.",
        METHOD,
        off=False,
        of_method=True,
    )
    calibration_steps: int | None = setting(
        "Batches of the calibration, which makes the basis or chooses the entries.",
        METHOD,
        off=None,
        default=30,
        at_least=1,
        of_method=True,
        is_searchable=True,
        makes_basis=True,
    )
    basis: str | None = setting(
        "sparsegrad: calibrated, random, none (the original space) or a file of sparsegrad calibrate.",
        METHOD,
        off=None,
        default_help="calibrated",
        of_method=True,
        in_id=False,
    )
    basis_revision: str | None = None  # SHA-256 of that file; random or none
    basis_rank: int | None = setting(
        "Leading directions of the basis that are kept on each side.",
        METHOD,
        off=None,
        default_help="all",
        at_least=1,
        of_method=True,
        makes_basis=True,
    )

    hyperparameters_from: str = setting(off="options", in_id=False)  # learning rate and batch size

    @property
    def is_unpadded(self) -> bool:
        """Whether the model computes on sequences of any length, one after the other."""
        return self.padding == "none" or self.pack_attention == "within"

    def run_id(self) -> str:
        """Returns the name of the run's folder."""
        return config_id(self)


class ExecutionOptions(Record):
    """How runs are done; nothing here changes a number of theirs."""

    checkpoint_seconds: float = 600.0  # a checkpoint is written when the last one is this old
    keep_model: bool = True  # save the trained model in the run's folder
    keep_adapter: bool = False  # ... or what it changed, as an adapter of PEFT where that is smaller
    accumulate_on_oom: bool = False  # begin again with each batch in parts when the memory runs out
    report_to: tuple[Tracker, ...] = ()  # experiment trackers
    predict_test: bool = False  # predict the test splits, which have no labels, after training


SETTINGS = settings_of(RunConfig)
# options of finetune and sweep, which have their own for these three
RUN_SETTINGS = {name: each for name, each in SETTINGS.items() if name not in ("task", "method", "seed")}
# keys of an experiment's `settings`: its other keys say model and data
TRAINING_SETTINGS = {name: each for name, each in RUN_SETTINGS.items() if name not in ("model", "data")}
METHOD_SETTINGS = tuple(name for name, each in SETTINGS.items() if each.of_method)
# options of calibrate
BASIS_SETTINGS = {
    name: each
    for name, each in RUN_SETTINGS.items()
    if each.makes_basis
    or name in ("model", "data", "languages", "device", "precision", "gradient_checkpointing")
}

# of two that exclude one another, what a user gives goes before what a file says
EXCLUSIVE = (
    ("density", "kept"),
    ("epochs", "max_steps"),
    ("basis", "calibration_steps"),  # where the basis is a file
    ("basis", "basis_rank"),
)


def _exclusive(given: Given) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of which one excludes the other, as things are given."""
    is_file = given.get("basis") not in (None, *get_args(BasisKind))
    return tuple(pair for pair in EXCLUSIVE if is_file or "basis" not in pair)


def check_given(given: Given, known: Mapping[str, Setting]) -> dict[str, Any]:
    """Returns settings in their types; one whose value is None counts as left open.

    Raises:
        InputError: a name is not known, a value is of another type or out of bounds, or two settings exclude
            one another.
    """
    checked = {}
    for name, value in given.items():
        if name not in known:
            raise InputError(unknown("setting", str(name), known))
        if value is None:
            continue
        try:
            checked[name] = known[name].check(value)
        except ValueError as error:
            raise InputError(f"{known[name].option} {error}") from None
    for one, other in _exclusive(checked):
        if one in checked and other in checked:
            options = f"{known[one].option} and {known[other].option}"
            raise InputError(f"{options} exclude one another: give one of them")
    return checked


def filled_from(given: Given, others: Given) -> dict[str, Any]:
    """Returns what a user gave and, of the others, what it neither says nor excludes."""
    pairs = _exclusive({**others, **given})
    excluded = {name for pair in pairs if not given.keys().isdisjoint(pair) for name in pair}
    return {**{name: value for name, value in others.items() if name not in excluded}, **given}
