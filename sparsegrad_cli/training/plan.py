"""From what a user asked for to the runs that answer it, checked before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from ..core import Basis, choose_blocks, find_mlp_linears
from ..errors import InputError
from ..methods import get_method
from ..models.checkpoint import Checkpoint
from ..store.schema import RunConfig
from ..tasks.load import TaskData
from ..tasks.splits import check_split_dev
from .callbacks import Watch
from .checks import check_basis_rank, check_length, check_sizes
from .choices import METHOD_OPTIONS, Choices
from .configure import configure, parts_of, share_of
from .ground import Ground, find_ground
from .hyperparameters import Hyperparameters, choose_hyperparameters
from .inputs import Inputs, read_inputs
from .objectives import objective_of
from .option_checks import check_form, check_given_basis, check_options
from .trainer import Cell


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


def plan(choices: Choices, from_shapes: bool = False) -> Plan:
    """Finds the model and the data, fills in the defaults, and checks that all fit together.

    Args:
        from_shapes: see `find_ground`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    check_options(choices)
    return plan_on(find_ground(choices, from_shapes), choices)


def plan_on(ground: Ground, choices: Choices, source: str | None = None) -> Plan:
    """The runs on what was found for these choices, or for others of the same model, data and basis.

    Args:
        source: where learning rate and batch size are from, in words; None: the options, or the defaults.

    Raises:
        InputError: the options do not fit together, or not the model.
    """
    check_options(choices)
    if choices.protocol == "heldout":
        check_split_dev(ground.data)
    if ground.basis is not None:
        check_given_basis(choices, ground.basis)
    recipe = ground.objective.recipe
    check_length(ground.model, choices.model, choices.length or recipe.length)
    blocks = _blocks(ground.model, choices.blocks or recipe.blocks)
    shapes = [tuple(place.linear.weight.shape) for place in find_mlp_linears(ground.model, blocks)]
    check_sizes(choices.model, shapes, choices.kept, choices.rank)
    if choices.basis_rank is not None:
        density, kept = share_of(choices, ground)
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
    parts = parts_of(choices, recipe, hyperparameters.batch_size)
    check_form(choices, parts)
    configs = [
        configure(choices, method, seed, ground, hyperparameters)
        for method in dict.fromkeys(choices.methods)
        for seed in dict.fromkeys(choices.seeds)
    ]
    return Plan(configs, ground.checkpoint, ground.data, hyperparameters, ground.basis)


def of_method(choices: Choices) -> Choices:
    """The choices of one method, without the options that are of others."""
    (method,) = choices.methods
    used = get_method(method).options
    return replace(choices, **{name: None for name in METHOD_OPTIONS if name not in used})


def _blocks(model: PreTrainedModel, words: str) -> tuple[int, ...]:
    count = 1 + max(place.block for place in find_mlp_linears(model))
    try:
        return choose_blocks(words, count)
    except ValueError as error:
        raise InputError(f"--blocks {words}: {error}") from None
