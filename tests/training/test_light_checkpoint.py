"""What a checkpoint holds: enough to go on to the last bit, and no more than training changes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsegrad_cli.errors import WorkError
from sparsegrad_cli.models.checkpoint import WEIGHTS
from sparsegrad_cli.training.run import adapt, load_model, run
from sparsegrad_cli.training.trainer import PlannedRun, lay_over, make_trainer, save_changing

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, PowerCutError, RecordingWatch, changed, plan_run

OFTEN = {"checkpoint_seconds": 0.0, "keep_model": False}
SPARSE = {"methods": ["sparsegrad"], "density": 0.05, "calibration_steps": 2, "accumulation_steps": 1}
VARIANTS: dict[str, dict[str, object]] = {
    "ft": {},
    "lora": {"methods": ["lora"], "rank": 2},
    "meprop": {"methods": ["meprop"], "density": 0.05, "accumulation_steps": 1},
    **{place: {**SPARSE, "place": place} for place in ("backward", "optimizer")},
    "fixed": {**SPARSE, "mask": "fixed"},
    "block": {**SPARSE, "mask": "block"},
    "adapter": {**SPARSE, "place": "adapter", "basis_rank": 16},
}
EVERYTHING = {"freeze_rest": False, "blocks": "all"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("llama"), "llama")  # its embeddings are tied


@pytest.fixture
def choices(model: Path, conversations: Path) -> Asked:
    return {
        "model": str(model),
        "task": "oasst1",
        "data": str(conversations),
        "methods": ["ft"],
        "length": 32,
        "batch_size": 4,
        "max_steps": 4,
        "max_train_examples": 16,
        "learning_rate": 5e-3,
        "warmup_steps": 0,
        "eval_steps": 2,
    }


def fresh(planned: PlannedRun) -> tuple[PreTrainedModel, torch.optim.Optimizer]:
    """The run's model as every start of it makes it ready."""
    loaded = load_model(planned.config, planned.inputs)
    method = adapt(planned, loaded)
    return loaded.model, method.optimizer(planned.config.learning_rate)


def trained(planned: PlannedRun) -> PreTrainedModel:
    """The same after some steps; it is not the best checkpoint that it is left at."""
    planned.folder.path.mkdir(parents=True)
    model, optimizer = fresh(planned)
    trainer = make_trainer(model, optimizer, planned)
    trainer.args.load_best_model_at_end = False
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.train()
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(
    ("variant", "precision"),
    [
        *((variant, "fp32") for variant in VARIANTS),
        *((variant, "bf16-weights") for variant in ("ft", "lora", "backward", "optimizer", "adapter")),
    ],
)
def test_laid_over_what_a_run_starts_from_it_is_what_was_trained(variant, precision, choices, tmp_path):
    asked = changed(choices, precision=precision, **VARIANTS[variant])
    planned = plan_run(tmp_path, RecordingWatch(), asked)
    model = trained(planned)
    save_changing(model, tmp_path)
    again, _ = fresh(planned)
    before = state(again)
    lay_over(again, tmp_path)
    check_equal(state(again), state(model))

    moved = {name for name, tensor in state(model).items() if not torch.equal(tensor, before[name])}
    held = load_file(tmp_path / WEIGHTS)
    assert held.keys() == moved < before.keys()


def test_a_tied_weight_is_held_once_and_stays_tied(choices, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), changed(choices, **EVERYTHING))
    model = trained(planned)
    save_changing(model, tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / WEIGHTS)
    again, _ = fresh(planned)
    lay_over(again, tmp_path)
    check_equal(state(again), state(model))
    assert again.lm_head.weight is again.model.embed_tokens.weight


@pytest.mark.parametrize("variant", ["ft", "lora", "backward", "block"])
def test_a_checkpoint_of_the_whole_model_is_read_too(variant, choices, tmp_path):
    changes = VARIANTS[variant] | ({} if variant == "lora" else EVERYTHING)
    planned = plan_run(tmp_path, RecordingWatch(), changed(choices, **changes))
    model = trained(planned)
    model.save_pretrained(tmp_path)  # as checkpoints were written before
    again, _ = fresh(planned)
    lay_over(again, tmp_path)
    check_equal(state(again), state(model))


def cut(planned: PlannedRun) -> Path:
    """The checkpoint that a run leaves which is killed in its third step."""
    with pytest.raises(PowerCutError):
        run(dataclasses.replace(planned, progress=RecordingWatch(("train", 3))))
    return planned.folder.last_checkpoint()


def test_a_checkpoint_of_lora_is_a_small_part_of_its_model(choices, model, tmp_path):
    asked = changed(choices, **VARIANTS["lora"])
    left = cut(plan_run(tmp_path, RecordingWatch(), asked, **OFTEN))
    rank, matrices = 2, 2  # of one block, as by default of these two
    held = sum(tensor.numel() for tensor in load_file(left / WEIGHTS).values())
    assert held == matrices * rank * (32 + 64)
    assert (left / WEIGHTS).stat().st_size < (model / WEIGHTS).stat().st_size / 10
    written = {path.name for path in left.iterdir()}
    assert written == {WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


def test_taking_a_run_up_warns_of_no_missing_keys(choices, tmp_path, caplog):
    planned = plan_run(tmp_path, RecordingWatch(), changed(choices, **VARIANTS["lora"]), **OFTEN)
    cut(planned)
    with caplog.at_level(logging.WARNING, logger="transformers"):
        assert run(planned).status == "done"
    assert [line for line in caplog.messages if "keys" in line] == []


def drop(path: Path, name: str) -> None:
    save_file({key: tensor for key, tensor in load_file(path).items() if key != name}, path)


def reshape(path: Path, name: str) -> None:
    tensors = load_file(path)
    save_file(tensors | {name: tensors[name][:1].clone()}, path)


def damage(path: Path, name: str) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (drop, "holds no {name} of 32 x 64, which training changes"),
        (reshape, "holds no {name} of 32 x 64, which training changes"),
        (damage, "cannot read"),
        (lambda path, name: path.unlink(), "cannot read"),
    ],
)
def test_what_is_missing_is_an_error_and_not_the_pretrained_value(
    harm: Callable[[Path, str], None], says: str, choices: Asked, tmp_path: Path
):
    planned = plan_run(tmp_path, RecordingWatch(), choices, **OFTEN)
    name = "model.layers.0.mlp.down_proj.weight"
    left = cut(planned)
    harm(left / WEIGHTS, name)
    model, _ = fresh(planned)
    before = state(model)
    with pytest.raises(WorkError) as error:
        lay_over(model, left)
    check_equal(state(model), before)
    assert says.format(name=name) in str(error.value)
    assert str(left / WEIGHTS) in str(error.value)
    assert str(error.value).endswith(f"delete {left.parent}, and the same command begins the run anew")
    result = run(planned)
    assert (result.status, result.error) == ("failed", str(error.value))


@pytest.mark.parametrize("cut_at", [("train", 5), ("score", 1)], ids=lambda cut: cut[0])
def test_in_a_folder_that_was_moved_the_best_checkpoint_is_the_one_that_is_scored(cut_at, choices, tmp_path):
    """A checkpoint's state tells where the best one was then."""
    soon_too_much = {"max_train_examples": 4, "max_steps": 9, "eval_steps": 3, "learning_rate": 0.1}
    asked = changed(choices, schedule="constant", **soon_too_much, **EVERYTHING)
    expected = run(plan_run(tmp_path / "whole", RecordingWatch(), asked, **OFTEN))
    assert (expected.best_step, expected.steps) == (3, 9)
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path / "here", RecordingWatch(cut_at), asked, **OFTEN))
    (tmp_path / "here").rename(tmp_path / "there")
    result = run(plan_run(tmp_path / "there", RecordingWatch(), asked, **OFTEN))
    assert (result.score, result.best_step) == (expected.score, 3)
    assert result.score == expected.selection_score
