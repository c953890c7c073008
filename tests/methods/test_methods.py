"""What holds for every method, on every family of models: one row here is what a new method owes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedModel,
    RobertaConfig,
)

from sparsegrad_cli.core import Basis, LayerBasis, find_mlp_linears
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.methods import get_method, method_names, methods_in_order
from sparsegrad_cli.methods.base import Method, MethodConfig, count_parameters, touched_entries
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import LoadedModel, load_classifier

from ..checkpoints import KINDS, tiny_checkpoint
from ..core.models import identity_basis, random_orthogonal

METHODS = ["ft", "lora", "meprop", "sift", "sparsegrad", "random-mask", "random-basis"]
VARIANTS = {  # what --method and its options come to
    "ft": ("ft", {}),
    "lora": ("lora", {"rank": 3}),
    "meprop": ("meprop", {"density": 0.05}),
    "sift": ("sift", {"density": 0.05}),
    "sparsegrad": ("sparsegrad", {"density": 0.05}),
    "sparsegrad recompute": ("sparsegrad", {"density": 0.05, "recompute": True}),
    "sparsegrad optimizer": ("sparsegrad", {"density": 0.05, "place": "optimizer"}),
    "sparsegrad adapter": ("sparsegrad", {"density": 0.05, "place": "adapter"}),
    "sparsegrad fixed": ("sparsegrad", {"density": 0.05, "mask": "fixed"}),
    "sparsegrad block": ("sparsegrad", {"density": 0.05, "mask": "block"}),
    "random-mask": ("random-mask", {"density": 0.05}),
    "random-basis": ("random-basis", {"density": 0.05}),
}
MOVING = ("meprop", "random-basis", "sparsegrad", "recompute", "optimizer", "adapter")  # their choice does


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: tiny_checkpoint(folder / kind, kind) for kind in KINDS}


def load(folder: Path) -> LoadedModel:
    torch.manual_seed(0)
    return load_classifier(find_checkpoint(str(folder)), 2, regression=False)


def measured(model: PreTrainedModel) -> Basis:
    """A random basis, with what a calibration measures."""
    kinds, squares = {}, {}
    for place in find_mlp_linears(model):
        O, I = place.linear.weight.shape
        U, V = (random_orthogonal(n, n, torch.float32) for n in (I, O))
        energy = torch.full((O, I), 1 / (O * I))
        kinds[place.kind] = LayerBasis(U, V, torch.ones(I) / I, torch.ones(O) / O, energy)
        squares[place.name] = torch.rand(O, I, generator=torch.Generator().manual_seed(place.block))
    return Basis(kinds, {}, squares)


def adapt(variant: str, loaded: LoadedModel, **more: object) -> Method:
    name, options = VARIANTS[variant]
    config = MethodConfig(**options, **more)
    method = get_method(name)
    basis = {
        "basis": lambda: measured(loaded.model),
        "squares": lambda: Basis({}, {}, measured(loaded.model).squares),
        None: lambda: None,
    }[method.calibration(config)]
    return method(loaded.model, loaded.head, config, basis())


def batch(vocabulary: int = 100) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocabulary, (4, 6), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 1, 0])}


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch()).logits


def train(method: Method, steps: int) -> tuple[torch.optim.Optimizer, list[float]]:
    optimizer = method.optimizer(1e-2)
    losses = []
    method.model.eval()
    for _ in range(steps):
        loss = method.model(**batch()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return optimizer, losses


FAMILIES = [(name, "bert") for name in VARIANTS]
FAMILIES += [
    (name, kind) for name in ("lora", "sparsegrad", "sparsegrad block") for kind in KINDS if kind != "bert"
]


@pytest.mark.parametrize(("name", "kind"), FAMILIES)
def test_it_starts_as_the_model_was_learns_and_comes_back_plain(name, kind, checkpoints, tmp_path):
    loaded = load(checkpoints[kind])
    before = logits(loaded.model)
    modules = {name: type(module) for name, module in loaded.model.named_modules()}
    method = adapt(name, loaded)
    torch.testing.assert_close(logits(method.model), before, rtol=0, atol=1e-5)

    _, losses = train(method, 8)
    assert losses[-1] < losses[0]
    trained = logits(method.model)
    assert not torch.allclose(trained, before, atol=1e-3)

    plain = method.merge()
    assert {name: type(module) for name, module in plain.named_modules()} == modules
    torch.testing.assert_close(logits(plain), trained, rtol=0, atol=1e-5)
    merged = logits(plain)
    plain.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), merged, rtol=0, atol=0)


@pytest.mark.parametrize("freeze_rest", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_just_what_is_declared_is_trained(name, freeze_rest, checkpoints):
    loaded = load(checkpoints["bert"])
    method = adapt(name, loaded, freeze_rest=freeze_rest)
    before = copy.deepcopy(dict(method.model.named_parameters()))
    optimizer, _ = train(method, 2)  # LoRA's A moves from the second step on: B starts at zero
    adapted = {id(p) for p in method.adapted}
    adapters = any(".values" in name or ".lora_" in name for name, _ in method.model.named_parameters())
    linears = ("intermediate.dense", "output.dense")
    for parameter_name, p in method.model.named_parameters():
        moved = not torch.equal(p, before[parameter_name])
        is_mlp = any(kind in parameter_name for kind in linears) and "attention" not in parameter_name
        if id(p) in adapted or parameter_name in loaded.head:
            assert moved, parameter_name
        elif is_mlp and "bias" not in parameter_name:
            assert not moved or (adapters and name.endswith(("fixed", "block"))), parameter_name
        elif freeze_rest:
            assert not moved, parameter_name
    moved_at_most = (2 if name.endswith(MOVING) else 1) * method.moved_at_a_step()
    assert method.moved_at_a_step() <= touched_entries(optimizer, method.adapted) <= moved_at_most


@pytest.mark.parametrize("variant", ["meprop", "sparsegrad", "sparsegrad optimizer", "sparsegrad block"])
def test_the_chosen_entries_may_have_a_learning_rate_of_their_own(variant, checkpoints):
    """At 0 they stand still and everything else moves as it would."""
    moved = {}
    for rate in (None, 0.0):
        loaded = load(checkpoints["bert"])
        before = {name: p.clone() for name, p in loaded.model.state_dict().items()}
        method = adapt(variant, loaded, sparse_learning_rate=rate)
        optimizer = method.optimizer(1e-2)
        loaded.model.train()
        torch.manual_seed(3)
        loaded.model(**batch()).loss.backward()
        optimizer.step()
        after = method.merge().state_dict()
        moved[rate] = {name for name, p in after.items() if not torch.equal(p, before[name])}
    kinds = ("intermediate.dense.weight", "output.dense.weight")
    chosen = {n for n in moved[None] if n.endswith(kinds) and "attention" not in n}
    assert chosen
    assert moved[0.0] == moved[None] - chosen


def test_parameters_are_counted_by_hand(checkpoints):
    hidden, inner, layers, rank = 32, 64, 2, 3
    matrices, size = 2 * layers, hidden * inner
    adapted = {
        "ft": matrices * size,
        "lora": matrices * rank * (hidden + inner),
    } | {name: matrices * round(0.05 * size) for name in METHODS[2:]}
    for name in METHODS:
        loaded = load(checkpoints["bert"])
        total = sum(p.numel() for p in loaded.model.parameters())
        head = sum(p.numel() for n, p in loaded.model.named_parameters() if n in loaded.head)
        method = adapt(name, loaded)
        counted = count_parameters(method, loaded.head, total, touched=None)
        assert counted.adapted == adapted[name]
        assert counted.trainable == total - matrices * size + adapted[name]
        assert (counted.total, counted.head) == (total, head)
        frozen = adapt(name, load(checkpoints["bert"]), freeze_rest=True)
        assert count_parameters(frozen, loaded.head, total, None).trainable == adapted[name] + head


FEW = {"num_hidden_layers": 1, "vocab_size": 200}
BERT_LARGE = BertConfig(hidden_size=1024, num_attention_heads=16, intermediate_size=4096, **FEW)
ROBERTA_BASE = RobertaConfig(max_position_embeddings=514, type_vocab_size=1, **FEW)


@pytest.mark.parametrize("config", [ROBERTA_BASE, BERT_LARGE], ids=["roberta-base", "bert-large"])
def test_models_of_the_papers_sizes_build_convert_and_step(config):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    head = frozenset(n for n, _ in model.named_parameters() if n.startswith("classifier"))
    for name in ("ft", "lora", "meprop", "sparsegrad"):
        basis = identity_basis(model) if name == "sparsegrad" else None
        for p in model.parameters():
            p.requires_grad_(True)
            p.grad = None
        method = get_method(name)(model, head, MethodConfig(density=0.001, rank=7), basis)
        optimizer, losses = train(method, 1)
        assert 0 < touched_entries(optimizer, method.adapted) <= method.moved_at_a_step()
        del optimizer
        with torch.no_grad():
            assert method.model(**batch()).loss.item() != losses[0]
        model = method.merge()


def test_the_methods_are_the_files_of_the_folder():
    assert [name for name in methods_in_order() if name in METHODS] == METHODS
    assert set(METHODS) < set(method_names())
    for name in method_names():
        method = get_method(name)
        assert method.name == name
        assert method.help
        assert method.source
    with pytest.raises(InputError, match=r"no method 'sparsgrad', there are adalora, .*mean sparsegrad"):
        get_method("sparsgrad")


@pytest.mark.parametrize(
    ("variant", "blocks", "chosen"),
    [
        *((variant, str(block), {block}) for variant in VARIANTS for block in (0, 1)),
        ("sparsegrad", "0-1", {0, 1}),
        ("sparsegrad", "every:1", {0, 1}),
    ],
)
def test_only_the_chosen_blocks_move_whichever_they_are(variant, blocks, chosen, checkpoints):
    loaded = load(checkpoints["bert"])
    before = [place.linear.weight.detach().clone() for place in find_mlp_linears(loaded.model)]
    method = adapt(variant, loaded, freeze_rest=True, blocks=blocks)
    optimizer = method.optimizer(1e-2)
    for _ in range(2):  # LoRA's B begins at zero
        optimizer.zero_grad()
        method.model(**batch()).loss.backward()
        optimizer.step()
    after = find_mlp_linears(method.merge())
    moved = {p.block for p, W in zip(after, before, strict=True) if not torch.equal(p.linear.weight, W)}
    assert moved == chosen


@pytest.mark.parametrize("name", METHODS)
def test_weight_decay_shrinks_everything_but_chosen_entries(name, checkpoints):
    """At a learning rate of 1e-3 on gradients that are zero, AdamW leaves `1 - 1e-3 * decay` of a weight."""
    loaded = load(checkpoints["bert"])
    method = adapt(
        name, loaded, weight_decay=0.5, **({"place": "optimizer"} if name not in METHODS[:2] else {})
    )
    optimizer = method.optimizer(1e-3)
    masked = {id(p) for p in method.adapted} if name not in METHODS[:2] else set()
    trained = {n: p for n, p in method.model.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    for p in trained.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for parameter_name, p in trained.items():
        left = 1 if id(p) in masked else 1 - 1e-3 * 0.5
        torch.testing.assert_close(p.detach(), left * before[parameter_name], rtol=1e-6, atol=0)
