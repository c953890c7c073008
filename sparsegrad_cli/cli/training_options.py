"""The options of a training that `finetune` and `sweep` share.

A new one is a field here, and one of `Choices` that it fills. Those that other commands have
too are spelled out in `options`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..store.names import FORMS, SCHEDULES, SUPPORTS
from . import options as opt
from .groups import OptionGroup

Schedule = StrEnum("Schedule", {name: name for name in SCHEDULES})
Support = StrEnum("Support", {name: name for name in SUPPORTS})
Form = StrEnum("Form", {name: name for name in FORMS})


@dataclass(frozen=True)
class StepOptions(OptionGroup):
    """Of an optimizer step."""

    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Default: the paper's for model and task, else 5e-5 (oasst1: 9e-4).",
            rich_help_panel=opt.RECIPE,
        ),
    ] = None
    sparse_learning_rate: Annotated[
        float | None,
        typer.Option(
            help="meprop, sparsegrad: of the chosen entries alone. Default: --learning-rate.",
            rich_help_panel=opt.METHOD,
        ),
    ] = None
    batch_size: opt.BatchSize = None
    accumulation_steps: opt.AccumulationSteps = None


@dataclass(frozen=True)
class TrainingOptions(OptionGroup):
    """Of the rest of a training: its length, its precision, conversations, the method."""

    epochs: Annotated[
        float | None,
        typer.Option(
            help="Passes over the training split, at most. Default: 20 (oasst1: 1).",
            rich_help_panel=opt.RECIPE,
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Optimizer steps, in place of --epochs.", rich_help_panel=opt.RECIPE),
    ] = None
    max_train_examples: opt.MaxTrainExamples = None
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop after so many evaluations without improvement; 0: never. Default: 5 (oasst1: 0).",
            rich_help_panel=opt.RECIPE,
        ),
    ] = None
    eval_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps between evaluations. Default: one epoch (oasst1: 75).",
            rich_help_panel=opt.RECIPE,
        ),
    ] = None
    length: opt.Length = None
    pad_to_max: opt.PadToMax = False
    precision: opt.PrecisionOption = None
    schedule: Annotated[
        Schedule | None,
        typer.Option(
            help="Of the learning rate. Default: constant (oasst1: cosine).", rich_help_panel=opt.RECIPE
        ),
    ] = None
    warmup_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps in which the learning rate rises, at most a third of all. Default: 0 (oasst1: 50).",
            rich_help_panel=opt.RECIPE,
        ),
    ] = None
    gradient_checkpointing: opt.GradientCheckpointing = False
    freeze_rest: opt.FreezeRest = None

    languages: opt.Languages = field(default_factory=lambda: ["en"])
    loss_on: opt.LossOnOption = None
    chat_format: opt.ChatFormatOption = None

    blocks: opt.Blocks = None
    density: opt.Density = None
    kept: opt.Kept = None
    rank: opt.Rank = None
    support: Annotated[
        Support | None,
        typer.Option(
            help="sparsegrad: entries chosen at each step (dynamic, default) or once, by the calibration.",
            rich_help_panel=opt.METHOD,
        ),
    ] = None
    form: Annotated[
        Form | None,
        typer.Option(
            help="sparsegrad: one of several that train the same; by default the one that suits.",
            rich_help_panel=opt.METHOD,
        ),
    ] = None
    calibration_steps: opt.CalibrationSteps = None
    basis: Annotated[
        Path | None,
        typer.Option(help="sparsegrad: a file of sparsegrad calibrate.", rich_help_panel=opt.METHOD),
    ] = None
    basis_rank: opt.BasisRank = None
