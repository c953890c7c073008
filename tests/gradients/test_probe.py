"""The probe sees the gradient of the loss, whatever stands where the linear was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from sparsegrad_cli.core import find_mlp_linears
from sparsegrad_cli.gradients.record import choose_places, each_output_gradient
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import MethodConfig

from ..checkpoints import KINDS, tiny_checkpoint
from ..core.models import identity_basis

METHODS = {
    "ft": MethodConfig(),
    "lora": MethodConfig(rank=2),
    "meprop": MethodConfig(density=0.1),
    "sparsegrad": MethodConfig(density=0.1),
    "sparsegrad recompute": MethodConfig(density=0.1, recompute=True),
    "sparsegrad optimizer": MethodConfig(density=0.1, place="optimizer"),
}


def load(folder: Path, kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    model.config.pad_token_id = model.config.pad_token_id or 0
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", METHODS)
def test_output_gradient_and_input_make_the_weight_gradient(tmp_path, kind, named):
    folder = tiny_checkpoint(tmp_path / "model", kind)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (3, 7), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 1])}

    plain = load(folder, kind)
    plain(**batch).loss.backward()
    expected = {place.name: place.linear.weight.grad for place in find_mlp_linears(plain)}

    model = load(folder, kind)
    places = find_mlp_linears(model)
    method = get_method(named.split()[0])(model, (), METHODS[named], identity_basis(model))
    method.optimizer(1e-3)  # some layers take their steps in backward
    found = {}

    def use(place, dY, x):
        found[place.name] = torch.einsum("bto,bti->oi", dY, x)

    with each_output_gradient(model, places, use):
        model(**batch).loss.backward()
    assert found.keys() == expected.keys()
    for name, G in found.items():
        assert torch.allclose(G, expected[name], rtol=1e-3, atol=1e-6), name


def test_first_middle_and_last_block(tmp_path):
    for layers, blocks in ((1, {0}), (2, {0, 1}), (5, {0, 2, 4})):
        model = load(tiny_checkpoint(tmp_path / str(layers), "bert", layers=layers), "bert")
        chosen = choose_places(find_mlp_linears(model))
        assert {place.block for place in chosen} == blocks
        assert len(chosen) == 2 * len(blocks)
