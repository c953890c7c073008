"""Where a transformer keeps its MLP: the two linears of each block that SparseGrad adapts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from .blocks import check_blocks

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


class UnsupportedModelError(ValueError):
    """The model has no MLP linears where those of the known families are."""


@dataclass(frozen=True)
class MLPLinear:
    """One MLP linear of a model: `linear` has weight `O x I` and stands at `name` in block `block`."""

    name: str
    kind: str
    block: int
    linear: nn.Linear


def find_mlp_linears(model: nn.Module, blocks: Collection[int] | None = None) -> list[MLPLinear]:
    """Lists the MLP linears of `model`, in the order of its modules.

    Args:
        blocks: numbers of the blocks to look at; None: all.

    Raises:
        UnsupportedModelError: none was found; the message says what was looked for.
        ValueError: a block that the model has not.
    """
    found = []
    count = 0  # by name: a block stays one when its linears are replaced
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


# where the activation between a block's two MLP linears is, beside the first of them
ACTIVATIONS: dict[str, str] = {"intermediate.dense": "intermediate_act_fn", "ffn.lin1": "activation"}


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` at the dotted `name` in `model`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
