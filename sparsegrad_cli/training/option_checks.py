"""Options that contradict one another, or that nothing uses."""

from __future__ import annotations

from ..core import IN_BACKWARD, Basis
from ..errors import InputError
from ..methods import get_method
from ..tasks.task import ChatTask, Task
from .checks import check_density
from .choices import METHOD_OPTIONS, Choices

HOLDS_ROTATED = ("regular", "sparse-by-dense")


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
            "--form corner, folded, streamed or deferred"
        )
    if choices.form == "corner" and choices.basis_rank is None and choices.basis is None:
        raise InputError(
            "--form corner trains a corner of the basis beside each matrix, and without --basis-rank that is "
            "as large as the matrix: give --basis-rank, or take --form streamed or deferred"
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


def check_form(choices: Choices, parts: int) -> None:
    """A step in backward comes before the gradients of several parts are summed."""
    if choices.form in IN_BACKWARD and parts > 1:
        raise InputError(
            f"--form {choices.form} steps in backward, before the gradients of {parts} parts of a batch are "
            "summed: take --form deferred, or corner with --basis-rank, --support fixed or block, or "
            "--accumulation-steps 1"
        )


def check_given_basis(choices: Choices, basis: Basis) -> None:
    """Refuses what the user's own basis is not good for."""
    if basis.is_truncated and choices.form in HOLDS_ROTATED:
        raise InputError(
            f"--basis {choices.basis} is truncated, and --form {choices.form} would cut the matrices: take "
            "--form corner, folded, streamed or deferred"
        )
    if not basis.is_truncated and choices.form == "corner":
        raise InputError(
            f"--basis {choices.basis} is not truncated, so --form corner would train as much as the matrices "
            "hold: take --form streamed or deferred, or a basis made with --basis-rank"
        )
    missing = any(kind.energy is None for kind in basis.kinds.values())
    if missing and choices.support in ("fixed", "block"):
        raise InputError(
            f"--basis {choices.basis} holds no energies, from which --support {choices.support} chooses: "
            "make it again with `sparsegrad calibrate`"
        )
