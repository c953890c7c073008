"""A setting is declared once: each reaches the command line, YAML files, the search space, id and report."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from sparsegrad_cli.config import (
    BASIS_SETTINGS,
    EXCLUSIVE,
    METHOD_SETTINGS,
    RUN_SETTINGS,
    SETTINGS,
    TRAINING_SETTINGS,
    RunConfig,
    check_given,
)
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.grid.experiment import read_experiment
from sparsegrad_cli.methods import get_method, method_names
from sparsegrad_cli.report.comparable import setting_words
from sparsegrad_cli.settings import config_id, identity
from sparsegrad_cli.sweep.space import read_space
from sparsegrad_cli.training.params import read_params

# no setting has its default
VALUES: dict[str, Any] = {
    "model": "another",
    "data": "elsewhere",
    "protocol": "heldout",
    "device": "cuda",
    "learning_rate": 0.5,
    "sparse_learning_rate": 0.25,
    "batch_size": 6,
    "accumulation_steps": 3,
    "epochs": 1.5,
    "max_steps": 7,
    "max_train_examples": 8,
    "patience": 1,
    "eval_steps": 9,
    "length": 10,
    "padding": "max",
    "precision": "bf16",
    "schedule": "cosine",
    "warmup_steps": 2,
    "gradient_checkpointing": True,
    "weight_decay": 0.01,
    "freeze_rest": True,
    "languages": ("de", "fr"),
    "loss_on": "all",
    "chat_format": "llama-2",
    "pack_attention": "within",
    "blocks": "every:2",
    "density": 0.125,
    "kept": 11,
    "target": "attention",
    "optimizer": "galore",
    "rank": 14,
    "mask": "fixed",
    "place": "backward",
    "recompute": True,
    "calibration_steps": 12,
    "basis": "basis.safetensors",
    "basis_rank": 13,
}
SEVERAL = ("ft", "lora", "meprop", "sparsegrad")
RESOLVED = RunConfig(
    model="m",
    model_revision="0" * 64,
    task="cola",
    data="d",
    data_revision="1" * 64,
    method="lora",
    seed=0,
    protocol="paper",
    device="cpu",
    learning_rate=5e-5,
    batch_size=16,
    epochs=20,
    patience=5,
    length=128,
    precision="fp32",
    freeze_rest=False,
    rank=7,
)


def typed(name: str) -> list[str]:
    """What one types to give the setting its value."""
    value, option = VALUES[name], SETTINGS[name].option
    if value is True:
        return [option]
    return [
        word for each in (value if isinstance(value, tuple) else (value,)) for word in (option, str(each))
    ]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What commands ask to have resolved; they come no further."""
    found: list[dict[str, Any]] = []

    def resolve(given: dict[str, Any], *_: object, **__: object) -> None:
        found.append(check_given(given, SETTINGS))
        raise InputError("resolved")

    monkeypatch.setattr("sparsegrad_cli.sweep.plan.plan_studies", resolve)
    monkeypatch.setattr("sparsegrad_cli.training.resolve.resolve", resolve)
    return found


def test_every_setting_is_tried_with_a_value_that_is_not_its_default():
    assert set(VALUES) == set(RUN_SETTINGS)
    for name, value in VALUES.items():
        assert value not in [SETTINGS[name].default_for(is_chat) for is_chat in (False,)], name


@pytest.mark.parametrize("name", RUN_SETTINGS)
@pytest.mark.parametrize("command", ["finetune", "sweep"])
def test_the_command_line_takes_every_setting(name, command, call, asked):
    code, _, err = call(command, "--task", "t", "--method", "ft", *typed(name))
    assert (code, err) == (2, "sparsegrad: resolved\n")
    assert asked == [{name: VALUES[name], **({} if command == "sweep" else {"task": "t"})}]
    assert type(asked[0][name]) is type(VALUES[name])


@pytest.mark.parametrize("name", sorted(BASIS_SETTINGS.keys() - {"precision"}))  # most are refused
def test_calibrate_passes_on_every_setting_it_has(name, call, asked):
    code, _, err = call("calibrate", "--task", "t", *typed(name))
    assert (code, err) == (2, "sparsegrad: resolved\n")
    assert asked == [{name: VALUES[name], "task": "t"}]


@pytest.mark.parametrize("command", ["finetune", "sweep", "calibrate"])
def test_what_is_not_given_is_left_open(command, call, asked):
    call(command, "--task", "t", *([] if command == "calibrate" else ["--method", "sparsegrad"]))
    assert asked == [{} if command == "sweep" else {"task": "t"}]


def test_a_flag_has_an_opposite_where_the_default_may_be_yes(call, asked):
    call("finetune", "--task", "t", "--method", "ft", "--train-rest")
    assert asked == [{"task": "t", "freeze_rest": False}]


@pytest.mark.parametrize("name", TRAINING_SETTINGS)
@pytest.mark.parametrize("kind", ["finetune", "sweep"])
def test_an_experiment_takes_every_setting(name, kind, tmp_path):
    value = list(VALUES[name]) if isinstance(VALUES[name], tuple) else VALUES[name]
    document = {"title": "t", "kind": kind, "models": ["m"], "tasks": ["cola"], "methods": list(SEVERAL)}
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({**document, "settings": {name: value}}))
    assert read_experiment(path).experiment.settings == {name: value}


@pytest.mark.parametrize("name", TRAINING_SETTINGS)
def test_a_params_file_takes_every_setting(name, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({name: VALUES[name]}))
    assert read_params(path).plain == {name: VALUES[name]}


@pytest.mark.parametrize("name", RUN_SETTINGS)
def test_a_sweep_searches_what_is_searchable_and_nothing_else(name, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps({name: [VALUES[name]]}))
    if SETTINGS[name].is_searchable:
        assert read_space(path).parameters[name] == (VALUES[name],)
    else:
        with pytest.raises(InputError, match="no hyperparameter"):
            read_space(path)


@pytest.mark.parametrize("name", RUN_SETTINGS)
def test_the_id_and_the_report_hang_on_every_setting_that_decides_numbers(name):
    changed = RESOLVED.model_copy(update={name: VALUES[name]})
    assert (changed.run_id() != RESOLVED.run_id()) == SETTINGS[name].in_id
    if SETTINGS[name].in_id:
        assert setting_words(name, VALUES[name])


def test_settings_of_methods_are_those_that_methods_name():
    named = {name for method in method_names() for name in get_method(method).settings}
    assert named == set(METHOD_SETTINGS)


def test_the_id_of_a_known_run_does_not_change():
    """A change here means that finished runs are not found again: give a new field an `off` value."""
    assert RESOLVED.run_id() == "7db8833ffc313920"
    assert config_id(RESOLVED) == RESOLVED.run_id()
    assert "gradient_checkpointing" not in identity(RESOLVED), "what is off is no part of an id"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--epochs", "inf"], "--epochs must be a finite number, got inf"),
        (["--epochs", "0"], "--epochs must be above 0, got 0"),
        (["--learning-rate", "nan"], "--learning-rate must be a finite number, got nan"),
        (["--density", "2"], "--density must be at most 1, got 2"),
        (["--kept", "3", "--density", "0.1"], "exclude one another"),
        (["--epochs", "3", "--max-steps", "2"], "exclude one another"),
        (["--batch-size", "0"], "batch-size"),
        (["--precision", "fp8"], "fp8"),
        (["--rank", "3"], "--rank is not used by --method sparsegrad"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(words, says, call):
    code, out, err = call("finetune", "--task", "cola", "--data", "demo", "--method", "sparsegrad", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_settings_that_exclude_one_another_are_refused_in_any_order():
    for pair in EXCLUSIVE:
        for one, other in (pair, pair[::-1]):
            with pytest.raises(InputError, match="exclude one another"):
                check_given({one: VALUES[one], other: VALUES[other]}, SETTINGS)


def test_help_names_the_default_of_each_kind_of_task():
    assert "Default: 20 (chat tasks: 1)." in SETTINGS["epochs"].help_text()
