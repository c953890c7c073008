"""The SparseGrad tuner: it puts a layer beside each targeted linear."""

from __future__ import annotations

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from .config import SparseGradConfig
from .layer import Linear, SparseGradLayer

_BERT = r".*layer\.\d+\.(intermediate|output)\.dense"
_GATED = ["up_proj", "down_proj"]
MLP_LINEARS: dict[str, str | list[str]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), _BERT),
    "distilbert": ["lin1", "lin2"],
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "smollm3"), _GATED),
    "opt": ["fc1", "fc2"],
}


class SparseGradModel(BaseTuner):
    """Creates a model that is trained in the directions where its gradients are nearly sparse.

    See Chekalina et al. 2024, arXiv:2410.07383; only the leading corner of the basis is trained here, so that
    the base weights stay as they are, and the update is a LoRA of rank r.

    Args:
        model: the model to be adapted.
        peft_config: a [`SparseGradConfig`].
        adapter_name: name of the adapter, by default "default".

    Example:

        >>> model = get_peft_model(base, SparseGradConfig(r=32))
        >>> initialize_sparsegrad_basis(model, dataloader)
    """

    prefix: str = "sparsegrad_"
    tuner_layer_cls = SparseGradLayer
    # PEFT takes a regular expression as well, which its annotation leaves out
    target_module_mapping = MLP_LINEARS  # type: ignore[assignment]

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if current_key is None:
            raise ValueError("Current Key shouldn't be `None`")
        assert isinstance(peft_config, SparseGradConfig)
        if isinstance(target, Linear):
            target.update_layer(adapter_name, peft_config)
            return
        new_module = Linear(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            new_module.requires_grad_(False)  # an additional adapter is not trained by itself
        self._replace_module(parent, target_name, new_module, target)
