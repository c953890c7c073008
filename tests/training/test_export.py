"""An exported adapter is the trained model, to whoever loads it."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.core import Basis, LayerBasis, find_mlp_linears
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import MethodConfig
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import LoadedModel, load_classifier
from sparsegrad_cli.training.export import VLLM_RANKS, export_run, write_adapter
from sparsegrad_cli.training.run import run

from ..checkpoints import tiny_checkpoint
from ..core.models import random_orthogonal
from ..planned import RecordingWatch, plan_run, write_cola
from ..report.runs import CONFIG

TRUNCATED = {"density": 0.01, "mask": "dynamic", "basis_rank": 6}
BLOCK = {"density": 0.02, "mask": "block"}
WHOLE = {"density": 0.5, "mask": "dynamic"}


@pytest.fixture(scope="module", params=["bert", "llama"])
def loaded(request, tmp_path_factory) -> LoadedModel:
    folder = tiny_checkpoint(tmp_path_factory.mktemp(request.param), request.param)
    torch.manual_seed(0)
    return load_classifier(find_checkpoint(str(folder)), 2, regression=False)


def basis_of(model: nn.Module, rank: int | None) -> Basis:
    kinds = {}
    for place in find_mlp_linears(model):
        O, I = place.linear.weight.shape
        r, c = min(O, rank or O), min(I, rank or I)
        U, V = random_orthogonal(I, I, torch.float32)[:, :c], random_orthogonal(O, O, torch.float32)[:, :r]
        energy = torch.arange(r, 0, -1.0)[:, None] * torch.arange(c, 0, -1.0)
        kinds[place.kind] = LayerBasis(U, V, torch.ones(c), torch.ones(r), energy / energy.sum())
    return Basis(kinds, {}, {})


def trained_by(loaded: LoadedModel, method: str, freeze_rest: bool = True, **options: object) -> nn.Module:
    torch.manual_seed(1)
    model = copy.deepcopy(loaded.model)
    rank = options.pop("basis_rank", None)
    config = MethodConfig(freeze_rest=freeze_rest, **options)
    basis = basis_of(model, rank) if method == "sparsegrad" else None
    made = get_method(method)(model, loaded.head, config, basis)
    optimizer = made.optimizer(1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        made.model(**batch(), labels=torch.tensor([0, 1, 1, 0])).loss.backward()
        optimizer.step()
    return made.merge().eval()


def batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 60, (4, 6), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch()).logits


def config_of(**changes: object) -> RunConfig:
    return CONFIG.model_copy(update={"blocks": "all", "basis_rank": None, **changes})


@pytest.mark.parametrize("freeze_rest", [True, False])
@pytest.mark.parametrize(
    ("to", "method", "options", "at_most"),
    [
        ("lora", "sparsegrad", TRUNCATED, 6),
        ("lora", "sparsegrad", BLOCK, 12),
        ("lora", "lora", {"rank": 3}, 3),
        ("shira", "meprop", {"density": 0.02}, None),
        ("shira", "random-mask", {"density": 0.1}, None),
    ],
)
def test_an_exact_adapter_gives_the_trained_models_logits(
    to, method, options, at_most, freeze_rest, loaded, tmp_path
):
    trained = trained_by(loaded, method, freeze_rest, **options)
    base = LoadedModel(copy.deepcopy(loaded.model), loaded.head)
    config = config_of(basis_rank=options.get("basis_rank"))
    if to == "shira" and not freeze_rest and loaded.model.config.model_type == "bert":
        with pytest.raises(InputError, match="holds no biases"):
            write_adapter(base, trained, config, to, tmp_path, steps=4)
        return
    exported = write_adapter(base, trained, config, to, tmp_path, steps=4)
    assert exported.error < 1e-5
    assert at_most is None or exported.rank <= at_most

    again = PeftModel.from_pretrained(copy.deepcopy(loaded.model), str(tmp_path))
    torch.testing.assert_close(logits(again), logits(trained), rtol=0, atol=1e-5)
    plain = again.merge_and_unload()
    torch.testing.assert_close(logits(plain), logits(trained), rtol=0, atol=1e-5)
    ours, theirs = trained.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-5, msg=name)


def test_an_adapter_names_its_base_as_others_know_it(loaded, tmp_path):
    trained = trained_by(loaded, "lora", rank=2)
    base = LoadedModel(copy.deepcopy(loaded.model), loaded.head)
    write_adapter(base, trained, config_of(model="demo"), "lora", tmp_path, steps=4)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_an_update_of_full_rank_needs_a_rank_and_tells_its_error(loaded, tmp_path):
    trained = trained_by(loaded, "sparsegrad", **WHOLE)
    errors = []
    for rank in (None, 4, 16, 32):
        base = LoadedModel(copy.deepcopy(loaded.model), loaded.head)
        if rank is None:
            with pytest.raises(InputError, match="as large as the matrices: give --rank"):
                write_adapter(base, trained, config_of(), "lora", tmp_path / "none", steps=4)
            continue
        exported = write_adapter(base, trained, config_of(), "lora", tmp_path / str(rank), rank, steps=4)
        assert exported.rank == rank
        errors.append(exported.error)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6
    base = LoadedModel(copy.deepcopy(loaded.model), loaded.head)
    with pytest.raises(InputError, match="changed most entries"):
        write_adapter(base, trained, config_of(), "shira", tmp_path / "shira")


def test_what_vllm_asks_of_an_adapter(tmp_path):
    """Its PEFTHelper: a rank that it has, no DoRA, no bias, no whole modules, A and B of linears alone."""
    folder = tiny_checkpoint(tmp_path / "llama", "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    base = LoadedModel(model, frozenset())
    trained = copy.deepcopy(model)
    with torch.no_grad():
        for place in find_mlp_linears(trained):
            O, I = place.linear.weight.shape
            place.linear.weight += 0.1 * torch.randn(O, 5) @ torch.randn(5, I)
    exported = write_adapter(base, trained, config_of(loss_on="assistant"), "lora", tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"], written["bias"]) == (5, 5, "none")
    assert not written["modules_to_save"]
    assert not written["use_dora"]
    assert written["r"] <= VLLM_RANKS[-1]
    keys = load_file(tmp_path / "adapter" / "adapter_model.safetensors").keys()
    assert len(keys) == 2 * 2 * 2
    for key in keys:
        assert key.startswith("base_model.model.model.layers.")
        assert key.endswith(("lora_A.weight", "lora_B.weight"))
        assert key.split(".")[-3] in ("up_proj", "down_proj")
    assert exported.vllm() == "vLLM serves it with --enable-lora --max-lora-rank 8"


def test_a_run_is_exported_with_a_card(tmp_path):
    asked = {
        "model": str(tiny_checkpoint(tmp_path / "model", "bert")),
        "data": str(write_cola(tmp_path / "glue")),
        "task": "cola",
        "methods": ["lora"],
        "rank": 2,
        "max_steps": 4,
        "batch_size": 8,
        "length": 24,
        "freeze_rest": True,
        "learning_rate": 1e-2,
    }
    planned = plan_run(tmp_path, RecordingWatch(), asked)
    result = run(planned)
    exported = export_run(planned.folder, "lora", tmp_path / "adapter")
    assert exported.rank <= 2
    assert exported.bytes < 60_000
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "model-index" in card
    assert f"{result.metrics['matthews_correlation']}"[:6] in card
    assert "base_model" in card
    export_run(planned.folder, "plain", tmp_path / "plain")
    assert (tmp_path / "plain" / "model.safetensors").is_file()
    with pytest.raises(InputError, match="is not empty"):
        export_run(planned.folder, "plain", tmp_path / "plain")
