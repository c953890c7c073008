"""A training step without numbers: what it would hold, and how much it would compute.

The step is the real one, of the real layers, on tensors that have a shape but no memory. Every operation is
seen as it happens: what it makes is added to what is held, what nobody refers to any more is taken away, and
the products of matrices are counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from accelerate.utils import convert_to_fp32
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry
from transformers import PreTrainedModel

from .kernels import kernels_of
from .unpadded import leave_out_mask

Phase = Literal["forward", "backward", "optimizer"]
Batch = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # input -> shape and type
aten = torch.ops.aten


@dataclass(frozen=True)
class Rehearsal:
    """Bytes and operations of one step; without the moments, which no operation of it makes.

    Operations are the floating-point ones of products of matrices: a multiplication and an addition are two.
    """

    activations: int  # more at the end of forward than before it
    gradients: int  # at the end of backward
    peaks: Mapping[Phase, int]
    forward: float  # operations of the first part
    step: float  # operations of the whole


def rehearse(
    model: PreTrainedModel,
    batch: Batch,
    device: str,
    bf16: bool,
    parts: int,
    optimize: Callable[[], None],
) -> Rehearsal:
    """Takes `model` through a step of `parts` batches whose gradients are summed.

    Args:
        model: ready for training, on the meta device; it is spoilt.
        batch: the model's inputs; where they have an `attention_mask`, some tokens are taken for padding.
        device: "cpu" or "cuda", whose kernels are stood in for.
        optimize: what the optimizer does to the matrices that it treats one by one; called when all have
            their gradients.
    """
    peaks: dict[Phase, int] = {}
    if "attention_mask" not in batch:
        leave_out_mask(model)
    with FakeTensorMode(allow_non_fake_inputs=True), kernels_of(device):
        # as if on a CPU: the meta device knows no autocast
        model.to_empty(device="cpu").train()
        model.tie_weights()  # each went its own way
        inputs = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in batch.items()}
        ledger = Ledger()
        ledger.hold([*model.parameters(), *model.buffers(), *inputs.values()])
        held_before = ledger.held
        with ledger:
            for _ in range(min(parts, 2)):  # the third and all after it are as the second
                at_start, done = ledger.held, ledger.operations
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                    outputs = model(**inputs)
                loss = (convert_to_fp32(outputs) if bf16 else outputs).loss  # as the trainer does
                del outputs
                activations, forward = ledger.held - at_start, ledger.operations - done
                peaks["forward"] = max(ledger.peak_so_far(), peaks.get("forward", 0))
                loss.backward()
                del loss
                peaks["backward"] = max(ledger.peak_so_far(), peaks.get("backward", 0))
                of_part = ledger.operations - done
            gradients, done = ledger.held - held_before, ledger.operations
            optimize()
            peaks["optimizer"] = ledger.peak_so_far()
    step = parts * of_part + ledger.operations - done
    return Rehearsal(activations, gradients, peaks, forward, step)


class Ledger(TorchDispatchMode):
    """What is held by the tensors that were made in it and are still referred to; what was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0  # bytes
        self.operations = 0.0
        self._peak = 0
        self._storages: dict[int, weakref.ref] = {}

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Adds the storages behind `tensors`, each once, until they are let go of."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._storages:
                self._storages[key] = weakref.ref(storage, partial(self._free, key, size))
                self.held += size
                self._peak = max(self._peak, self.held)

    def peak_so_far(self) -> int:
        """The most that was held since this was last asked."""
        peak, self._peak = self._peak, self.held
        return peak

    def _free(self, key: int, size: int, gone: weakref.ref) -> None:
        del self._storages[key]
        self.held -= size

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: tuple[type, ...],
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:
        # what depends on numbers: a condition holds (nothing is all zero), no entry is zero
        if func is aten._local_scalar_dense.default:
            return True
        if func is aten.nonzero.default:
            made = args[0].new_empty((args[0].numel(), args[0].ndim), dtype=torch.int64)
        else:
            made = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=made)
        self.hold(leaf for leaf in tree_iter(made) if isinstance(leaf, Tensor))
        return made
