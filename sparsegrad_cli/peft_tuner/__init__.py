"""SparseGrad as a tuner of PEFT: once this is imported, `get_peft_model` takes a `SparseGradConfig`.

    from sparsegrad_cli.peft_tuner import SparseGradConfig, initialize_sparsegrad_basis

    model = get_peft_model(base, SparseGradConfig(r=32))
    initialize_sparsegrad_basis(model, dataloader)
    ...                                                   # any training loop
    model.save_pretrained("adapter")

It needs torch and PEFT alone, and is laid out as PEFT's own tuners are.
"""

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method

from .basis import initialize_sparsegrad_basis
from .config import SparseGradConfig, add_peft_type
from .layer import Linear, SparseGradLayer
from .model import SparseGradModel

__all__ = ["Linear", "SparseGradConfig", "SparseGradLayer", "SparseGradModel", "initialize_sparsegrad_basis"]

add_peft_type()
if PeftType("SPARSEGRAD") not in PEFT_TYPE_TO_CONFIG_MAPPING:
    register_peft_method(
        name="sparsegrad", config_cls=SparseGradConfig, model_cls=SparseGradModel, prefix="sparsegrad_"
    )
