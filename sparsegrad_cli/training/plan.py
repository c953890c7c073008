"""From what a user asked for to the runs that answer it, checked before anything is trained."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from ..core import (
    IN_BACKWARD,
    Basis,
    BasisMismatchError,
    UnsupportedModelError,
    choose_blocks,
    find_mlp_linears,
)
from ..errors import InputError
from ..methods import get_method
from ..methods.base import Settings
from ..models.chat import chat_format_of, load_chat_tokenizer
from ..models.checkpoint import Checkpoint, find_checkpoint
from ..paper import same_model
from ..store.basis_file import load_basis
from ..store.names import ChatFormat, Precision
from ..store.schema import RunConfig
from ..tasks import get_task
from ..tasks.chat.data import load_chat
from ..tasks.chat.task import ChatTask
from ..tasks.data import TaskData, load_data
from ..tasks.task import Task
from .callbacks import Watch
from .cell import Cell
from .checks import check_basis_rank, check_density, check_length, check_sizes, choose_device
from .choices import METHOD_OPTIONS, Choices
from .hyperparameters import Hyperparameters, choose_hyperparameters
from .inputs import Inputs, read_inputs
from .objectives import Objective, objective_of
from .recipe import Recipe

DEFAULT_CALIBRATION_STEPS = 30
HOLDS_ROTATED = ("regular", "sparse-by-dense")
PAPER_KEPT = {"llama-2-7b": 100_000}  # entries of each MLP matrix, in table 6
LORA_RANK, LORA_RANK_LARGE, LARGE_HIDDEN_SIZE = 7, 10, 1024


@dataclass(frozen=True)
class Plan:
    """The runs, in order, with what they share."""

    configs: list[RunConfig]
    checkpoint: Checkpoint
    data: TaskData
    hyperparameters: Hyperparameters
    basis: Basis | None

    def cell(
        self, config: RunConfig, results: Path, watch: Watch, **how: float | bool | TaskData | None
    ) -> Cell:
        """One run of the plan, with its inputs read and encoded."""
        inputs = self.inputs(config)
        uses_basis = get_method(config.method).needs_basis
        return Cell(
            config,
            inputs,
            results,
            watch,
            basis=self.basis if uses_basis else None,
            hyperparameters_from=self.hyperparameters.source,
            **how,
        )

    def inputs(self, config: RunConfig) -> Inputs:
        tokenizer = objective_of(self.data.task).tokenizer(config, self.checkpoint)
        return read_inputs(config, self.checkpoint, tokenizer, self.data)


@dataclass(frozen=True)
class Ground:
    """What runs stand on, whatever their method and hyperparameters."""

    device: str
    precision: Precision
    checkpoint: Checkpoint
    data: TaskData
    objective: Objective
    model: PreTrainedModel  # its shapes, without weights
    basis: Basis | None
    chat_format: ChatFormat | None  # chat tasks


def plan(choices: Choices, from_shapes: bool = False) -> Plan:
    """Finds the model and the data, fills in the defaults, and checks that all fit together.

    Args:
        from_shapes: see `find_ground`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    check_options(choices)
    return plan_on(find_ground(choices, from_shapes), choices)


def find_ground(choices: Choices, from_shapes: bool = False) -> Ground:
    """Finds the model, the data and the user's basis.

    Args:
        from_shapes: a model's directory without weights will do: nothing of it is to be trained.

    Raises:
        InputError: one is not there, or is not what it should be.
    """
    task = get_task(choices.task)
    objective = objective_of(task)
    device = choose_device(choices.device, choices.precision)
    check_task_options(choices, task)
    checkpoint = find_checkpoint(choices.model, needs_weights=not from_shapes)
    model = objective.skeleton(checkpoint)
    check_length(model, choices.model, choices.length or objective.recipe.length)
    chat_format = None
    if isinstance(task, ChatTask):
        chat_format = chat_format_of(load_chat_tokenizer(checkpoint, choices.chat_format))
        data = load_chat(task, choices.data, choices.languages)
    else:
        data = load_data(task, choices.data)
    try:
        find_mlp_linears(model)
        basis = None if choices.basis is None else load_basis(choices.basis)
        if basis is not None:
            basis.check_fits(model)
    except (UnsupportedModelError, BasisMismatchError) as error:
        option = f"--basis {choices.basis}" if isinstance(error, BasisMismatchError) else "--model"
        raise InputError(f"{option}: {error}") from None
    precision = choices.precision or objective.recipe.precision[device]
    return Ground(device, precision, checkpoint, data, objective, model, basis, chat_format)


def plan_on(ground: Ground, choices: Choices, source: str | None = None) -> Plan:
    """The runs on what was found for these choices, or for others of the same model, data and basis.

    Args:
        source: where learning rate and batch size are from, in words; None: the options, or the defaults.

    Raises:
        InputError: the options do not fit together, or not the model.
    """
    check_options(choices)
    if ground.basis is not None:
        _check_energy(choices, ground.basis)
    recipe = ground.objective.recipe
    check_length(ground.model, choices.model, choices.length or recipe.length)
    blocks = _blocks(ground.model, choices.blocks or recipe.blocks)
    shapes = [tuple(place.linear.weight.shape) for place in find_mlp_linears(ground.model, blocks)]
    check_sizes(choices.model, shapes, choices.kept, choices.rank)
    if choices.basis_rank is not None:
        density, kept = _share(choices, ground)
        check_basis_rank(shapes, choices.basis_rank, kept, density)
    hyperparameters = choose_hyperparameters(
        choices.model, ground.data.task.name, choices.learning_rate, choices.batch_size, recipe
    )
    if source is not None:
        hyperparameters = replace(hyperparameters, source=source)
    if hyperparameters.batch_size % (choices.accumulation_steps or 1):
        raise InputError(
            f"--accumulation-steps {choices.accumulation_steps} does not divide the batch size "
            f"{hyperparameters.batch_size}"
        )
    parts = _parts(choices, recipe, hyperparameters.batch_size)
    _check_form(choices, parts)
    configs = [
        _config(choices, method, seed, ground, hyperparameters)
        for method in dict.fromkeys(choices.methods)
        for seed in dict.fromkeys(choices.seeds)
    ]
    return Plan(configs, ground.checkpoint, ground.data, hyperparameters, ground.basis)


def settings_of(config: RunConfig, accumulation_steps: int = 1) -> Settings:
    """What a run tells its method.

    Args:
        accumulation_steps: parts that each batch is worked on in.
    """
    return Settings(
        freeze_rest=config.freeze_rest,
        density=config.density,
        kept=config.kept,
        support=config.support or "dynamic",
        form=config.form or "streamed",
        blocks=config.blocks,
        accumulates=accumulation_steps > 1,
        rank=config.rank,
        sparse_learning_rate=config.sparse_learning_rate,
    )


def of_method(choices: Choices) -> Choices:
    """The choices of one method, without the options that are of others."""
    (method,) = choices.methods
    used = get_method(method).options
    return replace(choices, **{name: None for name in METHOD_OPTIONS if name not in used})


def check_options(choices: Choices) -> None:
    """Refuses options that contradict one another, or that no method uses.

    Raises:
        InputError: so it is.
    """
    check_density(choices.density, choices.kept)
    if choices.epochs is not None and choices.max_steps is not None:
        raise InputError("--epochs and --max-steps both end the training: give one of them")
    if choices.learning_rate is not None and not choices.learning_rate > 0:
        raise InputError(f"--learning-rate must be above 0, got {choices.learning_rate:g}")
    if choices.sparse_learning_rate is not None and not choices.sparse_learning_rate > 0:
        raise InputError(f"--sparse-learning-rate must be above 0, got {choices.sparse_learning_rate:g}")
    if choices.epochs is not None and not choices.epochs > 0:
        raise InputError(f"--epochs must be above 0, got {choices.epochs:g}")
    for option in METHOD_OPTIONS:
        users = [name for name in choices.methods if option in get_method(name).options]
        if getattr(choices, option) is not None and not users:
            flag = "--" + option.replace("_", "-")
            raise InputError(f"{flag} is not used by --method {', '.join(choices.methods)}: leave it out")
    if choices.form is not None and choices.support not in (None, "dynamic"):
        raise InputError(f"--form goes with --support dynamic; --support {choices.support} has no other form")
    if choices.form in HOLDS_ROTATED and choices.basis_rank is not None:
        raise InputError(
            f"--form {choices.form} holds the matrices in the basis, so --basis-rank would cut them: take "
            "--form folded, streamed or deferred"
        )
    for option in ("calibration_steps", "basis_rank"):
        if choices.basis is not None and getattr(choices, option) is not None:
            flag = "--" + option.replace("_", "-")
            raise InputError(f"{flag} has no effect on a basis given by --basis: leave one out")


def check_task_options(choices: Choices, task: Task | ChatTask) -> None:
    """Refuses options that are of another kind of task.

    Raises:
        InputError: so it is.
    """
    is_chat = isinstance(task, ChatTask)
    given = {
        "--loss-on": choices.loss_on is not None,
        "--chat-format": choices.chat_format is not None,
        "--language": tuple(choices.languages) != Choices.languages,
    }
    for flag, is_given in given.items():
        if is_given and not is_chat:
            raise InputError(f"{flag} is for chat tasks such as oasst1, {task.name} is none: leave it out")
    if choices.precision == "bf16-weights" and not is_chat:
        raise InputError("--precision bf16-weights is for chat tasks such as oasst1: take bf16")
    if choices.pad_to_max and is_chat:
        raise InputError(f"--pad-to-max: the sequences of {task.name} are packed full: leave it out")


def _check_form(choices: Choices, parts: int) -> None:
    """A step in backward comes before the gradients of several parts are summed."""
    if choices.form in IN_BACKWARD and parts > 1:
        raise InputError(
            f"--form {choices.form} steps in backward, before the gradients of {parts} parts of a batch are "
            "summed: take --form deferred, --support fixed or block, or --accumulation-steps 1"
        )


def _check_energy(choices: Choices, basis: Basis) -> None:
    missing = any(kind.energy is None for kind in basis.kinds.values())
    if missing and choices.support in ("fixed", "block"):
        raise InputError(
            f"--basis {choices.basis} holds no energies, from which --support {choices.support} chooses: "
            "make it again with `sparsegrad calibrate`"
        )


def _config(
    choices: Choices,
    method: str,
    seed: int,
    ground: Ground,
    hyperparameters: Hyperparameters,
) -> RunConfig:
    used = get_method(method).options
    recipe, is_chat = ground.objective.recipe, isinstance(ground.data.task, ChatTask)
    density, kept = _share(choices, ground)
    schedule = choices.schedule or recipe.schedule or "constant"
    warmup = recipe.warmup_steps if choices.warmup_steps is None else choices.warmup_steps
    freeze_rest = recipe.freeze_rest if choices.freeze_rest is None else choices.freeze_rest
    blocks = choices.blocks or recipe.blocks
    steps = None if choices.basis else choices.calibration_steps or DEFAULT_CALIBRATION_STEPS
    support = choices.support or "dynamic" if "support" in used else None
    parts = _parts(choices, recipe, hyperparameters.batch_size)
    large = getattr(ground.model.config, "hidden_size", 0) >= LARGE_HIDDEN_SIZE
    return RunConfig(
        model=choices.model,
        model_revision=ground.checkpoint.revision,
        task=ground.data.task.name,
        data=choices.data,
        data_revision=ground.data.sha256,
        method=method,
        seed=seed,
        protocol=choices.protocol,
        device=ground.device,
        precision=ground.precision,
        learning_rate=hyperparameters.learning_rate,
        batch_size=hyperparameters.batch_size,
        epochs=choices.epochs or recipe.epochs,
        max_steps=choices.max_steps,
        max_train_examples=choices.max_train_examples,
        patience=recipe.patience if choices.patience is None else choices.patience,
        eval_steps=choices.eval_steps or recipe.eval_steps,
        length=choices.length or recipe.length,
        pad_to_max=choices.pad_to_max,
        freeze_rest=freeze_rest,
        kept=kept if "kept" in used else None,
        density=density if "density" in used else None,
        support=support,
        form=choices.form or ("deferred" if parts > 1 else "streamed") if support == "dynamic" else None,
        calibration_steps=steps if "calibration_steps" in used else None,
        basis=_sha256(choices.basis) if choices.basis and "basis" in used else None,
        rank=choices.rank or recipe.rank or (LORA_RANK_LARGE if large else LORA_RANK)
        if "rank" in used
        else None,
        sparse_learning_rate=choices.sparse_learning_rate if "sparse_learning_rate" in used else None,
        accumulation_steps=parts if parts > 1 else None,
        blocks=None if blocks == "all" else blocks,
        basis_rank=choices.basis_rank if "basis_rank" in used else None,
        gradient_checkpointing=choices.gradient_checkpointing or None,
        schedule=None if schedule == "constant" else schedule,
        warmup_steps=warmup or None,
        loss_on=choices.loss_on or recipe.loss_on if is_chat else None,
        chat_format=ground.chat_format,
    )


def _share(choices: Choices, ground: Ground) -> tuple[float | None, int | None]:
    """Density or kept entries: the user's, else the paper's for the model, else the recipe's."""
    if choices.density is not None or choices.kept is not None:
        return choices.density, choices.kept
    families = PAPER_KEPT if isinstance(ground.data.task, ChatTask) else {}
    kept = next((kept for family, kept in families.items() if same_model(choices.model, family)), None)
    return (None, kept) if kept else (ground.objective.recipe.density, None)


def _parts(choices: Choices, recipe: Recipe, batch_size: int) -> int:
    """Parts of a batch: the user's, else such that none has more examples than the recipe says."""
    if choices.accumulation_steps is not None or recipe.part_size is None:
        return choices.accumulation_steps or 1
    return batch_size // math.gcd(batch_size, recipe.part_size)


def _blocks(model: PreTrainedModel, words: str) -> tuple[int, ...]:
    count = 1 + max(place.block for place in find_mlp_linears(model))
    try:
        return choose_blocks(words, count)
    except ValueError as error:
        raise InputError(f"--blocks {words}: {error}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
