"""The model that is measured and what it is measured on, found and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import torch
from pydantic import PositiveInt
from transformers import PreTrainedModel

from ..config import SETTINGS, BasisKind, Mask, Precision, check_given
from ..core import PLACES, UnsupportedModelError, find_mlp_linears
from ..core.reference import REFERENCE_FORMS
from ..errors import InputError, unknown
from ..methods import get_method, method_names, methods_in_order
from ..methods.sparse import SparseMethod, default_place
from ..models.checkpoint import Checkpoint, fetch_weights, find_checkpoint
from ..models.load import load_tokenizer
from ..models.random import architecture, check_depth, find_architecture, random_classifier
from ..settings import Record, setting, settings_of
from ..tasks import get_task
from ..tasks.load import TaskData, load_data
from ..tasks.task import ChatTask, Task
from ..training.checks import check_length, check_sizes, check_used, choose_device
from ..training.resolve import choose_hyperparameters, lora_rank
from .jobs import Setup
from .schema import BenchConfig, CalibrationConfig, Init, RowSpec, Subject
from .step import Batch, random_batches, real_batches


@dataclass(frozen=True)
class SubjectChoices:
    """Which model is measured, on what; None stands for a default."""

    model: str
    init: Init = "pretrained"
    layers: PositiveInt | None = None
    task: str | None = None
    data: str = "hub"
    device: str = "auto"
    precision: Precision | None = None
    batch_size: PositiveInt | None = None
    length: int | None = None
    pad_to_max: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """The model and the data, found and checked."""

    subject: Subject
    checkpoint: Checkpoint
    skeleton: PreTrainedModel  # on the meta device, cut to its layers
    data: TaskData | None
    shapes: list[tuple[int, int]]  # O x I of every MLP linear

    def setup(self, batches: str) -> Setup:
        """What a worker is told; `batches` is the file."""
        task = self.data.task if self.data else None
        return Setup(
            subject=self.subject,
            location=self.checkpoint.location,
            num_labels=2 if task is None else len(task.labels or [0]),
            regression=task is not None and task.is_regression,
            batches=batches,
        )

    def batches(self) -> Iterator[Batch]:
        """Batches without end, the same for the same seed."""
        if self.data is not None:
            return real_batches(self.subject, load_tokenizer(self.checkpoint), self.data)
        config = self.skeleton.config
        return random_batches(self.subject, config.vocab_size, config.pad_token_id, config.num_labels)

    def fetch(self) -> None:
        """Downloads the weights, where they are wanted and not there."""
        if self.subject.init == "pretrained":
            fetch_weights(self.checkpoint)


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none, or it is a chat task.
    """
    task = get_task(name)
    if isinstance(task, ChatTask):
        raise InputError(
            f"--task {name}: bench times classifiers, and {name} is a chat task: name a GLUE task "
            "(see sparsegrad ls tasks)"
        )
    return task


def check_precision(precision: Precision | None) -> None:
    """Refuses what is for language models.

    Raises:
        InputError: so it is.
    """
    if precision == "bf16-weights":
        raise InputError("--precision bf16-weights is for chat tasks; bench times classifiers: take bf16")


def find(choices: SubjectChoices, from_shapes: bool = False) -> Found:
    """Finds model and data, and checks them against each other.

    Args:
        from_shapes: a model's directory without weights will do: nothing of it is to be measured.

    Raises:
        InputError: anything that is wrong with them.
    """
    check_precision(choices.precision)
    device = choose_device(choices.device, choices.precision)
    precision = choices.precision or "fp32"
    length = choices.length or SETTINGS["length"].default_for(is_chat=False)
    data = load_data(find_task(choices.task), choices.data) if choices.task is not None else None
    random = choices.init == "random"
    if random:
        checkpoint = find_architecture(choices.model)
    else:
        checkpoint = find_checkpoint(choices.model, needs_weights=not from_shapes)
    if data and not checkpoint.location:  # texts need the tokenizer
        checkpoint = find_checkpoint(choices.model)
    config = architecture(checkpoint)
    check_depth(choices.layers, config.num_hidden_layers)
    try:
        with torch.device("meta"):
            skeleton = random_classifier(config, choices.layers).model
        shapes = [tuple(place.linear.weight.shape) for place in find_mlp_linears(skeleton)]
    except UnsupportedModelError as error:
        raise InputError(f"--model: {error}") from None
    check_length(skeleton, choices.model, length)
    task = data.task.name if data else None
    _, batch_size, _ = choose_hyperparameters(choices.model, task, None, choices.batch_size)
    subject = Subject(
        model=choices.model,
        checkpoint=f"random:{checkpoint.identity}" if random else checkpoint.identity,
        init=choices.init,
        layers=choices.layers,
        device=device,
        precision=precision,
        batch_size=batch_size,
        length=length,
        task=task,
        data=choices.data if data else None,
        data_revision=data.sha256 if data else None,
        pad_to_max=choices.pad_to_max,
        seed=choices.seed,
    )
    found = Found(subject, checkpoint, skeleton, data, shapes)
    list(islice(found.batches(), 1))  # a tokenizer that is missing, data that are too few
    return found


OF_THE_PAPER = ("ft", "lora", "meprop", "sparsegrad")  # methods that are measured where none is named
CALIBRATED_MASKS = ("dynamic", "fixed", "block")
BURN_IN = {"cpu": 2, "cuda": 10}
PROBE_STEPS = 2  # batches beyond the calibration's, that give a mask its energies


@dataclass(frozen=True)
class Choices(SubjectChoices):
    """What is measured of it."""

    methods: Sequence[str] = ()
    places: Sequence[str] = ()
    masks: Sequence[str] = ()
    freeze_rest: bool | None = None
    density: float | None = None
    kept: PositiveInt | None = None
    rank: PositiveInt | None = None
    basis_rank: PositiveInt | None = None
    calibration_steps: PositiveInt = 4
    rounds: PositiveInt = 3
    steps: PositiveInt = 5
    burn_in: PositiveInt | None = None


class OwnSettings(Record):
    """Settings of a benchmark, besides those that it shares with runs."""

    init: Init = setting("random: the architecture alone, nothing is fetched.", off="pretrained")
    layers: int | None = setting("Only this many of the first blocks.", off=None, at_least=1)
    seed: int = setting("Seed of weights, batches and dropout.", off=0, at_least=0)
    places: tuple[str, ...] = setting("Places of sparsegrad.", off=())
    masks: tuple[str, ...] = setting("Masks of sparsegrad.", off=())
    rounds: int = setting("Times that every row is measured.", off=3, at_least=1)
    steps: int = setting("Timed steps of a row in a round.", off=5, at_least=1)
    burn_in: int | None = setting("Steps before them.", off=None, at_least=1)


_OF_RUN = ("device", "precision", "batch_size", "length", "pad_to_max", "freeze_rest")
_OF_RUN += ("density", "kept", "rank", "basis_rank", "calibration_steps")
BENCH_SETTINGS = {**{name: SETTINGS[name] for name in _OF_RUN}, **settings_of(OwnSettings)}


def plan(choices: Choices, from_shapes: bool = False) -> tuple[BenchConfig, Found]:
    """Finds model and data, fills in the defaults, and checks that all fit together.

    Args:
        from_shapes: see `find`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    rows = choose_rows(choices.methods, choices.places, choices.masks, choices.basis_rank)
    _check_options(choices, [row.method for row in rows])
    found = find(choices, from_shapes)
    default = SETTINGS["density"].default_for(is_chat=False)
    density = choices.density if choices.density or choices.kept else default
    check_sizes(choices.model, found.shapes, choices.kept, choices.rank, choices.basis_rank, density)
    config = BenchConfig(
        **found.subject.model_dump(),
        rows=tuple(_at_its_place(row, found.subject.device, choices.basis_rank) for row in rows),
        freeze_rest=choices.freeze_rest or False,
        density=density,
        kept=choices.kept,
        rank=choices.rank or lora_rank(found.skeleton, is_chat=False),
        basis_rank=choices.basis_rank,
        calibration_steps=choices.calibration_steps,
        rounds=choices.rounds,
        steps=choices.steps,
        burn_in=BURN_IN[found.subject.device] if choices.burn_in is None else choices.burn_in,
    )
    return config, found


def plan_calibration(
    choices: SubjectChoices, steps: int, basis_rank: int | None = None, stack: bool = True
) -> tuple[CalibrationConfig, Found]:
    """The same for a comparison of calibrations by `steps` batches."""
    found = find(choices)
    config = CalibrationConfig(**found.subject.model_dump(), steps=steps, basis_rank=basis_rank, stack=stack)
    return config, found


def choose_rows(
    methods: Sequence[str], places: Sequence[str], masks: Sequence[str], basis_rank: int | None = None
) -> list[RowSpec]:
    """Returns a row for each method; of sparsegrad one for each place, and one for each mask chosen once.

    Args:
        methods: none: those of the paper's tables.
        places, masks: where either is given, only the rows that they name.
        basis_rank: of a truncated basis: the paper's own layer takes none, the adapter no other.

    Raises:
        InputError: a name that is not known, a place or mask without sparsegrad, or a place that does not go
            with the basis.
    """
    for option, given, known in (
        ("method", methods, method_names()),
        ("place", places, (*PLACES, *REFERENCE_FORMS)),
        ("mask", masks, CALIBRATED_MASKS),
    ):
        for name in given:
            if name not in known:
                raise InputError(f"--{option}: {unknown(option, name, known)}")
    not_for: tuple[str, ...] = ("adapter",) if basis_rank is None else REFERENCE_FORMS
    for place in places:
        if place in not_for:
            wants = "give --basis-rank" if basis_rank is None else "leave --basis-rank out"
            raise InputError(f"--place {place}: {wants}, or take another place")
    names = [name for name in methods_in_order() if name in (methods or OF_THE_PAPER)]
    if "sparsegrad" not in names and (places or masks):
        raise InputError("--place and --mask are of --method sparsegrad: add it, or leave them out")
    rows = []
    for name in names:
        method = get_method(name)
        if not issubclass(method, SparseMethod):
            rows.append(RowSpec(method=name))
            continue
        row = RowSpec(method=name, basis=method.basis, mask=method.mask)
        if name != "sparsegrad":
            rows.append(row)
            continue
        all_rows = not places and not masks
        wants_dynamic = all_rows or (not places and "dynamic" in masks)
        known = (*PLACES, *REFERENCE_FORMS)
        for place in [
            place for place in known if place not in not_for and (wants_dynamic or place in places)
        ]:
            for recompute in (False, True) if place == "backward" else (False,):
                rows.append(row.model_copy(update={"place": place, "recompute": recompute}))
        others = [mask for mask in CALIBRATED_MASKS if mask != "dynamic" and (all_rows or mask in masks)]
        rows += [row.model_copy(update={"mask": mask}) for mask in others]
    return rows


def _at_its_place(row: RowSpec, device: str, basis_rank: int | None) -> RowSpec:
    """Returns the row with the place that a run takes where none is given."""
    if row.mask is None or row.place is not None:
        return row
    place = default_place(
        cast(BasisKind, row.basis),
        cast(Mask, row.mask),
        is_truncated=basis_rank is not None,
        accumulates=False,
        half_weights=False,
        device=device,
    )
    return row.model_copy(update={"place": place})


def _check_options(choices: Choices, methods: Sequence[str]) -> None:
    names = ("density", "kept", "rank", "basis_rank")
    given = {name: getattr(choices, name) for name in names if getattr(choices, name) is not None}
    check_used(check_given(given, SETTINGS), methods)
