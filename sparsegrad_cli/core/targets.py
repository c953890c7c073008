"""Where a transformer keeps its MLP: the linears of each block that are adapted."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

# family -> the kinds of MLP linear in a block, as they are named after `layer.<n>.` or `layers.<n>.`
FAMILIES: dict[str, tuple[str, ...]] = {
    "BERT, RoBERTa, ELECTRA": ("intermediate.dense", "output.dense"),
    "DistilBERT": ("ffn.lin1", "ffn.lin2"),
    "LLaMA": ("mlp.up_proj", "mlp.down_proj"),
}
_KIND_IN_BLOCK = re.compile(
    r"(?:^|\.)layers?\.(?P<block>\d+)\.(?P<kind>"
    + "|".join(re.escape(kind) for kinds in FAMILIES.values() for kind in kinds)
    + r")$"
)

# where nothing but an activation stands between the two linears of a block:
# first kind -> the activation, the second kind
PAIRS: dict[str, tuple[str, str]] = {
    "intermediate.dense": ("intermediate.intermediate_act_fn", "output.dense"),
    "ffn.lin1": ("ffn.activation", "ffn.lin2"),
}


class UnsupportedModelError(ValueError):
    """The model has no MLP linears where those of the known families are."""


@dataclass(frozen=True)
class MLPLinear:
    """One MLP linear of a model: `linear`, with weight `O x I`, stands at `name` in block `block`."""

    name: str
    kind: str
    block: int
    linear: nn.Linear


def find_mlp_linears(model: nn.Module, blocks: Collection[int] | None = None) -> list[MLPLinear]:
    """Returns the MLP linears of `model`, in these `blocks` (None: all), in the order of its modules.

    Raises:
        UnsupportedModelError: none was found; the message says what was looked for.
        ValueError: the model has no such block.
    """
    found = []
    count = 0  # by name: a block remains one when its linears are replaced
    for name, module in model.named_modules():
        place = _KIND_IN_BLOCK.search(name)
        if place is None:
            continue
        block = int(place["block"])
        count = max(count, block + 1)
        if isinstance(module, nn.Linear) and (blocks is None or block in blocks):
            found.append(MLPLinear(name, place["kind"], block, module))
    if count and blocks is not None:
        check_blocks(blocks, count)
    if not found:
        looked_for = "; ".join(
            f"{family}: {' and '.join(f'layer.<n>.{kind}' for kind in kinds)}"
            for family, kinds in FAMILIES.items()
        )
        raise UnsupportedModelError(
            f"{type(model).__name__} has no MLP linears that SparseGrad knows; looked for {looked_for}"
        )
    return found


def check_blocks(blocks: Collection[int], count: int) -> None:
    """Raise ValueError for a block that a model of `count` blocks does not have, or for none at all."""
    if not blocks:
        raise ValueError("no block is chosen")
    wrong = [block for block in blocks if not 0 <= block < count]
    if wrong:
        raise ValueError(f"there is no block {wrong[0]}: the model has {count}, numbered 0 to {count - 1}")


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` at the dotted `name` in `model`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
