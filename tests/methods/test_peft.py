"""What every method of PEFT and every partial method owes: the same promises, an entry each."""

from __future__ import annotations

import copy
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from sparsegrad_cli.core import Basis
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import Method, MethodConfig, count_parameters, target_linears
from sparsegrad_cli.methods.peft_table import ENTRIES
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import LoadedModel, load_classifier
from sparsegrad_cli.training.trainer import changing

from ..checkpoints import tiny_checkpoint

PEFT = [entry.name for entry in ENTRIES]
PARTS = ["probe", "layernorm", "bitfit"]
FEWER = {"vera", "ia3", "road"}  # by their nature
RANK = 4
Family = dict[str, LoadedModel]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Models of two families, which tests copy."""
    found = {}
    for kind in ("bert", "llama"):
        folder = tiny_checkpoint(tmp_path_factory.mktemp(kind), kind)
        torch.manual_seed(0)
        found[kind] = load_classifier(find_checkpoint(str(folder)), 2, regression=False)
    return found


def adapt(name: str, model: nn.Module, head: frozenset[str], **more: object) -> Method:
    method, config = get_method(name), MethodConfig(rank=RANK, steps=10, **more)
    basis = None
    if method.calibration(config) == "gradients":
        linears = target_linears(model, config.target)
        generator = torch.Generator().manual_seed(0)
        gradients = {n: torch.randn(l.weight.shape, generator=generator) for n, l in linears.items()}
        basis = Basis({}, {}, gradients)
    method.check(copy.deepcopy(model).to("meta"), config)
    torch.manual_seed(0)
    return method(model, head, config, basis)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (4, 6), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 1, 0])}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch()).logits


def train(method: Method, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = method.model.train()(**batch()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", [*PEFT, *PARTS])
def test_it_begins_as_the_model_trains_what_it_declares_and_comes_back_plain(name, loaded, tmp_path):
    model, head = copy.deepcopy(loaded["bert"].model), loaded["bert"].head
    total = sum(p.numel() for p in model.parameters())
    modules = [(name, type(module)) for name, module in model.named_modules()]
    before = logits(model)
    method = adapt(name, model, head, freeze_rest=True)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)

    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    train(method, method.optimizer(1e-2), 3)
    trained = {id(p) for p in method.adapted}
    for parameter_name, p in model.named_parameters():
        may_move = id(p) in trained or parameter_name in head
        assert may_move or torch.equal(p, start[parameter_name]), parameter_name
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, start[n]) and n not in head]
    assert bool(moved) == (name != "probe")
    counted = count_parameters(method, head, total, touched=None)
    assert counted.adapted == sum(p.numel() for p in method.adapted)
    assert counted.trainable == counted.adapted + counted.head
    if name in PEFT and name not in FEWER:
        lora = RANK * sum(sum(linear.shape) for linear in _mlp_weights(loaded["bert"].model))
        assert 0.6 * lora <= counted.adapted <= 1.4 * lora  # sizes are whole, or divide a matrix

    adapted = logits(model)
    assert not torch.allclose(adapted, before, atol=1e-4)
    plain = method.merge()
    assert [(name, type(module)) for name, module in plain.named_modules()] == modules
    torch.testing.assert_close(logits(plain), adapted, rtol=0, atol=1e-5)
    assert isinstance(plain, PreTrainedModel)
    plain.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), logits(plain), rtol=0, atol=0)


def _mlp_weights(model: nn.Module) -> list[Tensor]:
    return [torch.empty(linear.weight.shape) for linear in target_linears(model, "mlp").values()]


PROJECTED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not (find_spec(f"{name}_torch") and find_spec("bitsandbytes")),
            reason=f"needs pip install 'sparsegrad[{name}]'",
        ),
    )
    for name in ("galore", "apollo")
]


@pytest.mark.parametrize("name", [*PEFT, *PARTS, *PROJECTED])
def test_what_a_checkpoint_holds_is_enough_to_go_on_to_the_same_bits(name, loaded, tmp_path):
    """A checkpoint is what training changes and the optimizer's state; the rest begins as it began."""
    head, ends = loaded["bert"].head, []
    more = {}
    if name in ("galore", "apollo"):
        name, more = "ft", {"optimizer": name}
    steps = 8 if name == "adalora" else 4  # it prunes in its first seven steps
    for stops in (False, True):
        method = adapt(name, copy.deepcopy(loaded["bert"].model), head, **more)
        optimizer = method.optimizer(1e-2)
        train(method, optimizer, steps // 2 if stops else steps)
        if stops:
            held = {n: p.clone() for n, p in changing(method.model).items()}
            torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
            method = adapt(name, copy.deepcopy(loaded["bert"].model), head, **more)
            optimizer = method.optimizer(1e-2)
            with torch.no_grad():
                for n, p in changing(method.model).items():
                    p.copy_(held[n])
            optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
            for step in range(steps // 2, steps):
                torch.manual_seed(step)
                optimizer.zero_grad()
                method.model.train()(**batch()).loss.backward()
                optimizer.step()
        ends.append(logits(method.model))
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", [*PEFT, "layernorm", "ft"])
def test_it_takes_a_llama_and_other_linears(name, loaded):
    original, head = loaded["llama"].model, loaded["llama"].head
    targets = ("mlp", "attention", "all") if name in ("lora", "ft") else ("mlp",)
    for target in targets:
        model = copy.deepcopy(original)
        before = logits(model)
        method = adapt(name, model, head, target=target, freeze_rest=True)
        torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)
        train(method, method.optimizer(1e-2), 2)
        adapted = logits(model)
        torch.testing.assert_close(logits(method.merge()), adapted, rtol=0, atol=1e-5)
    assert len(target_linears(original, "attention")) == 2 * 4
    assert len(target_linears(original, "all")) == 2 * 7


def test_adalora_prunes_a_third_of_its_directions_and_they_stay_pruned(loaded):
    method = adapt("adalora", copy.deepcopy(loaded["bert"].model), loaded["bert"].head)
    train(method, method.optimizer(1e-2), 10)
    values = [p for name, p in method.model.named_parameters() if "lora_E" in name]
    assert sum((p != 0).sum().item() for p in values) == len(values) * (RANK * 2 // 3)


def write(folder: Path, **fields: object) -> str:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(fields))
    return f"peft:{path}"


def test_a_file_says_everything_of_a_method(loaded, tmp_path):
    name = write(tmp_path, peft_type="LORA", r=2, target_modules=["query", "value"], use_dora=True)
    by_folder = get_method(f"peft:{tmp_path}")
    assert get_method(name).revision == by_folder.revision
    method = adapt(name, copy.deepcopy(loaded["bert"].model), loaded["bert"].head)
    tuned = {n for n, _ in method.model.named_parameters() if "lora_A" in n}
    assert len(tuned) == 4
    assert all("attention.self" in n for n in tuned)


COMPARED = [  # experiments of PEFT's method_comparison, what is null in them left out
    {"peft_type": "LORA", "r": 10, "lora_alpha": 20, "target_modules": ["gate_proj", "up_proj", "down_proj"]},
    {"peft_type": "LORA", "r": 32, "lora_alpha": 64, "use_dora": True, "megatron_core": "megatron.core"},
    {"peft_type": "ADALORA", "init_r": 12, "target_r": 8, "tinit": 200, "tfinal": 500, "total_step": 5000},
    {"peft_type": "BOFT", "boft_block_size": 4, "boft_block_num": 0, "boft_n_butterfly_factor": 1},
    {"peft_type": "OFT", "r": 8, "oft_block_size": 0, "rank_pattern": {}, "alpha_pattern": {}},
    {"peft_type": "IA3", "init_ia3_weights": True, "feedforward_modules": None},
    {"peft_type": "C3A", "block_size": 8, "init_weights": False, "target_modules": ["v_proj", "q_proj"]},
    {"peft_type": "MISS", "r": 8, "init_weights": "bat", "mini_r": 1},
    {"peft_type": "LORA", "r": 4, "kasa_config": {"beta": 0.0001, "gamma": 0.001}},
]


@pytest.mark.parametrize("fields", COMPARED)
def test_experiments_of_pefts_comparison_are_taken_as_they_are(fields, loaded, tmp_path):
    model = copy.deepcopy(loaded["llama"].model)
    method = adapt(write(tmp_path, **fields), model, loaded["llama"].head, freeze_rest=True)
    losses = train(method, method.optimizer(1e-2), 3)
    assert losses[-1] < losses[0]
    adapted = logits(model)
    torch.testing.assert_close(logits(method.merge()), adapted, rtol=0, atol=1e-5)


def test_a_term_beside_the_loss_is_trained_on_too(loaded, tmp_path):
    """KaSA pulls its factors towards orthogonal ones, the harder the larger gamma is."""
    distances = []
    for gamma in (0.0, 10.0):
        fields = {"peft_type": "LORA", "r": 4, "kasa_config": {"beta": 0.0, "gamma": gamma}}
        method = adapt(write(tmp_path, **fields), copy.deepcopy(loaded["llama"].model), loaded["llama"].head)
        train(method, method.optimizer(1e-2), 10)
        A = [p for name, p in method.model.named_parameters() if "lora_A" in name]
        distances.append(sum(torch.dist(p @ p.T, torch.eye(4)).item() for p in A))
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"peft_type": "ADAPTION_PROMPT", "adapter_layers": 2, "adapter_len": 3}, "trains a prompt"),
        ({"peft_type": "LORRA"}, "has the peft_type LORRA"),
        ({"peft_type": "LORA", "rank": 3}, "rank"),
        (
            {"peft_type": "C3A", "block_size": 7, "target_modules": ["query"]},
            "block size should be a factor of the input size",
        ),
        ({"peft_type": "LORA", "target_modules": ["no_such"]}, "no_such"),
        ({"peft_type": "LILY", "r": 4, "target_modules": ["query"]}, "cannot merge it"),
        ({"peft_type": "LORA", "target_modules": ["query"], "init_lora_weights": "eva"}, "from activations"),
    ],
)
def test_what_a_file_cannot_do_is_told_before_training(fields, says, loaded, tmp_path):
    name = write(tmp_path, **fields)
    with pytest.raises(InputError, match=says):
        get_method(name).check(copy.deepcopy(loaded["bert"].model).to("meta"), MethodConfig())


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_merge_that_fails_is_told_before_training(error, loaded, monkeypatch):
    def fail(self: object) -> None:
        raise error("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("peft.LoraModel.merge_and_unload", fail)
    with pytest.raises(InputError, match=r"PEFT cannot merge it .*mat1 and mat2"):
        get_method("lora").check(copy.deepcopy(loaded["bert"].model).to("meta"), MethodConfig(rank=RANK))


def test_no_file_no_size_and_no_optimizer_are_told(loaded, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot read"):
        get_method(f"peft:{tmp_path / 'none.json'}")
    config = copy.deepcopy(loaded["bert"].model.config)
    config.hidden_size, config.intermediate_size, config.num_attention_heads = 33, 65, 3
    with torch.device("meta"):
        odd = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(InputError, match="no boft_block_size suits matrices of 33 x 65, 65 x 33"):
        get_method("boft").check(odd, MethodConfig(rank=RANK))
    monkeypatch.setitem(sys.modules, "galore_torch", None)  # as if it were not installed
    with pytest.raises(InputError, match="pip install galore-torch"):
        get_method("ft").check(odd, MethodConfig(optimizer="galore"))


@pytest.mark.parametrize("optimizer", PROJECTED)
def test_projected_moments_train_all_the_same(optimizer, loaded):
    method = adapt("ft", copy.deepcopy(loaded["bert"].model), loaded["bert"].head, optimizer=optimizer)
    before = [p.clone() for p in method.adapted]
    losses = train(method, method.optimizer(1e-2), 4)
    assert losses[-1] < losses[0]
    assert not any(torch.equal(p, was) for p, was in zip(method.adapted, before, strict=True))
