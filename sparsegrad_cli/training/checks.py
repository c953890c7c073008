"""Checks of settings: against one another, the methods, the task, the model, the data and the basis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from transformers import PreTrainedModel

from ..config import SETTINGS, BasisKind, Given, Padding, RunConfig, check_given
from ..core import Basis, find_mlp_linears, kept_entries
from ..errors import InputError
from ..methods import get_method
from ..methods.base import MethodConfig, chosen_blocks
from ..methods.sparse import SparseMethod
from ..models.load import longest_input
from ..models.unpadded import can_unpad
from ..tasks.load import TaskData
from ..tasks.splits import check_split_dev
from ..tasks.task import ChatTask, Task

Shapes = Sequence[tuple[int, int]]  # O x I of each adapted MLP matrix


def check_settings(given: Given, methods: Sequence[str]) -> dict[str, Any]:
    """Returns settings in their types.

    Raises:
        InputError: a setting is wrong, contradicts another, or is used by none of the methods.
    """
    given = check_given(given, SETTINGS)
    check_used(given, methods)
    for method in methods:
        _check_point(given, method)
    return given


def _check_point(given: Given, method: str) -> None:
    """Refuses a basis, a mask and a place that do not go together in a method that uses them.

    Raises:
        InputError: names the settings.
    """
    method_class = get_method(method)
    if not issubclass(method_class, SparseMethod):
        return
    given = {name: value for name, value in given.items() if name in method_class.settings}
    basis, mask = given.get("basis", method_class.basis), given.get("mask", method_class.mask)
    kind: Any = basis if basis in get_args(BasisKind) else "calibrated"  # else a file
    if mask == "block" and basis == "none":
        raise InputError("--mask block needs a basis: in the original space no block leads; take fixed")
    if mask in ("fixed", "block") and basis == "random":
        raise InputError(
            f"--mask {mask} needs energies, which a random basis has not: take dynamic or random"
        )
    if "basis_rank" in given and basis == "none":
        raise InputError("--basis-rank has no effect on --basis none: leave it out")
    measures = method_class.calibration(MethodConfig(basis=kind, mask=mask))
    if "calibration_steps" in given and measures is None:
        raise InputError(f"--calibration-steps has no effect on --basis {basis} --mask {mask}: leave it out")
    place = given.get("place")
    if given.get("recompute") and place not in (None, "backward"):
        raise InputError(f"--recompute goes with --place backward, not with --place {place}")
    whole = basis == "none" or (basis == kind and "basis_rank" not in given)
    if place == "adapter" and mask == "dynamic" and whole:
        raise InputError(
            "--place adapter with --mask dynamic trains a matrix as large as the layer's own unless the "
            "basis is truncated: give --basis-rank, or take --place optimizer or backward"
        )


def check_used(given: Given, methods: Sequence[str]) -> None:
    """Refuses settings that none of the methods uses.

    Raises:
        InputError: names the first of them.
    """
    classes = [get_method(method) for method in methods]
    used = {name for each in classes for name in each.settings}
    for name, value in given.items():
        is_fixed = all(each.fixed.get(name, value) != value for each in classes)
        if is_fixed or (SETTINGS[name].of_method and name not in used):
            raise InputError(
                f"{SETTINGS[name].option} is not used by --method {', '.join(methods)}: leave it out"
            )


def check_task_settings(given: Given, task: Task | ChatTask) -> None:
    """Refuses settings that are for another kind of task.

    Raises:
        InputError: names the first of them.
    """
    if isinstance(task, ChatTask):
        if "padding" in given:
            raise InputError(f"--padding: the sequences of {task.name} are packed full: leave it out")
        return
    for name in given:
        if SETTINGS[name].chat_only:
            option = SETTINGS[name].option
            raise InputError(f"{option} is for chat tasks such as oasst1, {task.name} is none: leave it out")
    if given.get("precision") == "bf16-weights":
        raise InputError("--precision bf16-weights is for chat tasks such as oasst1: take bf16")


def choose_device(device: str, precision: str | None) -> Literal["cpu", "cuda"]:
    """Returns "cpu" or "cuda"; "auto" takes CUDA where there is a GPU.

    Raises:
        InputError: the device is not there, or cannot compute in `precision`.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("--device cuda: torch sees no CUDA device here; take --device cpu or auto")
    on_cuda = device == "cuda" or (device == "auto" and available)
    if precision == "tf32" and not on_cuda:
        raise InputError("--precision tf32 needs a CUDA device; on a CPU take fp32 or bf16")
    if on_cuda and precision not in (None, "fp32") and torch.cuda.get_device_capability() < (8, 0):
        raise InputError(f"--precision {precision} needs a GPU of compute capability 8.0 or above; take fp32")
    return "cuda" if on_cuda else "cpu"


def is_emulated(device: str, precision: str) -> bool:
    """Returns whether a run computes in bf16 on a CPU without instructions for it: slower than fp32."""
    able = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
    known = torch.cpu.get_capabilities()
    return device == "cpu" and precision.startswith("bf16") and not any(known.get(name) for name in able)


def notes_on(configs: Iterable[RunConfig], padding_is_given: bool) -> list[str]:
    """Returns what a user should know of runs before they begin, a sentence each.

    Args:
        padding_is_given: so nobody wonders why batches are padded; conversations are packed full.
    """
    notes = []
    for config in configs:
        if config.padding == "longest" and not padding_is_given and config.loss_on is None:
            notes.append(f"padding longest: {config.model} does not compute on real tokens alone")
        if is_emulated(config.device, config.precision):
            notes.append(f"precision {config.precision}: this CPU emulates it, fp32 is faster")
    return sorted(set(notes))


def choose_padding(model: PreTrainedModel, name: str, padding: Padding | None) -> Padding:
    """Returns what batches are padded to: nothing where that is left open and `model`, called `name`, can.

    Raises:
        InputError: it cannot, and was asked to.
    """
    if padding == "none" and not can_unpad(model.config):
        raise InputError(
            f"--padding none: a {model.config.model_type} model such as {name} pads its batches: take longest"
        )
    return padding or ("none" if can_unpad(model.config) else "longest")


def check_length(model: PreTrainedModel, name: str, length: int) -> None:
    """Refuses inputs of more tokens than `model`, called `name`, has positions for.

    Raises:
        InputError: says how many there are.
    """
    longest = longest_input(model)
    if longest is not None and length > longest:
        raise InputError(f"--length {length}: {name} has positions for {longest} tokens")


def check_sizes(
    name: str,
    shapes: Shapes,
    kept: int | None,
    rank: int | None,
    basis_rank: int | None,
    density: float | None,
) -> None:
    """Refuses more entries or higher ranks than the MLP matrices of the model called `name` have.

    Raises:
        InputError: names the setting.
    """
    smallest = min(O * I for O, I in shapes)
    if kept is not None and kept > smallest:
        raise InputError(f"--kept {kept}: the MLP matrices of {name} have {smallest} entries")
    narrowest = min(min(shape) for shape in shapes)
    if rank is not None and rank > narrowest:
        raise InputError(f"--rank {rank}: the MLP matrices of {name} have rank {narrowest}")
    if basis_rank is None:
        return
    widest = max(max(shape) for shape in shapes)
    if basis_rank > widest:
        raise InputError(
            f"--basis-rank {basis_rank}: the MLP matrices of {name} have at most {widest} directions a side"
        )
    if kept is None and density is None:
        return
    for O, I in dict.fromkeys(shapes):
        try:
            kept_entries((O, I), kept, density, rank=(min(O, basis_rank), min(I, basis_rank)))
        except ValueError as error:
            raise InputError(f"--basis-rank {basis_rank}: {error}") from None


def check_fits(
    config: RunConfig, given: Given, model: PreTrainedModel, data: TaskData, basis: Basis | None
) -> None:
    """Refuses a run that does not fit its model, its data or its basis.

    Raises:
        InputError: names the setting.
    """
    if config.protocol == "heldout":
        check_split_dev(data)
    check_length(model, config.model, config.length)
    if config.pack_attention == "within" and not can_unpad(model.config):
        raise InputError(f"--pack-attention within: a {model.config.model_type} model cannot: take across")
    if config.batch_size % config.accumulation_steps:
        raise InputError(
            f"--accumulation-steps {config.accumulation_steps} does not divide the batch size "
            f"{config.batch_size}"
        )
    if config.place == "backward" and config.accumulation_steps > 1:
        raise InputError(
            f"--place backward steps before the gradients of {config.accumulation_steps} micro batches are "
            "summed: take --place optimizer, or --accumulation-steps 1"
        )
    try:
        blocks = chosen_blocks(model, config.blocks)
    except ValueError as error:
        raise InputError(f"--blocks {config.blocks}: {error}") from None
    weights = [place.linear.weight for place in find_mlp_linears(model, blocks)]
    shapes = [(weight.shape[0], weight.shape[1]) for weight in weights]
    check_sizes(config.model, shapes, config.kept, config.rank, config.basis_rank, config.density)
    if config.basis is not None and basis is not None:
        _check_basis(config, basis)
    get_method(config.method).check(model, MethodConfig.of(config, config.accumulation_steps))


def _check_basis(config: RunConfig, basis: Basis) -> None:
    """Refuses what a user's own basis is not good for."""
    if not basis.kinds:
        raise InputError(f"--basis {config.basis} holds squared gradients and no directions: it is no basis")
    if not basis.is_truncated and config.place == "adapter" and config.mask == "dynamic":
        raise InputError(
            f"--basis {config.basis} is not truncated, so --place adapter would train as much as the "
            "matrices hold: take --place optimizer or backward, or a basis made with --basis-rank"
        )
    missing = any(kind.energy is None for kind in basis.kinds.values())
    if missing and config.mask in ("fixed", "block"):
        raise InputError(
            f"--basis {config.basis} holds no energies, from which --mask {config.mask} chooses: "
            "make it again with `sparsegrad calibrate`"
        )
