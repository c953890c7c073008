"""A batch in parts trains as the whole one does; and is what a run without enough memory falls back to."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification, TrainerCallback

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.store.records import Environment, Result
from sparsegrad_cli.training.basis import find_or_calibrate
from sparsegrad_cli.training.run import adapt, load_model, run
from sparsegrad_cli.training.trainer import PlannedRun, make_trainer

from ..checkpoints import tiny_checkpoint
from ..planned import WORDS, Asked, PowerCutError, RecordingWatch, changed, configs_of, plan_run, write_cola

TRAIN = 42  # in batches of 16 the last is one of 10
VARIANTS: dict[str, dict[str, object]] = {
    "ft": {},
    "lora": {},
    "meprop": {"density": 0.05},
    "sparsegrad": {"density": 0.05, "calibration_steps": 2},
    "sparsegrad optimizer": {"density": 0.05, "calibration_steps": 2, "place": "optimizer"},
    "sparsegrad block": {"density": 0.05, "calibration_steps": 2, "mask": "block"},
    "sift": {"density": 0.05, "calibration_steps": 2},
    "random-mask": {"density": 0.05},
}


def write_stsb(folder: Path) -> None:
    """Pairs whose score is how many of the words of one are in the other."""
    chosen = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split, rows in (("train", TRAIN), ("validation", 8)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for idx in range(rows):
                one, other = (chosen.choice(WORDS, chosen.integers(2, 9)) for _ in range(2))
                label = 5 * len({*one} & {*other}) / len({*one, *other})
                texts = {"sentence1": " ".join(one), "sentence2": " ".join(other)}
                file.write(json.dumps({**texts, "label": label, "idx": idx}) + "\n")


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Of a model without dropout, whose draws would tell parts from a whole."""
    folder = tmp_path_factory.mktemp("inputs")
    model = tiny_checkpoint(folder / "model", "bert", layers=1)
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    write_cola(folder / "glue", train=TRAIN, dev=12)
    write_stsb(folder / "glue" / "stsb")
    return {
        "model": str(model),
        "task": "cola",
        "data": str(folder / "glue"),
        "methods": ["ft"],
        "learning_rate": 1e-3,
        "batch_size": 16,
        "epochs": 1,
        "patience": 0,
        "length": 24,
    }


def of_variant(choices: Asked, variant: str, **changes: object) -> Asked:
    return changed(choices, methods=[variant.split()[0]], **VARIANTS[variant] | changes)


class Gradients(TrainerCallback):
    """What every optimizer step is made from."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs):
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        self.steps.append(found)


def train_in(parts: int, planned: PlannedRun) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """An epoch in float64 with each batch in so many parts; the gradients, and the plain model's weights."""
    planned.folder.path.mkdir(parents=True, exist_ok=True)
    loaded = load_model(planned.config, planned.inputs)
    if planned.config.calibration_steps is not None:  # a calibration takes its batches in parts too
        basis = find_or_calibrate(
            loaded.model, planned.config, planned.inputs, planned.results, planned.progress
        )
        planned = dataclasses.replace(planned, basis=basis)
    method = adapt(planned, loaded, parts)
    loaded.model.double()
    optimizer = method.optimizer(planned.config.learning_rate)
    for group in optimizer.param_groups:
        group.update({name: group[name].double() for name in ("U", "V") if group.get(name) is not None})
    trainer = make_trainer(loaded.model, optimizer, planned, parts)
    seen = Gradients()
    trainer.add_callback(seen)
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.args.load_best_model_at_end = False
    trainer.train()
    return seen.steps, method.merge().state_dict()


@pytest.mark.parametrize(
    ("variant", "task", "parts"),
    [
        *((variant, "cola", 4) for variant in VARIANTS),
        *((variant, "stsb", 2) for variant in ("ft", "sparsegrad")),
    ],
)
def test_parts_make_the_gradient_of_the_whole_batch(variant, task, parts, choices, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), of_variant(choices, variant, task=task))
    gradients, weights = train_in(1, planned)
    in_parts, weights_in_parts = train_in(parts, planned)
    assert len(gradients) == len(in_parts) == 3
    for whole, summed in zip(gradients, in_parts, strict=True):
        assert whole.keys() <= summed.keys()  # what steps in backward keeps none
        for name, gradient in whole.items():
            torch.testing.assert_close(summed[name], gradient, rtol=1e-7, atol=1e-10)
    for name, weight in weights.items():
        torch.testing.assert_close(weights_in_parts[name], weight, rtol=1e-7, atol=1e-8)


def outcome(planned: PlannedRun, result: Result) -> tuple[float | None, int, list[list[float]]]:
    """Score, optimizer steps, logits."""
    assert result.status == "done", result.error
    predictions = pd.read_parquet(planned.folder.path / "predictions.parquet")
    return result.score, result.steps, [list(row) for row in predictions["logits"]]


def recorded(planned: PlannedRun) -> tuple[int, int, int]:
    """Parts in result.json and in environment.json, restarts."""
    result = Result.model_validate_json((planned.folder.path / "result.json").read_bytes())
    environment = Environment.model_validate_json((planned.folder.path / "environment.json").read_bytes())
    return result.accumulation_steps, environment.accumulation_steps, environment.restarts


class Memory:
    """Room for so many examples at a time, once there was room for `until` batches of any size."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, examples: int, until: int = 0) -> None:
        self.sizes: list[int] = []  # of the batches that were tried
        forward = BertForSequenceClassification.forward

        @functools.wraps(forward)  # Trainer looks at its signature
        def limited(model: BertForSequenceClassification, **inputs: Tensor) -> object:
            if model.training:
                self.sizes.append(len(inputs["input_ids"]))
                if self.sizes[-1] > examples and len(self.sizes) > until:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return forward(model, **inputs)

        monkeypatch.setattr(BertForSequenceClassification, "forward", limited)


@pytest.fixture
def short(choices: Asked) -> Asked:
    """Six steps of whole batches, evaluated at every second; no calibration before it."""
    changes = {"epochs": None, "max_steps": 6, "eval_steps": 2, "batch_size": 8}
    return changed(choices, **changes)


def test_without_the_flag_a_run_without_memory_ends_so(short, tmp_path, monkeypatch):
    Memory(monkeypatch, 4)
    planned = plan_run(tmp_path, RecordingWatch(), short, keep_model=False)
    assert run(planned).status == "out-of-memory"
    assert recorded(planned) == (1, 1, 0)


@pytest.mark.parametrize(("room", "parts", "until"), [(4, 2, 3), (3, 4, 0)])
def test_with_it_the_run_begins_anew_in_parts_that_fit(room, parts, until, short, tmp_path, monkeypatch):
    asked = changed(short, accumulation_steps=parts)
    in_parts = plan_run(tmp_path / "asked", RecordingWatch(), asked, keep_model=False)
    expected = outcome(in_parts, run(in_parts))
    planned = plan_run(tmp_path, RecordingWatch(), short, keep_model=False, accumulate_on_oom=True)
    memory = Memory(monkeypatch, room, until)
    result = run(planned)
    assert outcome(planned, result) == expected
    assert memory.sizes[: until + 1] == [8] * (until + 1)
    assert recorded(planned) == (parts, parts, 0)
    assert result.id == planned.config.run_id() != in_parts.config.run_id()
    assert in_parts.config.accumulation_steps == parts


def test_a_step_in_backward_gives_way_to_one_that_can_wait(short, tmp_path, monkeypatch):
    at_once = of_variant(short, "sparsegrad")
    in_parts = changed(at_once, accumulation_steps=2)
    asked = plan_run(tmp_path, RecordingWatch(), in_parts, keep_model=False)
    expected = outcome(asked, run(asked))
    Memory(monkeypatch, 4)
    planned = plan_run(tmp_path, RecordingWatch(), at_once, keep_model=False, accumulate_on_oom=True)
    assert outcome(planned, run(planned)) == expected
    assert (planned.config.place, asked.config.place) == ("backward", "optimizer")


def test_what_fits_in_no_parts_ends_out_of_memory(short, tmp_path, monkeypatch):
    memory = Memory(monkeypatch, 0)
    planned = plan_run(tmp_path, RecordingWatch(), short, keep_model=False, accumulate_on_oom=True)
    assert run(planned).status == "out-of-memory"
    assert memory.sizes == [8, 4, 2, 1]
    assert recorded(planned)[1] == 8


def test_killed_in_its_parts_a_run_goes_on_in_them(short, tmp_path, monkeypatch):
    memory = Memory(monkeypatch, 4)
    often = {"keep_model": False, "accumulate_on_oom": True, "checkpoint_seconds": 0.0}
    whole = plan_run(tmp_path / "whole", RecordingWatch(), short, **often)
    expected = outcome(whole, run(whole))
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path, RecordingWatch(("train", 3)), short, **often))
    memory.sizes.clear()
    planned = plan_run(tmp_path, RecordingWatch(), short, **often)
    assert outcome(planned, run(planned)) == expected
    assert memory.sizes == [4] * 6 + [2]  # from step 3 on; the last batch is one of two examples
    assert recorded(planned) == (2, 2, 1)


class CutInParts(RecordingWatch):
    """Cuts the power at the first step of the second attempt."""

    def step(self, done: int, loss: float | None = None) -> None:
        if self.phases.count("train") == 2 and done == 1:
            raise PowerCutError


def test_killed_before_their_first_checkpoint_nothing_of_the_whole_batches_is_left(
    short, tmp_path, monkeypatch
):
    often = {"keep_model": False, "accumulate_on_oom": True, "checkpoint_seconds": 0.0}
    with monkeypatch.context() as patch:
        Memory(patch, 4)
        whole = plan_run(tmp_path / "whole", RecordingWatch(), short, **often)
        expected = outcome(whole, run(whole))
    with monkeypatch.context() as patch:
        Memory(patch, 4, until=3)
        with pytest.raises(PowerCutError):
            run(plan_run(tmp_path, CutInParts(), short, **often))
    Memory(monkeypatch, 4)
    planned = plan_run(tmp_path, RecordingWatch(), short, **often)
    assert outcome(planned, run(planned)) == expected
    assert recorded(planned) == (2, 2, 0)


def test_parts_that_are_asked_for_are_another_run(choices):
    configs = [configs_of(changed(choices, accumulation_steps=parts))[0] for parts in (None, 1, 2, 4)]
    assert [config.accumulation_steps for config in configs] == [1, 1, 2, 4]
    assert len({config.run_id() for config in configs}) == 3


@pytest.mark.parametrize(
    ("variant", "changes", "says"),
    [
        ("ft", {"accumulation_steps": 3}, "--accumulation-steps 3 does not divide the batch size 16"),
        ("ft", {"accumulation_steps": 32}, "--accumulation-steps 32 does not divide the batch size 16"),
        ("sparsegrad", {"accumulation_steps": 2, "place": "backward"}, "--place backward steps before"),
    ],
)
def test_parts_that_cannot_be_are_refused(variant, changes, says, choices):
    with pytest.raises(InputError, match=says):
        configs_of(of_variant(choices, variant, **changes))
