"""From what a user asked for to the runs that answer it, checked before anything is trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from ..core import IN_BACKWARD, Basis, BasisMismatchError, UnsupportedModelError, find_mlp_linears
from ..errors import InputError
from ..methods import get_method
from ..methods.base import Settings
from ..models.checkpoint import Checkpoint, find_checkpoint
from ..models.load import load_tokenizer
from ..models.skeleton import skeleton
from ..store.basis_file import load_basis
from ..store.schema import RunConfig
from ..tasks import get_task
from ..tasks.data import TaskData, load_data
from .callbacks import Watch
from .cell import Cell
from .checks import check_density, check_length, check_sizes, choose_device
from .choices import METHOD_OPTIONS, Choices
from .hyperparameters import Hyperparameters, choose_hyperparameters
from .inputs import Inputs, read_inputs

DEFAULT_EPOCHS = 20.0
DEFAULT_DENSITY = 0.01
DEFAULT_CALIBRATION_STEPS = 30
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
        return read_inputs(config, self.checkpoint, load_tokenizer(self.checkpoint), self.data)


@dataclass(frozen=True)
class Ground:
    """What runs stand on, whatever their method and hyperparameters."""

    device: str
    checkpoint: Checkpoint
    data: TaskData
    model: PreTrainedModel  # its shapes, without weights
    basis: Basis | None


def plan(choices: Choices) -> Plan:
    """Finds the model and the data, fills in the defaults, and checks that all fit together.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    check_options(choices)
    return plan_on(find_ground(choices), choices)


def find_ground(choices: Choices) -> Ground:
    """Finds the model, the data and the user's basis.

    Raises:
        InputError: one is not there, or is not what it should be.
    """
    device = choose_device(choices.device, choices.precision)
    task = get_task(choices.task)
    checkpoint = find_checkpoint(choices.model)
    data = load_data(task, choices.data)
    model = skeleton(checkpoint)
    try:
        find_mlp_linears(model)
        basis = None if choices.basis is None else load_basis(choices.basis)
        if basis is not None:
            basis.check_fits(model)
    except (UnsupportedModelError, BasisMismatchError) as error:
        option = f"--basis {choices.basis}" if isinstance(error, BasisMismatchError) else "--model"
        raise InputError(f"{option}: {error}") from None
    return Ground(device, checkpoint, data, model, basis)


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
    check_length(ground.model, choices.model, choices.length)
    shapes = [tuple(place.linear.weight.shape) for place in find_mlp_linears(ground.model)]
    check_sizes(choices.model, shapes, choices.kept, choices.rank)
    hyperparameters = choose_hyperparameters(
        choices.model, ground.data.task.name, choices.learning_rate, choices.batch_size
    )
    if source is not None:
        hyperparameters = replace(hyperparameters, source=source)
    if hyperparameters.batch_size % (choices.accumulation_steps or 1):
        raise InputError(
            f"--accumulation-steps {choices.accumulation_steps} does not divide the batch size "
            f"{hyperparameters.batch_size}"
        )
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
    if choices.form in IN_BACKWARD and (choices.accumulation_steps or 1) > 1:
        raise InputError(
            f"--form {choices.form} steps in backward, before --accumulation-steps has summed the gradients: "
            "take --form folded, or --support fixed or block"
        )
    if choices.basis is not None and choices.calibration_steps is not None:
        raise InputError("--calibration-steps has no effect on a basis given by --basis: leave one out")


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
    density = choices.density if choices.density or choices.kept else DEFAULT_DENSITY
    steps = None if choices.basis else choices.calibration_steps or DEFAULT_CALIBRATION_STEPS
    support = choices.support or "dynamic" if "support" in used else None
    parts = choices.accumulation_steps or 1
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
        precision=choices.precision,
        learning_rate=hyperparameters.learning_rate,
        batch_size=hyperparameters.batch_size,
        epochs=choices.epochs or DEFAULT_EPOCHS,
        max_steps=choices.max_steps,
        max_train_examples=choices.max_train_examples,
        patience=choices.patience,
        eval_steps=choices.eval_steps,
        length=choices.length,
        pad_to_max=choices.pad_to_max,
        freeze_rest=choices.freeze_rest,
        kept=choices.kept if "kept" in used else None,
        density=density if "density" in used else None,
        support=support,
        form=choices.form or ("folded" if parts > 1 else "streamed") if support == "dynamic" else None,
        calibration_steps=steps if "calibration_steps" in used else None,
        basis=_sha256(choices.basis) if choices.basis and "basis" in used else None,
        rank=choices.rank or (LORA_RANK_LARGE if large else LORA_RANK) if "rank" in used else None,
        sparse_learning_rate=choices.sparse_learning_rate if "sparse_learning_rate" in used else None,
        accumulation_steps=parts if parts > 1 else None,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
