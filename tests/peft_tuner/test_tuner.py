"""The SparseGrad tuner keeps the promises that PEFT's own test matrix asks of each of its tuners."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, PeftType, convert_to_lora, get_peft_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig

from sparsegrad_cli.core import calibrate
from sparsegrad_cli.peft_tuner import SparseGradConfig, initialize_sparsegrad_basis

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 48, "pad_token_id": 0}
CONFIGS = {"bert": BertConfig(**SIZES), "llama": LlamaConfig(**SIZES)}
R = 6


@pytest.fixture(params=CONFIGS)
def base(request) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(CONFIGS[request.param]).eval()


def batches(count: int = 4) -> list[dict[str, Tensor]]:
    torch.manual_seed(1)
    return [
        {"input_ids": torch.randint(5, 60, (4, 6)), "labels": torch.randint(2, (4,))} for _ in range(count)
    ]


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=batches(1)[0]["input_ids"]).logits


def tuned(base: nn.Module, steps: int = 3, **options: object) -> PeftModel:
    model = get_peft_model(copy.deepcopy(base), SparseGradConfig(r=R, **options))
    initialize_sparsegrad_basis(model, batches())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for batch in batches(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval()


def test_it_begins_as_the_model_and_trains_a_corner_of_each_mlp_matrix(base):
    model = get_peft_model(copy.deepcopy(base), SparseGradConfig(r=R))
    assert torch.equal(logits(model), logits(base))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {p.shape for p in trained.values()} == {(R, R)}
    assert len(trained) == 4
    assert model.peft_config["default"].peft_type == PeftType("SPARSEGRAD")
    before = {name: p.clone() for name, p in model.named_parameters()}
    model = tuned(base)
    assert not torch.allclose(logits(model), logits(base))
    for name, p in model.named_parameters():
        assert (".sparsegrad_S." in name) != torch.equal(p, before[name]), name


@pytest.mark.parametrize("safe_merge", [False, True])
def test_merge_unmerge_unload_and_disable(base, safe_merge):
    model = tuned(base)
    adapted = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(base))
    model.merge_adapter(safe_merge=safe_merge)
    torch.testing.assert_close(logits(model), adapted, rtol=0, atol=1e-5)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model), adapted, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(copy.deepcopy(model).unload()), logits(base), rtol=0, atol=1e-5)
    plain = model.merge_and_unload(safe_merge=safe_merge)
    assert not any(isinstance(module, BaseTunerLayer) for module in plain.modules())
    torch.testing.assert_close(logits(plain), adapted, rtol=0, atol=1e-5)


def test_a_merge_that_is_not_finite_is_refused(base):
    model = tuned(base)
    next(p for p in model.parameters() if p.requires_grad).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaNs detected"):
        model.merge_adapter(safe_merge=True)


def test_what_is_saved_is_loaded_with_its_basis(base, tmp_path: Path):
    model = tuned(base, modules_to_save=["classifier", "score"])
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=0)
    assert not any(p.requires_grad for p in again.parameters())


def test_two_adapters_are_switched_and_deleted(base):
    model = tuned(base)
    first = logits(model)
    model.add_adapter("other", SparseGradConfig(r=3, init_weights=False))
    model.set_adapter("other")
    assert not torch.allclose(logits(model), first)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    model.delete_adapter("other")
    assert torch.equal(logits(model), first)


def test_it_is_a_lora_of_rank_r_to_whoever_converts_it(base):
    model = tuned(base)
    lora_config, state = convert_to_lora(model, rank=R)
    assert isinstance(lora_config, LoraConfig)
    lora = get_peft_model(copy.deepcopy(base), lora_config)
    set_peft_model_state_dict(lora, state)
    torch.testing.assert_close(logits(lora), logits(model), rtol=0, atol=1e-5)


def test_the_calibration_finds_the_basis_that_the_core_finds(base):
    model = get_peft_model(copy.deepcopy(base), SparseGradConfig(r=R))
    initialize_sparsegrad_basis(model, batches(3))
    basis = calibrate(copy.deepcopy(base), batches(3), steps=3, probe_steps=0)
    for name, module in model.named_modules():
        if not hasattr(module, "sparsegrad_U"):
            continue
        kind = next(kind for kind in basis.kinds if name.endswith(kind))
        for own, theirs in (
            (module.sparsegrad_U["default"], basis.kinds[kind].U),
            (module.sparsegrad_V["default"], basis.kinds[kind].V),
        ):
            overlap = torch.linalg.svdvals(own.double().T @ theirs[:, :R].double())
            assert overlap.min() > 0.99


def test_what_cannot_be_is_told(base):
    with pytest.raises(ValueError, match="positive integer"):
        get_peft_model(copy.deepcopy(base), SparseGradConfig(r=0))
    with pytest.raises(ValueError, match=r"only .torch\.nn\.Linear. is"):
        get_peft_model(
            copy.deepcopy(base), SparseGradConfig(target_modules=".*embed_tokens|.*word_embeddings")
        )
    with pytest.raises(ValueError, match="no batch"):
        initialize_sparsegrad_basis(get_peft_model(copy.deepcopy(base), SparseGradConfig()), [])
    with pytest.raises(ValueError, match="no SparseGrad layer"):
        initialize_sparsegrad_basis(base, batches())
    with pytest.raises(ValueError, match="before training"):
        initialize_sparsegrad_basis(tuned(base), batches())


def test_half_precision_and_gradient_checkpointing(base):
    model = get_peft_model(copy.deepcopy(base).bfloat16(), SparseGradConfig(r=R))
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    batch = batches(1)[0]
    model.train()(**batch).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
