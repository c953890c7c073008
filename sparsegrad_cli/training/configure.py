"""From choices to the configuration of a run: what the user left open is filled in."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from ..methods import get_method
from ..methods.base import Settings
from ..paper import same_model
from ..store.names import Form, Precision
from ..store.schema import RunConfig
from ..tasks.task import ChatTask
from .choices import Choices
from .ground import Ground
from .hyperparameters import Hyperparameters
from .recipe import Recipe

DEFAULT_CALIBRATION_STEPS = 30
PAPER_KEPT = {"llama-2-7b": 100_000}  # entries of each MLP matrix, in table 6
LORA_RANK, LORA_RANK_LARGE, LARGE_HIDDEN_SIZE = 7, 10, 1024


def configure(
    choices: Choices,
    method: str,
    seed: int,
    ground: Ground,
    hyperparameters: Hyperparameters,
) -> RunConfig:
    """The configuration of one run; what its method does not use is None."""
    used = get_method(method).options
    recipe, is_chat = ground.objective.recipe, isinstance(ground.data.task, ChatTask)
    density, kept = share_of(choices, ground)
    schedule = choices.schedule or recipe.schedule or "constant"
    warmup = recipe.warmup_steps if choices.warmup_steps is None else choices.warmup_steps
    freeze_rest = recipe.freeze_rest if choices.freeze_rest is None else choices.freeze_rest
    blocks = choices.blocks or recipe.blocks
    steps = None if choices.basis else choices.calibration_steps or DEFAULT_CALIBRATION_STEPS
    support = choices.support or "dynamic" if "support" in used else None
    parts = parts_of(choices, recipe, hyperparameters.batch_size)
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
        form=form_of(choices, ground.precision, parts) if support == "dynamic" else None,
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


def share_of(choices: Choices, ground: Ground) -> tuple[float | None, int | None]:
    """Density or kept entries: the user's, else the paper's for the model, else the recipe's."""
    if choices.density is not None or choices.kept is not None:
        return choices.density, choices.kept
    families = PAPER_KEPT if isinstance(ground.data.task, ChatTask) else {}
    kept = next((kept for family, kept in families.items() if same_model(choices.model, family)), None)
    return (None, kept) if kept else (ground.objective.recipe.density, None)


def form_of(choices: Choices, precision: Precision, parts: int) -> Form:
    """The user's, else the lightest that goes with the parts of a batch and the type of the weights."""
    if choices.form is not None:
        return choices.form
    if choices.basis_rank is not None and (parts > 1 or precision == "bf16-weights"):
        return "corner"
    return "deferred" if parts > 1 else "streamed"


def parts_of(choices: Choices, recipe: Recipe, batch_size: int) -> int:
    """Parts of a batch: the user's, else such that none has more examples than the recipe says."""
    if choices.accumulation_steps is not None or recipe.part_size is None:
        return choices.accumulation_steps or 1
    return batch_size // math.gcd(batch_size, recipe.part_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
