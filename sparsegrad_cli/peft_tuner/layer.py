"""A linear with an update in the leading directions of its gradients beside it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from .config import SparseGradConfig


class SparseGradLayer(BaseTunerLayer):
    """What adapters of a layer hold: `sparsegrad_S` is trained, U (`I x c`) and V (`O x r`) are not."""

    adapter_layer_names = ("sparsegrad_S",)
    other_param_names = ("r", "scaling", "sparsegrad_U", "sparsegrad_V")

    def __init__(self, base_layer: nn.Module) -> None:
        self.base_layer = base_layer
        self.r: dict[str, int] = {}
        self.scaling: dict[str, float] = {}
        self.sparsegrad_S = nn.ParameterDict({})
        self.sparsegrad_U = BufferDict({}, persistent=True)
        self.sparsegrad_V = BufferDict({}, persistent=True)
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        base = self.get_base_layer()
        self.in_features, self.out_features = base.in_features, base.out_features

    def get_base_layer(self) -> nn.Linear:
        """Returns the linear itself, also where other tuners' layers are around it."""
        base = super().get_base_layer()
        if not isinstance(base, nn.Linear):
            raise ValueError(f"Target module {base} is not supported. Currently, only `torch.nn.Linear` is.")
        return base

    def update_layer(self, adapter_name: str, config: SparseGradConfig) -> None:
        """Add an adapter, in an orthogonal basis drawn from the configuration's seed."""
        if config.r <= 0:
            raise ValueError(f"`r` should be a positive integer value but the value passed is {config.r}")
        self.r[adapter_name] = config.r
        self.scaling[adapter_name] = config.scaling
        rows, columns = min(config.r, self.out_features), min(config.r, self.in_features)
        self.sparsegrad_S[adapter_name] = nn.Parameter(torch.empty(rows, columns))
        self.sparsegrad_U[adapter_name] = _orthogonal(self.in_features, columns, config.random_seed)
        self.sparsegrad_V[adapter_name] = _orthogonal(self.out_features, rows, config.random_seed + 1)
        self.reset_sparsegrad_parameters(adapter_name, config.init_weights)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters)

    def reset_sparsegrad_parameters(self, adapter_name: str, init_weights: bool = True) -> None:
        if init_weights:
            nn.init.zeros_(self.sparsegrad_S[adapter_name])
        else:
            nn.init.normal_(self.sparsegrad_S[adapter_name], std=0.1)

    def set_basis(self, adapter_name: str, U: Tensor, V: Tensor) -> None:
        """Take over the leading columns of a basis.

        Args:
            U, V: `I x I` and `O x O`, orthogonal, their columns sorted by energy; or the first of them.

        Raises:
            ValueError: the adapter has been trained: S has its meaning in the basis that it was trained in.
        """
        S = self.sparsegrad_S[adapter_name]
        if S.detach().any():
            raise ValueError("a basis must be set before training, but the adapter's values are not zero")
        for held, columns, count in ((self.sparsegrad_U, U, S.shape[1]), (self.sparsegrad_V, V, S.shape[0])):
            held[adapter_name] = columns[:, :count].to(held[adapter_name]).contiguous()

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Returns True: `V S` and `U^T` are a LoRA of rank r."""
        return True


class Linear(nn.Module, SparseGradLayer):
    """SparseGrad for `nn.Linear`."""

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: SparseGradConfig) -> None:
        super().__init__()
        SparseGradLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Merge the active adapters into the base weights.

        Args:
            safe_merge: work on a copy, and refuse an update that is not finite.
            adapter_names: None: all active ones.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.sparsegrad_S:
                continue
            base = self.get_base_layer()
            weight = base.weight.data.clone() if safe_merge else base.weight.data
            weight += self.get_delta_weight(name).to(weight.dtype)
            if safe_merge and not torch.isfinite(weight).all():
                raise ValueError(
                    f"NaNs detected in the merged weights. The adapter {name} seems to be broken"
                )
            base.weight.data = weight
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take all merged adapters out of the base weights again."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        while self.merged_adapters:
            name = self.merged_adapters.pop()
            if name in self.sparsegrad_S:
                weight = self.get_base_layer().weight
                weight.data -= self.get_delta_weight(name).to(weight.dtype)

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Returns the update of the weight, `O x I`."""
        U, V = self.sparsegrad_U[adapter], self.sparsegrad_V[adapter]
        return self.scaling[adapter] * V @ self.sparsegrad_S[adapter].to(V.dtype) @ U.T

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """From (..., I) to (..., O)."""
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return self.base_layer(x, *args, **kwargs)
        result = self.base_layer(x, *args, **kwargs)
        if self.merged:
            return result
        dtype = result.dtype
        for name in self.active_adapters:
            if name not in self.sparsegrad_S:
                continue
            S = self.sparsegrad_S[name]
            U, V = self.sparsegrad_U[name].to(S.dtype), self.sparsegrad_V[name].to(S.dtype)
            x = self._cast_input_dtype(x, S.dtype)
            result = result + self.scaling[name] * ((x @ U) @ S.T @ V.T)
        return result.to(dtype)

    def __repr__(self) -> str:
        return "sparsegrad." + super().__repr__()


def _orthogonal(size: int, columns: int, seed: int) -> Tensor:
    """Returns the first columns of a random orthogonal matrix."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, columns, generator=generator))[0].contiguous()
