"""The configuration of the SparseGrad tuner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from peft import PeftConfig, PeftType

NAME = "SPARSEGRAD"


def add_peft_type() -> None:
    """Let PEFT know the type, which in PEFT itself is a line of the enumeration."""
    if NAME in PeftType.__members__:
        return
    member = str.__new__(PeftType, NAME)
    member._name_, member._value_ = NAME, NAME
    PeftType._member_names_.append(NAME)
    PeftType._member_map_[NAME] = member
    PeftType._value2member_map_[NAME] = member
    type.__setattr__(PeftType, NAME, member)


@dataclass
class SparseGradConfig(PeftConfig):
    """Configuration of a [`SparseGradModel`].

    Each targeted `O x I` matrix W gets the update `V S U^T`, of which only S is trained: `r x r` values in
    the leading directions of the gradients, which `initialize_sparsegrad_basis` finds. Layers of one kind,
    such as the same linear of every block, share U and V.
    """

    r: int = field(
        default=32, metadata={"help": "Directions on each side; r x r values of a matrix are trained."}
    )
    target_modules: list[str] | str | None = field(
        default=None,
        metadata={"help": "Names of modules, or a regular expression of them. Default: the MLP's linears."},
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Names of modules, or a regular expression, that are left out."}
    )
    scaling: float = field(default=1.0, metadata={"help": "Factor of the update."})
    bias: Literal["none", "all", "sparsegrad_only"] = field(
        default="none", metadata={"help": "Biases that are trained: none, all, or those of targeted modules."}
    )
    init_weights: bool = field(
        default=True,
        metadata={"help": "S begins at zero, so that the model computes what it did; False is for tests."},
    )
    random_seed: int = field(
        default=0, metadata={"help": "Of the orthogonal basis that is in place until it is calibrated."}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Modules that are trained and saved as a whole, such as a head."}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "Numbers of the layers to adapt. Default: all."}
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "Name of the list of layers, where it is not a usual one."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        values: dict[str, Any] = vars(self)
        values["peft_type"] = PeftType(NAME)
        for name in ("target_modules", "exclude_modules"):
            if isinstance(values[name], list):
                values[name] = set(values[name])
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError("`layers_to_transform` cannot be used when `target_modules` is a str.")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError(
                "When `layers_pattern` is specified, `layers_to_transform` must also be specified."
            )
