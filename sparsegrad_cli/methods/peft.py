"""Methods of the installed PEFT: those of `peft_table.py` by name, any other by its `adapter_config.json`."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import peft
import torch
from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.shira import ShiraLayer
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from torch.optim import Optimizer

from ..core import Basis
from ..errors import InputError, unknown
from .base import (
    Calibrated,
    Method,
    MethodConfig,
    Shape,
    adamw,
    choose_trained,
    chosen_blocks,
    target_linears,
)
from .peft_table import BY_NAME, Entry, order_and_colour

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER = "default"  # PEFT's name of a model's first adapter
# what torch and PEFT say where something, such as a start from singular values, reads a meta tensor's numbers
NEEDS_NUMBERS = (
    "meta tensor",
    "Meta tensor",
    "meta device",
    "'Meta' backend",
    "register_meta",
    "incompatible tensor type",
)
# fields of LoRA's configuration with a term beside the loss, and the tuner's function that computes it
TERMS = {"kasa_config": "_get_kasa_loss", "monteclora_config": "_get_monteclora_loss"}
STEPS = 1000  # that AdaLoRA's schedule has where nobody says how many there will be


class PeftMethod(Method):
    """See `Method`: a tuner of PEFT puts trained parameters beside, or in place of, the targeted linears.

    The weights of these linears are frozen; what else took gradients still does, unless `freeze_rest`.
    """

    settings = frozenset({"rank", "target"})

    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        weights = {module: module.weight for module in model.modules() if isinstance(module, nn.Linear)}
        self.model = model
        self.config = config
        self._tuner = self.tune(model, self.peft_config(model, config), basis)
        self.adapted = [p for p in model.parameters() if p.requires_grad]  # PEFT froze the rest
        if config.sizes_only:
            _make_updates_dense(model)
        tuned = (layer.get_base_layer() for layer in model.modules() if isinstance(layer, BaseTunerLayer))
        frozen = {weights[linear] for linear in tuned if linear in weights}
        for p in trained:
            p.requires_grad_(p not in frozen)
        choose_trained(model, head, self.adapted, config.freeze_rest)

    @classmethod
    @abstractmethod
    def peft_config(cls, model: nn.Module, config: MethodConfig) -> PeftConfig:
        """Returns PEFT's configuration of the method for a model.

        Raises:
            InputError: it cannot be applied to the model.
        """

    @classmethod
    def tune(cls, model: nn.Module, peft_config: PeftConfig, basis: Basis | None = None) -> BaseTuner:
        """Returns the tuner that has changed `model` in place."""
        if basis is not None:
            for name, gradient in basis.squares.items():
                module: Any = model.get_submodule(name)
                module._peft_loraga_grad = gradient.to(module.weight.device)
        assert peft_config.peft_type is not None
        return PEFT_TYPE_TO_TUNER_MAPPING[PeftType(peft_config.peft_type)](model, peft_config, ADAPTER)

    @classmethod
    def check(cls, model: nn.Module, config: MethodConfig) -> None:
        """Refuses a model that the method cannot be applied to, or not be merged into again.

        Args:
            model: on the meta device; it is not changed.
        """
        peft_config = cls.peft_config(model, config)
        kind = PeftType(peft_config.peft_type)
        if peft_config.is_prompt_learning or not issubclass(PEFT_TYPE_TO_TUNER_MAPPING[kind], BaseTuner):
            raise InputError(
                f"--method {cls.name}: {kind.value} trains a prompt or a mixture and no weights: "
                "take a method that changes the model"
            )
        model = copy.deepcopy(model)
        try:
            cls.tune(model, peft_config).merge_and_unload()
        except RuntimeError as error:
            if not any(words in str(error) for words in NEEDS_NUMBERS):
                raise InputError(f"--method {cls.name}: PEFT cannot merge it ({_line(error)})") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"--method {cls.name}: {_line(error)}") from None

    def optimizer(self, learning_rate: float) -> Optimizer:
        """Returns AdamW of all that is trained, which adds what the method has beside the loss."""
        optimizer = adamw(self.model, learning_rate, self.config.weight_decay)
        peft_config = self._tuner.peft_config[ADAPTER]
        if peft_config.peft_type == "ADALORA":
            _prune_at_steps(self._tuner, optimizer)
        for field, term in TERMS.items():
            if getattr(peft_config, field, None) is not None:
                _add_gradients(optimizer, getattr(self._tuner, term), self.adapted)
        return optimizer

    def merge(self) -> nn.Module:
        """Returns the model with what was trained put into its weights."""
        for layer in self.model.modules():
            if isinstance(layer, BaseTunerLayer):  # in bfloat16 most of a small update would be lost
                base = layer.get_base_layer()
                for p in base.parameters(recurse=False):
                    p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
        return self._tuner.merge_and_unload()


class NamedMethod(PeftMethod):
    """A method of `peft_table.py`."""

    entry: ClassVar[Entry]

    @classmethod
    def calibration(cls, config: MethodConfig) -> Calibrated | None:
        """Returns what is to be measured before training; None: nothing."""
        return "gradients" if cls.entry.calibrates else None

    @classmethod
    def peft_config(cls, model: nn.Module, config: MethodConfig) -> PeftConfig:
        """Returns PEFT's configuration, at about the number of values that LoRA has at `config.rank`."""
        entry = cls.entry
        linears = target_linears(model, config.target, chosen_blocks(model, config.blocks))
        if config.rank is None or config.rank < 1:
            raise ValueError(f"{entry.name} needs a rank of at least 1, got {config.rank}")
        fields: dict[str, Any] = {"target_modules": list(linears), **entry.options}
        if config.sizes_only:
            fields.pop("init_lora_weights", None)
        if entry.size:
            shapes = [(linear.out_features, linear.in_features) for linear in linears.values()]
            size = choose_size(entry, shapes, config.rank)
            fields[entry.size] = size
            if entry.alpha:
                fields[entry.alpha] = round(entry.alpha_of * size)
        if entry.seed:
            fields[entry.seed] = config.seed
        if entry.name == "ia3":
            fields["feedforward_modules"] = [name for name in linears if name.endswith(SECOND_LINEARS)]
        if entry.name == "loraga":
            fields["lora_ga_config"] = peft.LoraGAConfig()
        if entry.name == "adalora":
            steps = config.steps or STEPS
            kept = max(1, fields["init_r"] * 2 // 3)
            fields |= {"target_r": kept, "total_step": steps, "tinit": steps // 10, "tfinal": 3 * steps // 10}
        return getattr(peft, entry.config)(**fields)


# the second matrix of an MLP, of whose inputs (IA)^3 scales each
SECOND_LINEARS = ("output.dense", "ffn.lin2", "mlp.down_proj")


def choose_size(entry: Entry, shapes: Sequence[Shape], rank: int) -> int:
    """Returns the size of a method whose number of trained values is nearest to LoRA's.

    Args:
        shapes: `O x I` of each targeted matrix.
        rank: of LoRA.

    Raises:
        InputError: the matrices take no size.
    """
    budget = sum(rank * (O + I) for O, I in shapes)
    kinds = set(shapes)
    counts = {shape: shapes.count(shape) for shape in kinds}
    candidates = {*range(1, 1 + max(max(shape) for shape in kinds)), max(1, round(budget / len(shapes)))}
    sizes = [size for size in candidates if all(entry.fits(O, I, size) for O, I in kinds)]
    if not sizes:
        found = ", ".join(f"{O} x {I}" for O, I in sorted(kinds))
        raise InputError(f"--method {entry.name}: no {entry.size} suits matrices of {found}")

    def away(size: int) -> int:
        return abs(sum(n * entry.values(*shape, size) for shape, n in counts.items()) - budget)

    return min(sizes, key=lambda size: (away(size), -size))


class FileMethod(PeftMethod):
    """What a user's `adapter_config.json` says, target modules and all."""

    settings = frozenset()
    fixed: ClassVar = {"blocks": "all"}
    fields: ClassVar[dict[str, Any]]

    @classmethod
    def peft_config(cls, model: nn.Module, config: MethodConfig) -> PeftConfig:
        """Returns PEFT's configuration as the file has it."""
        fields = {**cls.fields, "inference_mode": False}
        if fields["peft_type"] == "ADALORA":
            fields["total_step"] = fields.get("total_step") or config.steps or STEPS
        known = {field.name for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[fields["peft_type"]])}
        for field, value in fields.items():
            if field not in known and value:  # PEFT would go on without it
                message = unknown(f"field of {fields['peft_type']} in PEFT", field, sorted(known))
                raise InputError(f"--method {cls.name}: {message}")
        if fields.get("init_lora_weights") == "eva":  # PEFT would begin at random
            raise InputError(
                f"--method {cls.name}: init_lora_weights eva begins from activations, which nothing "
                "collects here: take another, or --method loraga, which begins from gradients"
            )
        try:
            return PeftConfig.from_peft_type(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"--method {cls.name}: {_line(error)}") from None


@functools.cache
def named_method(name: str) -> type[NamedMethod]:
    """Returns the method of that name in `peft_table.py`."""
    entry = BY_NAME[name]
    order, colour = order_and_colour(name)
    says: dict[str, Any] = {
        "name": name,
        "help": entry.help,
        "source": entry.source,
        "order": order,
        "colour": colour,
        "entry": entry,
    }
    if entry.calibrates:
        says["settings"] = NamedMethod.settings | {"calibration_steps"}
    return type(f"PEFT_{name}", (NamedMethod,), says)


def file_method(name: str, path: Path) -> type[FileMethod]:
    """Returns the method that a file describes.

    Args:
        name: as a user typed it, `peft:my-adapter.json`.
        path: the file, or a folder with an `adapter_config.json` as PEFT writes it.

    Raises:
        InputError: it cannot be read, or is none.
    """
    path = path / ADAPTER_CONFIG if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"--method {name}: cannot read {path} ({_line(error)})") from None
    if not isinstance(fields, dict) or fields.get("peft_type") not in PEFT_TYPE_TO_TUNER_MAPPING:
        kind = fields.get("peft_type") if isinstance(fields, dict) else None
        raise InputError(f"--method {name}: {path} has the peft_type {kind}, which this PEFT cannot inject")
    return _file_method(name, text)


@functools.cache
def _file_method(name: str, text: str) -> type[FileMethod]:
    fields = json.loads(text)
    order, colour = order_and_colour(name)
    says = {
        "name": name,
        "help": f"{fields['peft_type']} of PEFT, as the file has it.",
        "source": "a file",
        "order": order,
        "colour": colour,
        "revision": hashlib.sha256(text.encode()).hexdigest(),
    }
    return type("PEFT_file", (FileMethod,), {**says, "fields": fields})


def _prune_at_steps(tuner: Any, optimizer: Optimizer) -> None:
    """Let AdaLoRA keep its directions orthogonal and prune the least important ones, step by step.

    Its averages of importance lie in the optimizer's state, so that checkpoints hold them.
    """
    allocator, peft_config = tuner.rankallocator, tuner.peft_config[ADAPTER]
    named = {name: p for name, p in tuner.model.named_parameters() if "lora_" in name and p.requires_grad}
    averages = {"exp_avg_ipt": allocator.exp_avg_ipt, "exp_avg_unc": allocator.exp_avg_unc}

    def penalty() -> torch.Tensor:
        return _distance_from_orthogonal(named) * peft_config.orth_reg_weight

    def prune(*_: object) -> None:
        state = {name: optimizer.state[p] for name, p in named.items()}
        step = int(next(iter(state.values()))["step"].item())
        for key, average in averages.items():
            average.update({name: found[key] for name, found in state.items() if key in found})
        allocator.ipt = {name: named[name] for name in allocator.exp_avg_ipt}
        last = peft_config.total_step - peft_config.tfinal
        if step <= last:
            allocator.update_ipt(tuner.model)
            for key, average in averages.items():
                for name, found in state.items():
                    found[key] = average[name]
        budget, is_due = allocator.budget_schedule(step)
        if step == last or (is_due and step < last):
            allocator.mask_to_budget(tuner.model, budget)
        for name, p in named.items():
            if "lora_E" in name and step == last:
                state[name]["kept"] = (p != 0).to(p.dtype)
            if "lora_E" in name and step > last:
                p.data.mul_(state[name]["kept"])

    _add_gradients(optimizer, penalty, [p for name, p in named.items() if "lora_E" not in name])
    optimizer.register_step_post_hook(prune)


def _add_gradients(
    optimizer: Optimizer, term: Callable[[], torch.Tensor], parameters: Sequence[nn.Parameter]
) -> None:
    """Let every step also follow the gradient of a term beside the loss."""

    def add(*_: object) -> None:
        with torch.enable_grad():
            gradients = torch.autograd.grad(term(), parameters, allow_unused=True)
        for p, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad + gradient

    optimizer.register_step_pre_hook(add)


def _distance_from_orthogonal(named: dict[str, nn.Parameter]) -> torch.Tensor:
    """Returns the mean of `|A A^T - 1|` and `|B^T B - 1|` (equation 4 of the AdaLoRA paper, unsquared)."""
    distances = []
    for name, p in named.items():
        if "lora_E" not in name:
            gram = p @ p.T if "lora_A" in name else p.T @ p
            distances.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=p.device)))
    return torch.stack(distances).mean()


def _make_updates_dense(model: nn.Module) -> None:
    """Let SHiRA's updates be dense tensors: of sparse ones without numbers torch takes no gradients."""

    def dense(layer: Any, adapter: str) -> torch.Tensor:
        rows, columns = layer.shira_indices[adapter]
        values = layer.shira_weight[adapter]
        weight = values.new_zeros(layer.out_features, layer.in_features)
        return weight.index_put((rows.long(), columns.long()), values)

    for layer in model.modules():
        if isinstance(layer, ShiraLayer):
            vars(layer)["get_delta_weight"] = functools.partial(dense, layer)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
