"""Gradient checkpointing: the model is run again in backward, and trains as it does without."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from peft import LoraConfig, LoraModel
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from sparsegrad_cli.bench.reference import apply_reference
from sparsegrad_cli.core import apply_sparsegrad, calibrate, find_mlp_linears
from sparsegrad_cli.models.load import enable_gradient_checkpointing
from sparsegrad_cli.store.basis_file import to_tensors

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}


def bert() -> PreTrainedModel:
    return BertForSequenceClassification(BertConfig(**SIZES, intermediate_size=24, hidden_dropout_prob=0.1))


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SIZES, intermediate_size=24))


def batch(model: PreTrainedModel, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 40, (4, 7), generator=generator)
    return {
        "input_ids": tokens,
        "labels": tokens if isinstance(model, LlamaForCausalLM) else tokens[:, 0] % 2,
    }


def sparse(mask: str = "dynamic", place: str = "backward", **more) -> Callable:
    return lambda model, basis: apply_sparsegrad(model, basis, mask, place, 0.1, **more).optimizer(1e-2)


def lora(model, basis):
    names = [place.name for place in find_mlp_linears(model)]
    LoraModel(model, LoraConfig(r=2, target_modules=names), "default")
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)


METHODS = {
    "optimizer": sparse(place="optimizer"),
    "backward": sparse(),
    "recompute": sparse(recompute=True),
    "adapter": sparse(place="adapter"),
    "block": sparse("block", "adapter"),
    "meprop": lambda model, basis: sparse()(model, None),
    "sparse-by-dense": lambda model, basis: apply_reference(model, basis, "sparse-by-dense", 0.1).optimizer(
        1e-2
    ),
    "lora": lora,
}


def train(
    build: Callable, adapt: Callable, basis, checkpointed: bool, frozen: bool
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build().double().train()
    if checkpointed:
        enable_gradient_checkpointing(model)
    if frozen:  # then the input of the first block takes no gradient
        mlp = {place.linear.weight for place in find_mlp_linears(model)}
        for p in model.parameters():
            p.requires_grad_(p in mlp)
    optimizer = adapt(model, basis)
    for seed in range(2):
        torch.manual_seed(seed)  # of dropout
        optimizer.zero_grad()
        model(**batch(model, seed)).loss.backward()
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


@cache
def basis_of(build: Callable, checkpointed: bool = False):
    torch.manual_seed(0)
    model = build().double().train()
    if checkpointed:
        enable_gradient_checkpointing(model)
    return calibrate(model, [batch(model, seed) for seed in range(10, 16)], steps=4, probe_steps=2)


@pytest.mark.parametrize("build", [bert, llama])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_training_is_that_without_it(build, method, frozen):
    basis = basis_of(build)
    plain, checkpointed = (train(build, METHODS[method], basis, on, frozen) for on in (False, True))
    torch.testing.assert_close(checkpointed, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("build", [bert, llama])
def test_the_basis_is_that_without_it(build):
    plain, checkpointed = (to_tensors(basis_of(build, on)) for on in (False, True))
    for name, tensor in plain.items():
        torch.testing.assert_close(checkpointed[name], tensor, rtol=0, atol=1e-8, msg=name)


def test_with_bfloat16_weights_one_gradient_lives_at_a_time_and_its_sums_are_float32():
    torch.manual_seed(0)
    model = llama().bfloat16().train()
    enable_gradient_checkpointing(model)
    alive = []
    for place in find_mlp_linears(model, [0, 2]):
        place.linear.weight.register_post_accumulate_grad_hook(
            lambda p: alive.append(sum(q.grad is not None for q in model.parameters()))
        )
    data = [batch(model, seed) for seed in range(3)]
    found = calibrate(model, data, steps=2, probe_steps=1, blocks=[0, 2])
    assert alive == [1] * (2 * 2 * 3)  # kinds, blocks, batches
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for tensor in to_tensors(found).values():
        assert tensor.dtype == torch.float32
    for basis in found.kinds.values():
        identity = torch.eye(len(basis.V))
        torch.testing.assert_close(basis.V.T @ basis.V, identity, rtol=0, atol=1e-5)
