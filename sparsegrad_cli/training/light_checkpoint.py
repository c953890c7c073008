"""The weights of a checkpoint: those that training changes, to be laid over what every start begins with."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..core import ConfinedLinear
from ..errors import WorkError
from ..models.checkpoint import WEIGHTS
from ..store.atomic import write_atomically


def changing(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: name in the `state_dict` -> the model's own tensor; a tied one once.

    Parameters that take gradients, buffers that are saved, and the weights that confined layers fold their
    values into, though these take none.
    """
    folded = {layer.weight for layer in model.modules() if isinstance(layer, ConfinedLinear) and layer.folds}
    names = {name for name, p in model.named_parameters() if p.requires_grad or p in folded}
    names |= {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def save_changing(model: nn.Module, checkpoint: Path) -> None:
    """Writes what training changes in `model`, ready for training, to the folder `checkpoint`, atomically."""
    tensors = {name: tensor.contiguous() for name, tensor in changing(model).items()}
    write_atomically(checkpoint / WEIGHTS, lambda temporary: save_file(tensors, temporary))


def lay_over(model: nn.Module, checkpoint: Path) -> None:
    """Gives what training changes in `model` the values that it has in `checkpoint`; nothing else is read.

    Args:
        model: made ready by the method that the checkpoint's was.

    Raises:
        WorkError: the checkpoint cannot be read, or lacks a tensor that training changes.
    """
    path, tensors = checkpoint / WEIGHTS, changing(model)
    anew = f"delete {checkpoint.parent}, and the same command begins the run anew"
    try:
        with safe_open(path, framework="pt") as file:
            names = tensors.keys() & set(file.keys())
            saved = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise WorkError(f"cannot read {path} ({error}): {anew}") from error
    for name, tensor in tensors.items():
        if name not in saved or saved[name].shape != tensor.shape:
            size = " x ".join(map(str, tensor.shape))
            raise WorkError(f"{path} holds no {name} of {size}, which training changes: {anew}")
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])
