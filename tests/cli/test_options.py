"""What is typed arrives in `Choices`: every field of it, by finetune, sweep and calibrate alike."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import pytest
import typer

from sparsegrad_cli.cli.calibrate import CalibrationOptions
from sparsegrad_cli.cli.groups import OptionGroup, filled, takes_groups
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.choices import Choices

# no field has its default
ALL = Choices(
    model="m",
    task="t",
    data="d",
    methods=["lora", "ft"],
    seeds=[3, 4],
    protocol="heldout",
    device="cuda",
    precision="bf16",
    learning_rate=0.5,
    sparse_learning_rate=0.25,
    batch_size=5,
    accumulation_steps=6,
    epochs=1.5,
    max_steps=7,
    max_train_examples=8,
    patience=0,
    eval_steps=9,
    length=10,
    pad_to_max=True,
    freeze_rest=True,
    blocks="every:2",
    schedule="cosine",
    warmup_steps=0,
    gradient_checkpointing=True,
    languages=("de", "fr"),
    loss_on="all",
    chat_format="llama-2",
    density=0.125,
    kept=11,
    support="fixed",
    form="lean",
    calibration_steps=12,
    basis=Path("basis.safetensors"),
    basis_rank=13,
    rank=14,
)
REPEATED = {"methods": "--method", "seeds": "--seed", "languages": "--language"}


def words(choices: Choices, *names: str) -> list[str]:
    """What one types for these fields."""
    typed = []
    for name in names:
        flag, value = REPEATED.get(name, "--" + name.replace("_", "-")), getattr(choices, name)
        for each in value if name in REPEATED else [value]:
            typed += [flag] if each is True else [flag, str(each)]
    return typed


def field_names(of: type[Choices] | type[OptionGroup]) -> list[str]:
    return [each.name for each in dataclasses.fields(of)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Choices]:
    """What commands ask to have planned; no further do they come."""
    found: list[Choices] = []

    def plan(choices: Choices, *_: object, **__: object) -> None:
        found.append(choices)
        raise InputError("planned")

    monkeypatch.setattr("sparsegrad_cli.training.plan.plan", plan)
    monkeypatch.setattr("sparsegrad_cli.sweep.plan.plan_studies", plan)
    return found


def test_finetune_has_an_option_for_every_choice(call, asked):
    same = [each.name for each in dataclasses.fields(Choices) if getattr(ALL, each.name) == each.default]
    assert not same, "this test gives every field another value than its default"
    code, _, err = call("finetune", *words(ALL, *field_names(Choices)))
    assert (code, err) == (2, "sparsegrad: planned\n")
    assert repr(asked) == repr([ALL]), "words, which the members of an enum only equal"


def test_sweep_has_an_option_for_every_choice(call, asked):
    one_seed = replace(ALL, seeds=[3])
    code, _, err = call("sweep", *words(one_seed, *field_names(Choices)))
    assert (code, err) == (2, "sparsegrad: planned\n")
    assert asked == [replace(one_seed, task="")], "the tasks go beside"


def test_calibrate_passes_on_every_option_it_has(call, asked):
    own = field_names(CalibrationOptions)
    code, _, err = call("calibrate", *words(ALL, "model", "task", "data", "seeds", "device", *own))
    assert (code, err) == (2, "sparsegrad: planned\n")
    given = {name: getattr(ALL, name) for name in own}
    what = Choices("m", "t", "d", methods=["sparsegrad"], seeds=[3, 4], device="cuda")
    assert asked == [replace(what, **given)]


@pytest.mark.parametrize("command", ["finetune", "sweep", "calibrate"])
def test_what_is_not_given_has_its_default(command, call, asked):
    method = [] if command == "calibrate" else ["--method", "sparsegrad"]
    call(command, "--task", "t", *method)
    task = "" if command == "sweep" else "t"
    assert asked == [Choices("demo", task, "hub", methods=["sparsegrad"], seeds=[0])]


Size = Annotated[int, typer.Option()]


@dataclass(frozen=True)
class Sizes(OptionGroup):
    length: Size = 8
    languages: Annotated[list[str], typer.Option()] = field(default_factory=lambda: ["en"])


@dataclass(frozen=True)
class LargeSizes(Sizes):
    length: Size = 80


@takes_groups
def train(*, task: str, sizes: LargeSizes, quiet: bool = False) -> int:
    """Trains."""
    return sizes.length + len(sizes.languages)


def test_the_options_of_a_group_stand_in_its_place():
    parameters = inspect.signature(train).parameters
    assert list(parameters) == ["task", "length", "languages", "quiet"]
    assert parameters["length"].default == 80
    assert parameters["length"].annotation == Size
    assert parameters["languages"].default == ["en"]
    assert (train.__name__, train.__doc__) == ("train", "Trains.")
    assert train(task="t", length=3, languages=["de", "fr"], quiet=True) == 5


def test_a_group_cannot_fill_what_choices_lack():
    @dataclass(frozen=True)
    class Odd(OptionGroup):
        lenght: int = 8

    with pytest.raises(TypeError, match="lenght"):
        filled(ALL, Odd())
