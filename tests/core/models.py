"""Small MLP blocks, named as BERT names them, and how they are trained, for tests without transformers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sparsegrad_cli.core import Applied, Basis, LayerBasis, find_mlp_linears
from sparsegrad_cli.core.optim import PAGE


class Block(nn.Module):
    """`x + W2 gelu(W1 x)`, with the linears and the activation where BERT has them."""

    def __init__(self, hidden: int, inner: int, bias: bool) -> None:
        super().__init__()
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(hidden, inner, bias=bias)
        self.intermediate.intermediate_act_fn = nn.GELU()
        self.output = nn.Module()
        self.output.dense = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.intermediate.intermediate_act_fn(self.intermediate.dense(x))
        return x + self.output.dense(h)


class TinyModel(nn.Module):
    """Blocks and a head; `forward(x, y)` is a loss, `x` of shape (batch, tokens, hidden).

    With `first_token` the head sees only the first token, as a classifier's: the others have no gradient.
    """

    def __init__(
        self,
        hidden: int = 8,
        inner: int = 20,
        layers: int = 2,
        bias: bool = True,
        first_token: bool = False,
    ) -> None:
        super().__init__()
        self.first_token = first_token
        self.layer = nn.ModuleList(Block(hidden, inner, bias) for _ in range(layers))
        self.head = nn.Linear(hidden, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        pooled = x[:, 0] if self.first_token else x.mean(1)
        return torch.nn.functional.cross_entropy(self.head(pooled), y)


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float64, **sizes: int | bool) -> TinyModel:
    torch.manual_seed(seed)
    return TinyModel(**sizes).to(dtype)


def batches(
    n: int, seed: int = 1, hidden: int = 8, dtype: torch.dtype = torch.float64
) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(4, 5, hidden, generator=generator, dtype=dtype),
            torch.randint(3, (4,), generator=generator),
        )
        for _ in range(n)
    ]


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return model(*batch)


def random_orthogonal(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0].to(dtype)


def some_basis(model: nn.Module, rank: tuple[int, int] | None = None, seed: int = 0) -> Basis:
    """Random directions, energies that fall from the leading corner, and squares of the original space.

    Args:
        rank: `(r, c)` of a truncated basis.
    """
    r, c = rank or (None, None)
    kinds, squares = {}, {}
    generator = torch.Generator().manual_seed(seed)
    for place in find_mlp_linears(model):
        weight = place.linear.weight
        O, I = weight.shape
        dtype = torch.promote_types(weight.dtype, torch.float32)
        U, V = random_orthogonal(I, seed + I, dtype), random_orthogonal(O, seed + O, dtype)
        energy = 0.8 ** (torch.arange(O)[:, None] + 2 * torch.arange(I)).double()
        energy = (energy / energy.sum())[:r, :c]
        kinds[place.kind] = LayerBasis(U[:, :c], V[:, :r], energy.sum(0), energy.sum(1), energy)
        squares[place.name] = torch.rand(O, I, generator=generator)
    return Basis(kinds, {}, squares)


def identity_basis(model: nn.Module, blocks: list[int] | None = None) -> Basis:
    """The basis that changes nothing: SparseGrad in it is MeProp."""
    kinds = {}
    for place in find_mlp_linears(model, blocks):
        V, U = (torch.eye(n, dtype=place.linear.weight.dtype) for n in place.linear.weight.shape)
        kinds[place.kind] = LayerBasis(U, V, U.mean(0), V.mean(0))
    return Basis(kinds, {"source": "identity"})


def without_energies(basis: Basis) -> Basis:
    return Basis({kind: replace(b, energy=None) for kind, b in basis.kinds.items()})


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 20, parts: int = 1, seed: int = 1
) -> list[float]:
    """Losses of steps on a batch each, cut into `parts` whose gradients are summed."""
    losses = []
    hidden = model.head.in_features
    for x, y in batches(steps, seed, hidden, model.head.weight.dtype):
        optimizer.zero_grad()
        losses.append(0.0)
        for x_part, y_part in zip(x.chunk(parts), y.chunk(parts), strict=True):
            loss = model(x_part, y_part) / parts
            loss.backward()
            losses[-1] += loss.item()
        optimizer.step()
    return losses


def trained(applied: Applied, steps: int = 20, parts: int = 1, lr: float = 1e-2) -> nn.Module:
    """The merged model after some steps."""
    train(applied.model, applied.optimizer(lr), steps, parts)
    return applied.merge()


def assert_same_weights(model: nn.Module, other: nn.Module, atol: float) -> None:
    ours, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def dense_moment(state: dict[str, Tensor], name: str, size: int) -> Tensor:
    """The moment `name` of a batch of matrices as `L x size`, zero where the optimizer holds none."""
    page_of, store = state["page_of"].long(), state[name]
    store = torch.cat([store.new_zeros(len(store), 1, PAGE), store.unflatten(1, (-1, PAGE))], 1)
    return store.gather(1, (page_of + 1)[..., None].expand(-1, -1, PAGE)).flatten(1)[:, :size]


def kept_bytes(model: nn.Module) -> int:
    """Bytes that autograd keeps between forward and backward, each storage once, weights apart."""
    seen: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    (x, y), *_ = batches(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x, y)
    total = sum(seen.values())
    del loss
    return total
