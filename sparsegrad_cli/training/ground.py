"""What runs stand on: the device, the model's shapes, the data, the user's basis."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from ..core import Basis, BasisMismatchError, UnsupportedModelError, find_mlp_linears
from ..errors import InputError
from ..models.chat_template import chat_format_of, load_chat_tokenizer
from ..models.checkpoint import Checkpoint, find_checkpoint
from ..store.basis_file import load_basis
from ..store.names import ChatFormat, Precision
from ..tasks import get_task
from ..tasks.load import TaskData, load_data
from ..tasks.oasst import load_chat
from ..tasks.task import ChatTask
from .checks import check_length, choose_device
from .choices import Choices
from .objectives import Objective, objective_of
from .option_checks import check_task_options


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
