"""What is refused before anything is trained."""

from __future__ import annotations

import pytest
import torch

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.checks import choose_device, is_emulated


@pytest.mark.parametrize("precision", ["tf32", "bf16", "bf16-weights"])
def test_a_gpu_that_cannot_compute_in_a_precision_is_refused_at_the_start(precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    with pytest.raises(InputError, match=r"capability 8\.0"):
        choose_device("auto", precision)
    assert choose_device("auto", "fp32") == "cuda"


@pytest.mark.parametrize(("able", "emulated"), [({}, True), ({"avx2": True, "avx512_bf16": True}, False)])
def test_bf16_on_a_cpu_without_instructions_for_it_is_known(able, emulated, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert is_emulated("cpu", "bf16") == emulated
    assert not is_emulated("cpu", "fp32")
    assert not is_emulated("cuda", "bf16")
