"""What a training step holds, from shapes alone: neither weights nor data are needed.

`simulate_step` lets the real method and the real optimizer train the real model for two steps on fake
tensors, which have a shape but no memory, and follows every storage from the operation that makes it until
nobody refers to it. torch's own `MemTracker` does the same, but cannot follow a model with frozen parameters.

What Python, its libraries, CUDA's context and the allocator hold besides is not counted, nor what the kernels
of sort and top-k take for a moment on CUDA; a calibration has a peak of its own. On a CPU the peak is within
10% of the measured one; on CUDA it is not checked. Methods
that step inside backward drop tokens without a gradient there, so that they need less of a short model than
this says: by up to a seventh in 3 blocks.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..config import RunConfig
from ..core import Basis, LayerBasis, find_mlp_linears
from ..core.optim import PAGE
from ..methods import get_method
from ..methods.base import MethodConfig, chosen_blocks, target_linears
from ..models.load import enable_gradient_checkpointing
from ..models.unpadded import last_attention
from ..settings import Record
from ..training.memory import group_tensors, optimizer_tensors, storage_bytes
from ..training.objectives import Objective
from ..training.trainer import changing

# share of the pages of a masked optimizer's moments that are held after n steps: 1 - exp(-a * density * n^b),
# with a and b measured on the demo model: 0.1% to 5% of the entries, up to 150 steps of MRPC and SST-2
MOMENT = 4  # bytes of one moment of one entry
PAGE_GROWTH = {"sparsegrad": (4.5, 0.43), "meprop": (7.1, 0.56)}

# bytes that torch keeps for cuBLAS, for the main thread and autograd's: 32 MiB each on Hopper, 8 before it
CUBLAS_WORKSPACES = 2 * 32 * 2**20

UNMASKED = "sdpa-unmasked"  # attention without padding, where transformers leaves the mask out
AttentionInterface.register(UNMASKED, sdpa_attention_forward)
AttentionMaskInterface.register(UNMASKED, lambda *_, **__: None)

aten = torch.ops.aten


class MemoryEstimate(Record):
    """Bytes of tensors in the last step of a run."""

    weights: int  # parameters and buffers, the basis among them
    gradients: int  # every `.grad` at the end of backward
    moments: int  # the optimizer's state
    activations: int  # what the forward pass of a micro batch leaves for backward
    peak: int  # the most that is held at once, all of the above included
    checkpoint: int  # what a checkpoint holds: all that training changes, and the moments


def simulate_step(
    model: PreTrainedModel, objective: Objective, config: RunConfig, tokens: int, steps: int | None = None
) -> MemoryEstimate:
    """Returns what the last step of a run holds when every batch is as long as the longest one.

    Args:
        model: the objective's skeleton, on the meta device; it is not changed.
        tokens: length of each example of the largest batch, padding included.
        steps: optimizer steps of the run; None: until the moments have stopped growing.
    """
    parts = config.accumulation_steps
    head = objective.head(model)
    batch = dict(objective.shapes(model, config.batch_size // parts, tokens))
    if config.padding == "none":
        batch.pop("attention_mask", None)  # rows of one length have no padding
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = _as_loaded(model, config, has_padding="attention_mask" in batch)
    with mode:  # a GPU's tensors too are faked on the CPU, since builds without CUDA cannot fake them
        model.to_empty(device="cpu").train()
        model.tie_weights()
        inputs = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in batch.items()}
    # outside of the mode: what a method reads off the numbers of the basis, such as a block, is computed
    method_class, method_config = get_method(config.method), MethodConfig.of(config, parts)
    needs_basis = method_class.calibration(method_config) is not None
    basis = _basis_of_shapes(model, config, mode) if needs_basis else None
    method = method_class(model, head, replace(method_config, sizes_only=True), basis)
    with mode, _kernels_of(config.device), MemoryTracker() as tracker:
        optimizer = method.optimizer(config.learning_rate)
        weights = [*model.parameters(), *model.buffers(), *group_tensors(optimizer)]
        tracker.track([*weights, *inputs.values()])
        activations = gradients = 0
        # the first step makes the moments; of more than two micro batches, all are like the second
        for is_first, micro_batches in ((True, 1), (False, min(parts, 2))):
            tracker.peak, tracker.chooses_new = tracker.held, is_first
            for _ in range(micro_batches):
                before = tracker.held
                loss = _loss(model, inputs, config)
                activations = max(activations, tracker.held - before)
                loss.backward()
                del loss
            gradients = storage_bytes(p.grad for p in model.parameters() if p.grad is not None)
            optimizer.step()
            optimizer.zero_grad()
    simulated = storage_bytes(optimizer_tensors(optimizer))
    moments = _moments(optimizer, config.method, method.moved_at_a_step(), steps)
    workspaces = CUBLAS_WORKSPACES if config.device == "cuda" else 0
    return MemoryEstimate(
        weights=storage_bytes([*model.parameters(), *model.buffers(), *group_tensors(optimizer)]),
        gradients=gradients,
        moments=moments,
        activations=activations,
        peak=tracker.peak - simulated + moments + workspaces,
        checkpoint=storage_bytes(changing(model).values()) + moments,
    )


def _as_loaded(skeleton: PreTrainedModel, config: RunConfig, has_padding: bool) -> PreTrainedModel:
    """Returns a copy of the skeleton, changed as a run changes what it loads."""
    model = copy.deepcopy(skeleton)
    if config.precision == "bf16-weights":
        nn.Module.to(model, torch.bfloat16)
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # a head on a decoder looks for it
    attention = last_attention(model) if config.padding == "none" else None
    if attention is not None:
        attention.register_forward_hook(_keep_first)
    if not has_padding and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(UNMASKED)
    return model


def _keep_first(attention: nn.Module, args: object, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """As an unpadded model does after its last attention, on rows x tokens x H."""
    return output[0][:, :1], *output[1:]


def _basis_of_shapes(model: nn.Module, config: RunConfig, mode: FakeTensorMode) -> Basis:
    """Returns a basis of fake tensors; its energy is real, and falls along the columns as a basis' does."""
    kinds, squares = {}, {}
    for place in find_mlp_linears(model, chosen_blocks(model, config.blocks)):
        O, I = place.linear.weight.shape
        r, c = (min(size, config.basis_rank or size) for size in (O, I))
        energy = (1 / torch.arange(1, c + 1)).expand(r, c)
        with mode:
            U, V, U_energy, V_energy = (torch.empty(shape) for shape in ((I, c), (O, r), (c,), (r,)))
        kinds[place.kind] = LayerBasis(U, V, U_energy, V_energy, energy)
        squares[place.name] = (1 / torch.arange(1, I + 1)).expand(O, I)  # real, but of I numbers alone
    for name, linear in target_linears(model, config.target, chosen_blocks(model, config.blocks)).items():
        squares.setdefault(name, (1 / torch.arange(1, 1 + linear.in_features)).expand(linear.weight.shape))
    return Basis(kinds, {}, squares)


def _loss(model: nn.Module, inputs: dict[str, Tensor], config: RunConfig) -> Tensor:
    """Compute the loss as the Trainer does, whose autocast gives float32 outputs."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.precision in ("bf16", "bf16-weights")):
        outputs = model(**inputs)
    return (convert_to_fp32(outputs) if config.precision.startswith("bf16") else outputs).loss


def _moments(optimizer: Optimizer, method: str, moved: int, steps: int | None) -> int:
    """Returns the bytes of the optimizer's state after so many steps.

    Args:
        moved: entries of all masked matrices that a step moves; which of them are new depends on the data.
        steps: None: when every page of moments is held.
    """
    paged = [state for state in optimizer.state.values() if "page_of" in state]
    stores = [state[name] for state in paged for name in ("exp_avg", "exp_avg_sq")]
    rest = storage_bytes(optimizer_tensors(optimizer)) - storage_bytes(stores)
    entries = sum(state["page_of"].numel() * PAGE for state in paged)
    share = 1.0
    if paged and steps is not None and method in PAGE_GROWTH:
        a, b = PAGE_GROWTH[method]
        share = 1 - math.exp(-a * moved / entries * steps**b)
    return rest + round(share * entries * 2 * MOMENT)


def _kernels_of(device: str) -> AbstractContextManager[object]:
    """Returns a context in which attention and dropout keep for backward what they would on `device`.

    On a CPU that is what fake tensors keep: the scores of attention and their dropout, in float32.
    """
    return _CUDAKernels() if device == "cuda" else nullcontext()


class _CUDAKernels(TorchFunctionMode):
    """Fused attention keeps its inputs, its output and a sum a row; dropout keeps a byte an element."""

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        if func is F.dropout:
            return _cuda_dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention and not kwargs.get("enable_gqa"):
            return _cuda_attention(*args, **kwargs)
        return func(*args, **kwargs)


def _cuda_dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def _cuda_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The flash kernel takes half precision without a mask, the memory-efficient one takes all else."""
    options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
    if attn_mask is None and query.dtype in (torch.float16, torch.bfloat16):
        return aten._scaled_dot_product_flash_attention(query, key, value, **options)[0]
    bias = attn_mask if attn_mask is None or attn_mask.is_floating_point() else attn_mask.to(query.dtype)
    return aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, **options)[0]


class MemoryTracker(TorchDispatchMode):
    """Counts the bytes of the storages made while it is active, and of those given to `track`.

    It also stands in for operations whose result depends on numbers, which fake tensors do not have: a
    condition holds, no entry is zero, and no page of moments is new but in the first step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.peak = 0
        self.chooses_new = True
        self._storages: dict[int, weakref.ref] = {}

    def track(self, tensors: Iterable[Tensor]) -> None:
        """Count the storages behind `tensors`, each once, until nothing refers to them."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._storages:
                self._storages[key] = weakref.ref(storage, partial(self._free, key, size))
                self.held += size
        self.peak = max(self.peak, self.held)

    def _free(self, key: int, size: int, _: weakref.ref) -> None:
        del self._storages[key]
        self.held -= size

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func is aten._local_scalar_dense.default:
            return True
        if func is aten.nonzero.default:
            made = args[0].new_empty((args[0].numel(), args[0].ndim), dtype=torch.int64)
        elif func is aten.index.Tensor and args[1][0] is not None and args[1][0].dtype == torch.bool:
            made = args[0].new_empty((len(args[0]) if self.chooses_new else 0, *args[0].shape[1:]))
        else:
            made = func(*args, **(kwargs or {}))
        self.track(leaf for leaf in tree_iter(made) if isinstance(leaf, Tensor))
        return made
