"""What is refused before anything is trained."""

from __future__ import annotations

import pytest
import torch

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.checks import choose_device


@pytest.mark.parametrize("precision", ["tf32", "bf16", "bf16-weights"])
def test_a_gpu_that_cannot_compute_in_a_precision_is_refused_at_the_start(precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    with pytest.raises(InputError, match=r"capability 8\.0"):
        choose_device("auto", precision)
    assert choose_device("auto", "fp32") == "cuda"
