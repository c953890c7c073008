"""Models that compute on real tokens alone give what padded ones give, whatever else is in a batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    MistralConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from sparsegrad_cli.models.unpadded import (
    Layout,
    add_layout,
    attend_by_length,
    attend_padded,
    can_unpad,
    computed_tokens,
    unpad,
)

LENGTHS = (5, 20, 5, 3, 11, 1)
SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "initializer_range": 0.1,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
OF_DISTILBERT = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}
FAMILIES: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "camembert": CamembertConfig(**SIZES),
    "distilbert": DistilBertConfig(**OF_DISTILBERT, **{n: SIZES[n] for n in SIZES if "_size" not in n}),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "llama": LlamaConfig(**GROUPED),
    "mistral": MistralConfig(**GROUPED, sliding_window=4),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
    "roberta": RobertaConfig(**SIZES),
    "xlm-roberta": XLMRobertaConfig(**SIZES),
}


def classifier(config: PreTrainedConfig) -> PreTrainedModel:
    """A random model in float64 whose dropout is off."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config), dtype=torch.float64).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def batch_of(lengths: tuple[int, ...], config: PreTrainedConfig, side: str = "right") -> dict[str, Tensor]:
    """Random texts, each of its own seed, padded to the longest."""
    rows, masks, segments = [], [], []
    for number, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(100 * length + number)
        pad = [0, max(lengths) - length] if side == "right" else [max(lengths) - length, 0]
        text = torch.randint(5, 100, (length,), generator=generator)
        rows.append(nn.functional.pad(text, pad, value=1))
        masks.append(nn.functional.pad(torch.ones_like(text), pad))
        segments.append(nn.functional.pad((torch.arange(length) > length // 2).long(), pad))
    batch = {"input_ids": torch.stack(rows), "attention_mask": torch.stack(masks)}
    if config.model_type in ("bert", "electra"):
        batch["token_type_ids"] = torch.stack(segments)
    return {**batch, "labels": torch.arange(len(lengths)) % 2}


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_every_gradient_are_those_of_padded_batches(family):
    config = FAMILIES[family]
    padded = classifier(config)
    real = copy.deepcopy(padded)
    unpad(real)
    batch = batch_of(LENGTHS, config)
    results = padded(**batch), real(**add_layout(batch))
    for result in results:
        result.loss.backward()
    assert torch.allclose(results[0].logits, results[1].logits, rtol=0, atol=1e-10)
    for (name, p), q in zip(padded.named_parameters(), real.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        assert p.grad is None or torch.allclose(p.grad, q.grad, rtol=0, atol=1e-10), name


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "mistral"])
def test_a_prediction_does_not_depend_on_what_else_is_in_its_batch(family):
    config = FAMILIES[family]
    model = classifier(config).float().eval()
    unpad(model)
    together = model(**add_layout(batch_of(LENGTHS, config))).logits
    for number in range(len(LENGTHS)):
        batch = {name: values[number : number + 1] for name, values in batch_of(LENGTHS, config).items()}
        alone = model(**add_layout(batch)).logits
        assert torch.allclose(together[number : number + 1], alone, rtol=0, atol=1e-6)


def test_padding_on_the_left_is_taken_out_too():
    config = FAMILIES["bert"]
    model = classifier(config)
    unpad(model)
    left, right = (model.bert(**_inputs(batch_of(LENGTHS, config, side)))[0] for side in ("left", "right"))
    assert torch.allclose(left, right, rtol=0, atol=1e-10)


def test_the_last_block_computes_what_a_head_reads_alone():
    config = FAMILIES["roberta"]
    model = classifier(config)
    unpad(model)
    seen = []
    for layer in model.roberta.encoder.layer:
        layer.intermediate.dense.register_forward_hook(lambda _, args, output: seen.append(output.shape[1]))
    model(**add_layout(batch_of(LENGTHS, config)))
    assert seen == [sum(LENGTHS), sum(LENGTHS), len(LENGTHS)]


def _inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values for name, values in add_layout(batch).items() if name != "labels"}


def test_blocks_compute_on_real_tokens_alone_with_checkpointing_too():
    config = FAMILIES["bert"]
    model = classifier(config)
    unpad(model)
    batch = add_layout(batch_of(LENGTHS, config))
    seen = []
    layer = model.bert.encoder.layer[1].intermediate.dense
    layer.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    model(**batch).loss.backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model(**batch).loss.backward()
    assert seen == [(1, sum(LENGTHS), 64)] * 3
    assert computed_tokens(batch) == sum(LENGTHS)
    for name, p in model.named_parameters():
        assert torch.equal(p.grad, before[name])


def test_sequences_of_one_row_neither_see_nor_move_one_another():
    """What packed conversations are that do not cross their borders."""
    torch.manual_seed(0)
    config = copy.deepcopy(FAMILIES["llama"])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    ids = torch.randint(5, 100, (2, 12))
    positions = torch.tensor([[*range(5), *range(7)], [*range(9), *range(3)]])
    alone = [
        model(part[None]).logits[0]
        for row, at in zip(ids, (5, 9), strict=True)
        for part in row.tensor_split([at])
    ]
    unpad(model)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    packed = model(**add_layout(batch, positions)).logits
    assert torch.allclose(packed.flatten(0, 1), torch.cat(alone), rtol=0, atol=1e-10)


def test_a_model_that_was_unpadded_is_saved_as_any_other(tmp_path):
    config = FAMILIES["roberta"]
    model = classifier(config)
    unpad(model)
    batch = batch_of(LENGTHS, config)
    expected = model(**add_layout(batch)).logits
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert torch.allclose(again(**batch).logits, expected, rtol=0, atol=1e-10)


def test_a_family_whose_attention_does_not_go_through_the_interface_cannot():
    assert not can_unpad(MPNetConfig())
    assert all(can_unpad(config) for config in FAMILIES.values())


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_that_is_padded_alone_is_the_same(causal, window):
    """The way of a GPU whose kernels take sequences of one length only."""
    torch.manual_seed(0)
    tokens, longest = sum(LENGTHS), max(LENGTHS)
    lengths = torch.tensor(sorted(LENGTHS))
    bounds = nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
    cells = torch.cat([row * longest + torch.arange(length) for row, length in enumerate(lengths)])
    shape = torch.Size((len(LENGTHS), longest))
    layout = Layout(torch.arange(tokens), shape, bounds, (), cells)
    query = torch.randn(1, 4, tokens, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(1, 2, tokens, 8, dtype=torch.float64) for _ in range(2))
    options = {"dropout_p": 0.0, "scale": None, "enable_gqa": True}
    runs = ((1, 1), (1, 3), (2, 5), (1, 11), (1, 20))
    one = attend_by_length(query, key, value, runs, causal, window, options)
    other = attend_padded(query, key, value, layout, causal, window, options)
    assert torch.allclose(one, other, rtol=0, atol=1e-12)
    weights = torch.randn_like(one)
    first, second = (torch.autograd.grad((out * weights).sum(), query)[0] for out in (one, other))
    assert torch.allclose(first, second, rtol=0, atol=1e-12)
