"""Small MLP blocks, named as BERT names them, for tests of the core that need no transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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


def random_orthogonal(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0].to(dtype)
