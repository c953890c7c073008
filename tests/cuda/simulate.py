"""Training steps on a CUDA device without numbers: prints, as JSON, what would wait for it. Not a test.

python -m tests.cuda.simulate LIBRARY      LIBRARY: device.cpp, compiled
"""

from __future__ import annotations

import copy
import ctypes
import itertools
import json
import sys
from collections import Counter

ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_iter, tree_map  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from sparsegrad_cli.core import Basis, LayerBasis, SparseAdamW, apply_sparsegrad, find_mlp_linears  # noqa: E402
from sparsegrad_cli.models.unpadded import add_layout, unpad  # noqa: E402

from ..core.models import TinyModel  # noqa: E402

torch.cuda.is_available = lambda: True
torch.cuda.current_device = lambda: 0
torch.cuda.is_bf16_supported = lambda *_, **__: True

LAYERS, HIDDEN, INNER = 2, 32, 64
SIZES = {"vocab_size": 50, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
SIZES |= {"num_attention_heads": 4, "pad_token_id": 0}
FAMILIES = {
    "bert": (BertForSequenceClassification, BertConfig(**SIZES)),
    "llama": (LlamaForSequenceClassification, LlamaConfig(**SIZES, num_key_value_heads=2)),
}
POINTS = [  # basis, mask, place
    *(("calibrated", "dynamic", place) for place in ("optimizer", "backward", "adapter")),
    *(("truncated", "dynamic", place) for place in ("optimizer", "backward", "adapter")),
    *(
        ("none", mask, place)
        for mask in ("dynamic", "fixed", "random")
        for place in ("optimizer", "backward")
    ),
    *(("calibrated", mask, place) for mask in ("fixed", "block") for place in ("optimizer", "adapter")),
    ("none", "random", "adapter"),
]
PRECISIONS = {("calibrated", "dynamic"): (False, True), ("calibrated", "fixed"): (True,)}  # others: fp32
NO_KERNEL = {
    "prim::device",
    "empty",
    "empty_strided",
    "empty_like",
    "new_empty",
    "detach",
    "alias",
    "_unsafe_view",
    "set_",
}


class Watch(TorchDispatchMode):
    """Counts kernels on the device and what the host would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        given = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
        on_device = any(t.is_cuda for t in given)
        if name == "_local_scalar_dense":
            if on_device:
                self.waits["item"] += 1
            return 1
        if on_device and name in ("nonzero", "_unique2", "unique_dim", "equal", "masked_select"):
            self.waits[name] += 1
        if on_device and name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            self.waits["index by a mask"] += 1
        if name == "copy_" and not args[0].is_cuda and args[1].is_cuda and not (args[2:] and args[2]):
            self.waits["copy to the host"] += 1
        if name == "_to_copy" and on_device and torch.device(kwargs.get("device") or "cuda").type == "cpu":
            self.waits["copy to the host"] += 1
        made = func(*args, **kwargs)
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not is_view and name not in NO_KERNEL:
            self.kernels += any(isinstance(t, Tensor) and t.is_cuda for t in tree_iter((made, given)))
        return made


def basis_of(kind: str, model: TinyModel) -> Basis | None:
    """A basis without numbers but for its energies, which a block is chosen by."""
    r = 8 if kind == "truncated" else None
    kinds, squares = {}, {}
    for place in find_mlp_linears(model):
        O, I = place.linear.weight.shape
        V, U = torch.empty(O, O)[:, :r], torch.empty(I, I)[:, :r]
        kinds[place.kind] = LayerBasis(U, V, U[0], V[0], torch.empty(O, I)[:r, :r])
        squares[place.name] = torch.empty(O, I, device="cuda")
    return Basis({}, {}, squares) if kind == "none" else Basis(kinds)


def take_step(model: TinyModel, optimizer: SparseAdamW, bf16: bool, parts: int) -> tuple[Watch, int]:
    """Returns what was seen in a step, and how many kernels its update took."""
    x = torch.empty(4, 5, HIDDEN, device="cuda")
    y = torch.zeros(4, dtype=torch.int64, device="cuda")
    with Watch() as watch:
        for _ in range(parts):
            with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
                loss = model(x, y)
            loss.backward()
        before = watch.kernels
        optimizer.step()
        update = watch.kernels - before
        optimizer.zero_grad()
    return watch, update


def run(basis: str, mask: str, place: str, bf16: bool) -> dict[str, object]:
    """Two steps, a step from a reloaded state, evaluation and merge."""
    with FakeTensorMode():
        with torch.device("cuda"):
            model = TinyModel(HIDDEN, INNER, LAYERS)
        precision = "bf16" if bf16 else "tf32"
        with Watch():
            found = apply_sparsegrad(model, basis_of(basis, model), mask, place, kept=48, precision=precision)
            optimizer = found.optimizer(1e-3)
        take_step(model, optimizer, bf16, 1)  # it makes the moments
        parts = 2 if place == "optimizer" and mask == "dynamic" else 1
        step, update = take_step(model, optimizer, bf16, parts)
        with Watch():
            saved = tree_map(lambda t: t.cpu() if isinstance(t, Tensor) else t, optimizer.state_dict())
            optimizer.load_state_dict(saved)
        take_step(model, optimizer, bf16, 1)
        for group, name in itertools.product(optimizer.param_groups, ("U", "V", "entries")):
            assert group[name] is None or group[name].is_cuda
        for state in optimizer.state.values():
            assert all(t.is_cuda for t in state.values()), {name: t.device for name, t in state.items()}
        with Watch() as evaluated, torch.no_grad():
            model.eval()(
                torch.empty(4, 5, HIDDEN, device="cuda"), torch.zeros(4, dtype=torch.int64, device="cuda")
            )
        with Watch():
            found.merge()
    return {"waits": step.waits, "waits_in_eval": evaluated.waits, "kernels_of_update": update}


def run_unpadded(family: str, bf16: bool) -> dict[str, object]:
    """A step and an evaluation of a model of transformers on real tokens alone."""
    model_class, config = FAMILIES[family]
    lengths = torch.tensor([3, 7, 3, 1])
    mask = (torch.arange(7) < lengths[:, None]).long()
    batch = add_layout({"input_ids": mask, "attention_mask": mask, "labels": lengths % 2})
    with torch.device("meta"):  # it makes tensors with numbers while it is built
        model = model_class(copy.deepcopy(config))
    unpad(model)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model.to_empty(device="cuda")
        batch = {name: mode.from_tensor(tensor).to("cuda") for name, tensor in batch.items()}
        with Watch() as step:
            with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
                loss = model.train()(**batch).loss
            loss.backward()
        with Watch() as evaluated, torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            model.eval()(**batch)
    return {"waits": step.waits, "waits_in_eval": evaluated.waits}


if __name__ == "__main__":
    found = {}
    for family, bf16 in (("bert", True), ("llama", False)):
        name = f"unpadded {family} {'bf16' if bf16 else 'fp32'}"
        try:
            found[name] = run_unpadded(family, bf16)
        except Exception as error:
            if "--debug" in sys.argv:
                raise
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    for basis, mask, place in POINTS:
        for bf16 in PRECISIONS.get((basis, mask), (False,)):
            name = f"{basis} {mask} {place} {'bf16' if bf16 else 'fp32'}"
            try:
                found[name] = run(basis, mask, place, bf16)
            except Exception as error:
                if "--debug" in sys.argv:
                    raise
                found[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))
