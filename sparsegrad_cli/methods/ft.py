"""Full fine-tuning: every weight is trained, by AdamW or by an optimizer that projects its moments."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments

from ..core import Basis
from ..errors import InputError
from .base import Method, MethodConfig, adamw, choose_trained, chosen_blocks, target_linears

PACKAGES = {"galore": "galore_torch", "apollo": "apollo_torch"}
PROJECTORS = {  # what holds a matrix's subspace, in the optimizer's state
    "galore": ("galore_torch.galore_projector", "GaLoreProjector"),
    "apollo": ("apollo_torch.random_projector", "GradientProjector"),
}


class FullFineTuning(Method):
    """See `Method`. With `freeze_rest` only the targeted weights and the head are trained.

    GaLore (Zhao et al. 2024, arXiv:2403.03507) and APOLLO (Zhu et al. 2024, arXiv:2412.05270) keep the
    moments of the targeted weights in a subspace of rank 128, a new one every 200 steps: transformers'
    defaults.
    """

    name = "ft"
    help = "Full fine-tuning: every weight is trained by AdamW, or by --optimizer galore or apollo."
    source = "Devlin et al. 2019, arXiv:1810.04805"
    order = 0
    colour = "#444444"
    settings = frozenset({"target", "optimizer"})

    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.config = config
        self._linears = target_linears(model, config.target, chosen_blocks(model, config.blocks))
        weights = {linear.weight for linear in self._linears.values()}
        self.adapted = [p for p in model.parameters() if p in weights]
        choose_trained(model, head, self.adapted, config.freeze_rest)

    @classmethod
    def check(cls, model: nn.Module, config: MethodConfig) -> None:
        """Refuses an optimizer that is not installed."""
        package = PACKAGES.get(config.optimizer)
        if package is None:
            return
        try:
            import_module(package)
        except ImportError as error:
            name = package.replace("_", "-")
            raise InputError(
                f"--optimizer {config.optimizer} needs the package {name}: pip install {name} ({error})"
            ) from None

    def optimizer(self, learning_rate: float) -> Optimizer:
        """Returns the optimizer of all that is trained."""
        config = self.config
        if config.optimizer == "adamw":
            return adamw(self.model, learning_rate, config.weight_decay)
        arguments = TrainingArguments(
            optim=f"{config.optimizer}_adamw",
            optim_target_modules=list(self._linears),
            learning_rate=learning_rate,
        )
        # any module will do: only names and parameters are read
        kind, keywords = Trainer.get_optimizer_cls_and_kwargs(arguments, self.model)  # type: ignore[arg-type]
        for group in keywords["params"]:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        optimizer = kind(**keywords, weight_decay=config.weight_decay)
        module, name = PROJECTORS[config.optimizer]
        _store_projectors_as_dicts(optimizer, getattr(import_module(module), name))
        return optimizer

    def merge(self) -> nn.Module:
        """Returns the model, which is plain all along."""
        return self.model


def _store_projectors_as_dicts(optimizer: Optimizer, projector_type: Any) -> None:
    """Let checkpoints hold the fields of projectors: torch reads no objects of other libraries."""

    def store(_: Optimizer, saved: dict[str, Any]) -> None:
        for key, state in saved["state"].items():
            if "projector" in state:
                fields = vars(state["projector"])
                kept = {name: value for name, value in fields.items() if not isinstance(value, str)}
                saved["state"][key] = {**state, "projector": kept}

    def restore(_: Optimizer) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                state = optimizer.state[p]
                if "projector" in state:
                    projector = projector_type(group["rank"], proj_type=group["proj_type"])
                    vars(projector).update(state["projector"])
                    state["projector"] = projector

    optimizer.register_state_dict_post_hook(store)
    optimizer.register_load_state_dict_post_hook(restore)


METHOD = FullFineTuning
