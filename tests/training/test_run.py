"""A run: its folder, its repeatability, and what is left of it when it is killed."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.errors import DeviceError, InputError, WorkError
from sparsegrad_cli.methods.sparse import SparseMethod
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import load_classifier
from sparsegrad_cli.store.basis_file import save_basis
from sparsegrad_cli.store.records import Environment, Result
from sparsegrad_cli.training import basis as training_basis
from sparsegrad_cli.training.run import load_model, run
from sparsegrad_cli.training.trainer import RunTrainer, make_trainer

from ..checkpoints import tiny_checkpoint
from ..core.models import identity_basis
from ..planned import Asked, PowerCutError, RecordingWatch, changed, configs_of, plan_run, write_cola

NO_SPACE = "No space left on device"
CHECKPOINT = "sparsegrad_cli.training.trainer.save_file"
MODEL = "transformers.PreTrainedModel.save_pretrained"
METHODS = ["ft", "lora", "meprop", "sparsegrad", "sparsegrad block"]


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert", layers=1)),
        "task": "cola",
        "data": str(write_cola(folder / "glue")),
        "methods": ["sparsegrad"],
        "learning_rate": 3e-3,
        "batch_size": 8,
        "epochs": 2,
        "density": 0.05,
        "calibration_steps": 3,
        "length": 24,
    }


def with_method(choices: Asked, variant: str) -> Asked:
    name, _, mask = variant.partition(" ")
    sparse = name in ("meprop", "sparsegrad")
    return changed(
        choices,
        methods=[name],
        mask=mask or None,
        density=choices["density"] if sparse else None,
        calibration_steps=choices["calibration_steps"] if name == "sparsegrad" else None,
    )


def outcome(results: Path, result: Result) -> tuple[dict, np.ndarray]:
    """All that must not depend on when and how often the run was interrupted."""
    costs = {"train_seconds", "steps_per_second", "steps_per_second_quartiles", "peak_memory_bytes"}
    predictions = pd.read_parquet(results / "runs" / result.id / "predictions.parquet")
    return result.model_dump(exclude=costs), np.stack(predictions["logits"])


def test_a_run_leaves_a_whole_folder_that_reloads_to_the_same_predictions(choices, tmp_path):
    watch = RecordingWatch()
    planned = plan_run(tmp_path, watch, changed(choices, epochs=3))
    result = run(planned)
    folder = tmp_path / "runs" / planned.config.run_id()
    assert result.status == "done"
    left = {"config.json", "environment.json", "metrics.jsonl", "result.json", "predictions.parquet", "model"}
    assert {p.name for p in folder.iterdir()} - {"lock"} == left
    assert Result.model_validate_json((folder / "result.json").read_bytes()) == result
    assert RunConfig.model_validate_json((folder / "config.json").read_bytes()) == planned.config
    environment = Environment.model_validate_json((folder / "environment.json").read_bytes())
    assert environment.checkpoint.startswith("sha256:")
    assert environment.restarts == 0
    assert result.steps == 24
    lower, upper = result.steps_per_second_quartiles
    assert 0 < lower <= result.steps_per_second <= upper
    assert result.peak_memory_bytes > 4 * result.parameters.total
    assert result.parameters.adapted < result.parameters.touched <= 2 * 32 * 64
    assert result.selection_score == max(watch.scores) == result.score
    assert set(watch.phases) == {"calibrate", "train", "score"}

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "selection" in line] == [8, 16, 24]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]

    model = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    sentences = planned.inputs.data.splits["validation"]["sentence"][:]
    with torch.no_grad():
        logits = model(
            **tokenizer(sentences, truncation=True, max_length=24, padding=True, return_tensors="pt")
        ).logits.numpy()
    np.testing.assert_allclose(logits, np.stack(predictions["logits"]), rtol=0, atol=1e-5)
    assert (logits.argmax(1) == predictions["prediction"]).all()


@pytest.fixture(scope="module")
def whole(
    choices: Asked, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[dict, np.ndarray]]:
    """Gives the outcome of a run of a method that nothing stops; each is made once."""

    @cache
    def of(method: str) -> tuple[dict, np.ndarray]:
        results = tmp_path_factory.mktemp("whole")
        planned = plan_run(results, RecordingWatch(), with_method(choices, method), keep_model=False)
        return outcome(results, run(planned))

    return of


def test_the_same_seed_gives_the_same_numbers_to_the_last_bit_and_another_does_not(choices, whole, tmp_path):
    """Of the other methods a run that was killed says the same, below."""
    same = outcome(tmp_path, run(plan_run(tmp_path, RecordingWatch(), choices, keep_model=False)))
    assert same[0] == whole("sparsegrad")[0]
    np.testing.assert_array_equal(same[1], whole("sparsegrad")[1])
    other = changed(choices, seeds=[1])
    result = run(plan_run(tmp_path, RecordingWatch(), other, keep_model=False))
    assert not np.array_equal(outcome(tmp_path, result)[1], same[1])


@pytest.mark.parametrize(
    ("phase", "step", "method"),
    [
        *(("train", 13, method) for method in METHODS),
        *(("train", 3, "sparsegrad"), ("train", 8, "sparsegrad"), ("score", 1, "sparsegrad")),
    ],
)
def test_a_killed_run_taken_up_again_ends_as_one_that_was_not(phase, step, method, choices, whole, tmp_path):
    chosen, expected = with_method(choices, method), whole(method)
    often = {"checkpoint_seconds": 0.0, "keep_model": False}
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path, RecordingWatch((phase, step)), chosen, **often))
    planned = plan_run(tmp_path, RecordingWatch(), chosen, keep_model=False)
    result = run(planned)
    found = outcome(tmp_path, result)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    folder = planned.folder.path
    assert json.loads((folder / "environment.json").read_text())["restarts"] == 1
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert {8, 16} <= set(steps)


def test_early_stopping_ends_the_run_and_survives_a_kill(choices, tmp_path):
    patient = changed(choices, epochs=30, patience=1, learning_rate=1e-9)
    result = run(plan_run(tmp_path / "whole", RecordingWatch(), patient, keep_model=False))
    assert result.steps < 30 * 8
    often = {"checkpoint_seconds": 0.0, "keep_model": False}
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path / "cut", RecordingWatch(("score", 1)), patient, **often))
    again = run(plan_run(tmp_path / "cut", RecordingWatch(), patient, keep_model=False))
    assert outcome(tmp_path / "cut", again)[0] == outcome(tmp_path / "whole", result)[0]


def test_a_checkpoint_that_was_cut_short_is_passed_over(choices, tmp_path):
    often = {"checkpoint_seconds": 0.0, "keep_model": False}
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path, RecordingWatch(("train", 13)), choices, **often))
    planned = plan_run(tmp_path, RecordingWatch(), choices, **often)
    last = planned.folder.last_checkpoint()
    state = last / "trainer_state.json"
    state.write_text(state.read_text()[:40])
    assert planned.folder.last_checkpoint() != last
    assert not last.exists()
    assert run(planned).status == "done"


def test_a_finished_run_is_not_run_again(choices, tmp_path):
    first = run(plan_run(tmp_path, RecordingWatch(), choices, keep_model=False))
    watch = RecordingWatch()
    assert run(plan_run(tmp_path, watch, choices)) == first
    assert watch.phases == []


def test_ctrl_c_is_recorded_and_the_run_goes_on_later(choices, tmp_path, monkeypatch):
    class CtrlC(RecordingWatch):
        def step(self, done, loss=None):
            if self.phases[-1] == "train" and done == 10:
                raise KeyboardInterrupt

    planned = plan_run(tmp_path, CtrlC(), choices, keep_model=False)
    with pytest.raises(KeyboardInterrupt):
        run(planned)
    assert planned.folder.result().status == "interrupted"
    assert run(plan_run(tmp_path, RecordingWatch(), choices, keep_model=False)).status == "done"


@pytest.mark.parametrize(
    ("writes", "error"),
    [
        (CHECKPOINT, SafetensorError(f"I/O error: {NO_SPACE}")),
        (MODEL, OSError(errno.ENOSPC, NO_SPACE)),
    ],
    ids=["checkpoint", "model"],
)
def test_a_full_disk_stops_with_a_message_and_leaves_no_result(writes, error, choices, tmp_path, monkeypatch):
    def no_space(*args, **kwargs):
        raise error

    monkeypatch.setattr(writes, no_space)
    planned = plan_run(tmp_path, RecordingWatch(), with_method(choices, "ft"))
    with pytest.raises(WorkError, match=NO_SPACE):
        run(planned)
    assert planned.folder.result() is None


def test_out_of_memory_is_a_status_not_a_crash(choices, tmp_path, monkeypatch):
    def too_much(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("sparsegrad_cli.training.run.train", too_much)
    result = run(plan_run(tmp_path, RecordingWatch(), choices))
    assert (result.status, result.score) == ("out-of-memory", None)
    assert "2 GiB" in result.error


def test_two_processes_do_not_do_the_same_run(choices, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), choices)
    planned.folder.path.mkdir(parents=True)
    with FileLock(planned.folder.path / "lock"), pytest.raises(WorkError, match="run by another process"):
        run(planned)


def test_heldout_selects_on_one_half_of_dev_and_reports_the_other(choices, tmp_path):
    held = changed(choices, protocol="heldout")
    planned = plan_run(tmp_path, RecordingWatch(), held, keep_model=False)
    result = run(planned)
    reported = set(pd.read_parquet(planned.folder.path / "predictions.parquet")["idx"])
    dev = planned.inputs.data.splits["validation"]
    selecting = len(planned.inputs.selection)
    assert selecting == len(reported) == 12
    assert reported < set(dev["idx"][:])
    assert result.selection_score == max(planned.progress.scores)
    assert planned.config.run_id() != plan_run(tmp_path, RecordingWatch(), choices).config.run_id()


def test_the_places_of_sparsegrad_come_to_the_same_score(choices, tmp_path):
    results = []
    for place in ("backward", "recompute", "optimizer", "adapter"):
        rank = 64 if place == "adapter" else None  # it wants one; this leaves nothing out
        where = {"place": "backward", "recompute": True} if place == "recompute" else {"place": place}
        chosen = changed(choices, **where, basis_rank=rank)
        result = run(plan_run(tmp_path, RecordingWatch(), chosen, keep_model=False))
        results.append(outcome(tmp_path, result))
    for identity, logits in results[1:]:
        assert identity["score"] == results[0][0]["score"]
        np.testing.assert_allclose(logits, results[0][1], rtol=0, atol=2e-2)


@pytest.mark.parametrize("mask", ["fixed", "block", "random"])
def test_masks_chosen_once_touch_what_they_train_and_no_more(mask, choices, tmp_path):
    chosen = changed(choices, mask=mask)
    planned = plan_run(tmp_path, RecordingWatch(), chosen, keep_model=False)
    result = run(planned)
    assert result.status == "done"
    assert (planned.config.mask, planned.config.place) == (mask, "adapter")
    assert result.parameters.touched == result.parameters.adapted > 0


def test_a_basis_without_energies_serves_no_mask_chosen_by_them(choices, tmp_path):
    folder = Path(choices["model"])
    model = load_classifier(find_checkpoint(str(folder)), 2, regression=False).model
    path = tmp_path / "identity.safetensors"
    save_basis(identity_basis(model), path)
    chosen = changed(choices, basis=str(path), calibration_steps=None)
    configs_of(chosen)
    with pytest.raises(InputError, match="holds no energies"):
        configs_of(changed(chosen, mask="fixed"))


def test_tokens_are_made_once_and_kept_apart_by_tokenizer_and_length(choices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path / "cache"))
    entries = tmp_path / "cache" / "tokens"
    plan_run(tmp_path, RecordingWatch(), choices)
    plan_run(tmp_path, RecordingWatch(), changed(choices, seeds=[3]))
    assert len(list(entries.iterdir())) == 1
    plan_run(tmp_path, RecordingWatch(), changed(choices, length=16))
    other = str(tiny_checkpoint(tmp_path / "roberta", "roberta"))
    plan_run(tmp_path, RecordingWatch(), changed(choices, model=other))
    assert len(list(entries.iterdir())) == 3


def test_a_batch_is_padded_as_asked_and_knows_its_real_tokens_where_no_padding_is_computed(choices, tmp_path):
    batches = {}
    for padding in ("none", "longest", "max"):
        planned = plan_run(tmp_path, RecordingWatch(), changed(choices, padding=padding))
        rows = [planned.inputs.train[i] for i in range(4)]
        batches[padding] = planned.inputs.collator(planned.config)(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    assert batches["max"]["input_ids"].shape == (4, 24)
    assert batches["longest"]["input_ids"].shape == batches["none"]["input_ids"].shape == (4, max(lengths))
    assert batches["none"]["tokens"].numel() == sum(lengths)
    assert "tokens" not in batches["longest"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": 0.0}, "--density must be above 0"),
        ({"density": 1.5}, "--density must be at most 1, got 1.5"),
        ({"kept": 10}, "--density and --kept"),
        ({"density": None, "kept": 10**7}, "have 2048 entries"),
        ({"rank": 4}, "--rank is not used by --method sparsegrad"),
        ({"methods": ["lora"], "density": None, "calibration_steps": None, "rank": 99}, "have rank 32"),
        ({"length": 4096}, "has positions for 130 tokens"),
        ({"epochs": None, "max_steps": 3, "density": -1.0}, "--density"),
        ({"max_steps": 3}, "--epochs and --max-steps"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0"),
        ({"epochs": 0.0}, "--epochs must be above 0"),
        ({"precision": "tf32", "device": "cpu"}, "tf32 needs a CUDA device"),
        ({"basis": "nowhere.safetensors", "calibration_steps": None}, "no such basis: nowhere"),
        ({"basis": __file__, "calibration_steps": None}, "is not a basis"),
        ({"place": "optimizer", "recompute": True}, "--recompute goes with --place backward"),
        ({"basis": "none", "mask": "block", "calibration_steps": None}, "--mask block needs a basis"),
        ({"basis": "random", "mask": "fixed", "calibration_steps": None}, "--mask fixed needs energies"),
        ({"basis": "random"}, "--calibration-steps has no effect on --basis random"),
        ({"place": "adapter"}, "--place adapter .* give --basis-rank"),
        ({"methods": ["meprop"], "calibration_steps": None, "mask": "block"}, "--mask is not used"),
        ({"methods": ["adalorra"]}, "no method 'adalorra', there are adalora, bitfit, boft"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_made(change, message, choices):
    with pytest.raises(InputError, match=message) as refused:
        configs_of(changed(choices, **change))
    assert "\n" not in str(refused.value)


def test_one_run_uses_one_gpu_however_many_there_are(choices, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    planned = plan_run(tmp_path, RecordingWatch(), choices, keep_model=False)
    planned = dataclasses.replace(planned, config=planned.config.model_copy(update={"device": "cuda"}))
    loaded = load_model(planned.config, planned.inputs)
    trainer = make_trainer(loaded.model, None, planned)
    assert trainer.args.n_gpu == 1
    assert trainer.args.train_batch_size == planned.config.batch_size
    assert trainer._wrap_model(loaded.model) is loaded.model


def test_tf32_is_for_the_training_of_its_own_run_alone(choices, tmp_path, monkeypatch):
    flags = torch.backends.cuda.matmul
    seen: dict[str, set[str]] = {"training": set(), "calibration": set(), "merge": set()}

    def watch(what: str, target: object, name: str) -> None:
        original = getattr(target, name)

        def watched(*args: object, **kwargs: object) -> object:
            seen[what].add(flags.fp32_precision)
            return original(*args, **kwargs)

        monkeypatch.setattr(target, name, watched)

    watch("training", RunTrainer, "training_step")
    watch("calibration", training_basis, "calibrate")
    watch("merge", SparseMethod, "merge")
    before = flags.fp32_precision
    for precision, expected in (("tf32", "tf32"), ("fp32", "ieee")):
        planned = plan_run(
            tmp_path / precision, RecordingWatch(), changed(choices, epochs=1), keep_model=False
        )
        config = planned.config.model_copy(update={"precision": precision})
        assert run(dataclasses.replace(planned, config=config)).status == "done"
        assert seen == {"training": {expected}, "calibration": {"ieee"}, "merge": {"ieee"}}
        assert flags.fp32_precision == before
        for each in seen.values():
            each.clear()


def test_a_step_measures_no_norm_and_counts_no_operations(choices, tmp_path, monkeypatch):
    def unused(*args: object, **kwargs: object) -> None:
        raise AssertionError("nothing of a run needs this")

    monkeypatch.setattr("accelerate.Accelerator.clip_grad_norm_", unused)
    monkeypatch.setattr("transformers.Trainer.floating_point_ops", unused)
    short = changed(with_method(choices, "ft"), epochs=None, max_steps=4)
    assert run(plan_run(tmp_path, RecordingWatch(), short, keep_model=False)).status == "done"


def test_a_cuda_error_is_recorded_and_ends_the_process_not_the_folder(choices, tmp_path, monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    planned = plan_run(tmp_path, RecordingWatch(), choices, keep_model=False)
    monkeypatch.setattr("sparsegrad_cli.training.run.train", broken)
    with pytest.raises(DeviceError, match="device-side assert"):
        run(planned)
    assert planned.folder.result().status == "failed"


@pytest.mark.parametrize(
    "error",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_every_word_for_out_of_memory_counts(error, choices, tmp_path, monkeypatch):
    def full(*args: object, **kwargs: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr("sparsegrad_cli.training.run.train", full)
    assert run(plan_run(tmp_path, RecordingWatch(), choices, keep_model=False)).status == "out-of-memory"
