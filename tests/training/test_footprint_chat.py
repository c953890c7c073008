"""What a step of a language model is said to hold, against what torch's allocator is seen to hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.core import calibrate
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import Settings, chosen_blocks
from sparsegrad_cli.models.load import enable_gradient_checkpointing
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.training.footprint import Footprint, costs
from sparsegrad_cli.training.objectives import objective_of

from ..report.runs import CONFIG
from .third_step import third_step

BATCH, LENGTH, PARTS = 8, 64, 2
HIDDEN, INNER, BLOCKS, CHOSEN = 64, 176, 6, 2
LLAMA = LlamaConfig(
    hidden_size=HIDDEN,
    intermediate_size=INNER,
    num_hidden_layers=BLOCKS,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=1000,
    max_position_embeddings=128,
    tie_word_embeddings=True,
    use_cache=False,
)
OASST = objective_of(get_task("oasst1"))
DYNAMIC = {"method": "sparsegrad", "density": 0.02, "support": "dynamic"}
VARIANTS: dict[str, dict] = {
    "ft": {"method": "ft"},
    "lora": {"method": "lora", "rank": 4},
    "meprop": {"method": "meprop", "density": 0.02},
    "deferred": {**DYNAMIC, "form": "deferred"},
    "truncated": {**DYNAMIC, "form": "deferred", "basis_rank": 24},
    "corner": {**DYNAMIC, "form": "corner", "basis_rank": 24},
    "block": {"method": "sparsegrad", "density": 0.02, "support": "block"},
}
IN_BACKWARD = {"meprop": VARIANTS["meprop"], "streamed": {**DYNAMIC, "form": "streamed"}}


def config_of(variant: dict, **how: object) -> RunConfig:
    shape = {"task": "oasst1", "batch_size": BATCH, "length": LENGTH, "accumulation_steps": PARTS}
    frozen = {"blocks": "every:3", "freeze_rest": True, "loss_on": "assistant"}
    return CONFIG.model_copy(update={**shape, **frozen, **variant, **how})


def on_meta(config: LlamaConfig = LLAMA) -> PreTrainedModel:
    with torch.device("meta"):
        return LlamaForCausalLM(config)


def told(config: RunConfig) -> Footprint:
    return costs(on_meta(), OASST, config).footprint(steps=2)


def batches(parts: int) -> list[dict[str, Tensor]]:
    ids = torch.randint(1, 1000, (BATCH // parts, LENGTH), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}] * parts


def measured(config: RunConfig) -> tuple[int, int]:
    """Peak of the third step, and the moments that it has by then."""
    parts = config.accumulation_steps or 1
    half = config.precision == "bf16-weights"
    torch.manual_seed(0)
    model = LlamaForCausalLM(LLAMA).to(torch.bfloat16 if half else torch.float32).train()
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    method_class = get_method(config.method)
    basis = None
    if method_class.needs_basis:
        blocks = chosen_blocks(model, config.blocks)
        basis = calibrate(model, batches(1) * 3, 2, 1, blocks=blocks, basis_rank=config.basis_rank).basis
    method = method_class(model, frozenset(), Settings.of(config, parts), basis)
    del basis
    return third_step(model, method.optimizer(1e-4), batches(parts), half)


def check(config: RunConfig) -> None:
    peak, moments = measured(config)
    footprint = told(config)
    assert (footprint.peak - footprint.moments) / (peak - moments) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("checkpointing", [None, True], ids=["plain", "checkpointing"])
def test_peak_is_what_the_allocator_holds(variant, checkpointing):
    check(config_of(VARIANTS[variant], gradient_checkpointing=checkpointing))


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_weights_in_half_precision(variant):
    check(config_of(VARIANTS[variant], precision="bf16-weights"))


@pytest.mark.parametrize("variant", IN_BACKWARD)
def test_where_a_batch_is_one_part(variant):
    check(config_of(IN_BACKWARD[variant], accumulation_steps=None))


def test_only_the_chosen_blocks_have_gradients():
    trained = CHOSEN * 2 * HIDDEN * INNER
    for variant in ("ft", "meprop", "deferred"):
        assert told(config_of(VARIANTS[variant])).gradients == pytest.approx(4 * trained, rel=0.001)
    assert told(config_of(VARIANTS["ft"])).moments == 8 * trained


def test_half_precision_halves_the_weights_that_are_frozen():
    whole, half = (told(config_of(VARIANTS["ft"], precision=name)) for name in ("fp32", "bf16-weights"))
    trained = 4 * CHOSEN * 2 * HIDDEN * INNER
    assert half.weights - trained == pytest.approx((whole.weights - trained) / 2, rel=0.01)
    assert (half.gradients, half.moments) == (whole.gradients, whole.moments)


def test_checkpointing_keeps_less_for_backward():
    kept, remade = (
        told(config_of(VARIANTS["ft"], gradient_checkpointing=checkpointing))
        for checkpointing in (None, True)
    )
    logits = 4 * BATCH // PARTS * LENGTH * 1000
    assert remade.activations - logits < (kept.activations - logits) / 4
    assert remade.peak < kept.peak
    assert remade.gradients == kept.gradients


def test_a_truncated_basis_is_smaller_and_so_are_its_moments():
    whole, truncated = (
        costs(on_meta(), OASST, config_of(VARIANTS[name])).footprint() for name in ("deferred", "truncated")
    )
    assert whole.basis == 4 * 2 * (HIDDEN**2 + INNER**2)
    assert truncated.basis == 4 * 2 * 24 * (HIDDEN + INNER)
    assert truncated.moments == CHOSEN * 2 * 24**2 * (2 * 4 + 4 / 8)


def test_a_corner_leaves_the_weights_in_half_precision_and_has_gradients_of_its_own_size():
    deferred, corner = (
        costs(on_meta(), OASST, config_of(VARIANTS[name], precision="bf16-weights")).footprint()
        for name in ("truncated", "corner")
    )
    adapted = CHOSEN * 2
    assert deferred.gradients == pytest.approx(4 * adapted * HIDDEN * INNER, rel=0.01)
    assert corner.gradients == pytest.approx(4 * adapted * 24**2, rel=0.01)
    assert deferred.weights - corner.weights == 2 * adapted * HIDDEN * INNER - 4 * adapted * 24**2
    assert corner.basis == deferred.basis
    assert corner.moments == deferred.moments
    assert corner.peak < deferred.peak


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_block_may_be_named(variant):
    named, whole = (told(config_of(VARIANTS[variant], blocks=blocks)) for blocks in ("0-5", None))
    assert named == whole


def test_tied_embeddings_count_once():
    untied = LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": False})
    tied, apart = (
        costs(on_meta(config), OASST, config_of(VARIANTS["ft"])).footprint() for config in (LLAMA, untied)
    )
    assert apart.weights - tied.weights == apart.peak - tied.peak == 4 * 1000 * HIDDEN
