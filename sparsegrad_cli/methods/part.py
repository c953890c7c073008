"""What the methods share that train some of the model's own parameters, the head, and nothing else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from ..core import Basis
from ..errors import InputError
from .base import Method, MethodConfig, adamw, choose_trained


class PartMethod(Method):
    """See `Method`; `chosen` says which parameters are trained beside the head."""

    settings = frozenset()
    fixed: ClassVar = {"freeze_rest": True, "blocks": "all"}

    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.weight_decay = config.weight_decay
        self.adapted = [p for name, p in self.chosen(model).items() if name not in head]
        choose_trained(model, head, self.adapted, freeze_rest=True)

    @classmethod
    @abstractmethod
    def chosen(cls, model: nn.Module) -> dict[str, nn.Parameter]:
        """Returns the parameters that are trained, by name."""

    @classmethod
    def check(cls, model: nn.Module, config: MethodConfig) -> None:
        """Refuses a model that has no such parameters."""
        if not cls.chosen(model):
            raise InputError(f"--method {cls.name}: {type(model).__name__} has nothing that it would train")

    def optimizer(self, learning_rate: float) -> Optimizer:
        """Returns AdamW of all that is trained."""
        return adamw(self.model, learning_rate, self.weight_decay)

    def merge(self) -> nn.Module:
        """Returns the model, which is plain all along."""
        return self.model
