"""From what a user gave to the configuration of each run, with everything checked before anything is trained.

`resolve` checks the settings, finds model and data, and fills in what was left open. A `RunConfig` is
complete: `find_sources(given_of(config))` finds its model and data again, in any process.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from transformers import PreTrainedModel

from ..config import SETTINGS, BasisKind, ChatFormat, ExecutionOptions, Given, RunConfig, filled_from
from ..core import Basis, BasisMismatchError, UnsupportedModelError, find_mlp_linears
from ..errors import InputError
from ..methods import get_method
from ..methods.base import MethodConfig
from ..methods.sparse import SparseMethod, default_place
from ..models.chat_template import chat_format_of, load_chat_tokenizer
from ..models.checkpoint import Checkpoint, find_checkpoint
from ..paper import paper_hyperparameters, same_model
from ..progress import Progress
from ..store.basis_file import load_basis
from ..tasks import get_task
from ..tasks.load import TaskData, load_data, load_test
from ..tasks.oasst import load_chat
from ..tasks.task import ChatTask
from .checks import (
    check_fits,
    check_length,
    check_settings,
    check_task_settings,
    choose_device,
    choose_padding,
)
from .inputs import Inputs, read_inputs
from .objectives import Objective, objective_of
from .params import ParamsFile
from .trainer import PlannedRun

PAPER_KEPT = {"llama-2-7b": 100_000}  # entries of each MLP matrix, in table 6
LORA_RANK_LARGE, LARGE_HIDDEN_SIZE = 10, 1024
CHAT_MICRO_BATCH = 2  # examples, in the paper's code


@dataclass(frozen=True)
class Sources:
    """What runs start from, whatever their method and hyperparameters."""

    checkpoint: Checkpoint
    data: TaskData
    model: PreTrainedModel  # on the meta device: modules and shapes, no numbers
    basis: Basis | None  # a user's own
    chat_format: ChatFormat | None  # chat tasks
    source: str  # where the data are: "hub", "demo" or a directory

    @property
    def is_chat(self) -> bool:
        return isinstance(self.data.task, ChatTask)

    @property
    def objective(self) -> Objective:
        return objective_of(self.data.task)

    def inputs(self, config: RunConfig) -> Inputs:
        """Returns a run's encoded splits."""
        tokenizer = self.objective.tokenizer(config, self.checkpoint)
        return read_inputs(config, self.checkpoint, tokenizer, self.data)

    @cached_property
    def test(self) -> TaskData:
        """The splits without labels, read when they are first asked for.

        Raises:
            InputError: the data have none.
        """
        return load_test(self.data, self.source)

    def plan(
        self,
        config: RunConfig,
        results: Path,
        progress: Progress,
        options: ExecutionOptions = ExecutionOptions(),  # noqa: B008 (frozen)
    ) -> PlannedRun:
        """Returns a run that can be done, with its inputs read and encoded."""
        return PlannedRun(
            config,
            self.inputs(config),
            results,
            progress,
            basis=self.basis if "basis" in get_method(config.method).settings else None,
            options=options,
            test=self.test if options.predict_test else None,
        )


def resolve(
    given: Given,
    methods: Sequence[str],
    seeds: Sequence[int] = (0,),
    sources: Sources | None = None,
    params: ParamsFile | None = None,
    shapes_only: bool = False,
) -> tuple[list[RunConfig], Sources]:
    """Returns the configuration of each method's run of each seed, and what they start from.

    Args:
        given: settings by name, model, task and data among them; a setting that is not given has its default.
        sources: found before for the same model, task, data and basis.
        params: a file with values for settings that were left open, such as the best of a sweep.
        shapes_only: see `find_sources`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    given = check_settings(given, methods)
    if params is not None and params.plain is not None:
        check_settings(filled_from(given, params.plain), methods)
    sources = sources or find_sources(given, shapes_only)
    check_task_settings(given, sources.data.task)
    configs = []
    for method in dict.fromkeys(methods):
        own, origin = of_method(given, method), None
        if params is not None:
            values, origin = params.values_for(given.get("model", "demo"), sources.data.task.name, method)
            own = check_settings(filled_from(own, of_method(values, method)), [method])
        its_configs = [_configure(own, method, seed, sources, origin) for seed in dict.fromkeys(seeds)]
        check_fits(its_configs[0], own, sources.model, sources.data, sources.basis)
        configs += its_configs
    return configs, sources


def find_sources(given: Given, shapes_only: bool = False) -> Sources:
    """Finds the model, the data and a user's basis.

    Args:
        shapes_only: a model's directory without weights will do, since nothing of it is to be trained.

    Raises:
        InputError: one is not there, or is not what it should be.
    """
    name, data_from = given.get("model", "demo"), given.get("data", "hub")
    task = get_task(given["task"])
    check_task_settings(given, task)
    choose_device(given.get("device", "auto"), given.get("precision"))
    checkpoint = find_checkpoint(name, needs_weights=not shapes_only)
    model = objective_of(task).skeleton(checkpoint)
    length = given.get("length", SETTINGS["length"].default_for(isinstance(task, ChatTask)))
    check_length(model, name, length)
    chat_format = None
    if isinstance(task, ChatTask):
        chat_format = chat_format_of(load_chat_tokenizer(checkpoint, given.get("chat_format")))
        data = load_chat(task, data_from, given.get("languages", SETTINGS["languages"].off))
    else:
        data = load_data(task, data_from)
    file = given.get("basis") if given.get("basis") not in get_args(BasisKind) else None
    try:
        find_mlp_linears(model)
        basis = None if file is None else load_basis(Path(file))
        if basis is not None:
            basis.check_fits(model)
    except (UnsupportedModelError, BasisMismatchError) as error:
        option = f"--basis {file}" if isinstance(error, BasisMismatchError) else "--model"
        raise InputError(f"{option}: {error}") from None
    return Sources(checkpoint, data, model, basis, chat_format, data_from)


def given_of(config: RunConfig) -> dict[str, Any]:
    """Returns the settings by which `find_sources` finds again what a resolved run starts from."""
    names = ["model", "data", "length", "chat_format", "basis"]
    if config.loss_on is not None:  # a chat task
        names.append("languages")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    return {**given, "task": config.task_file or config.task}


def check_unchanged(config: RunConfig, sources: Sources) -> None:
    """Refuses sources that are not those that a run was resolved with.

    Raises:
        InputError: says which.
    """
    now = {
        "model": (config.model_revision, sources.checkpoint.revision),
        "data": (config.data_revision, sources.data.sha256),
        "basis": (config.basis_revision, _basis_revision(config.basis)),
        "method": (config.method_revision, get_method(config.method).revision),
    }
    for what, (was, found) in now.items():
        if was != found:
            raise InputError(
                f"{config.model} {config.task}: the {what} is not the one that the run was planned with "
                f"({was}, now {found})"
            )


def choose_hyperparameters(
    model: str, task: str | None, learning_rate: float | None, batch_size: int | None, is_chat: bool = False
) -> tuple[float, int, str]:
    """Returns learning rate, batch size and where they are from, in words.

    What the user gave goes first, then the paper's for this model and task (tables 13-15), then the default.

    Args:
        model: as typed; `roberta-base` is found in `FacebookAI/roberta-base` too, `bert-base` in
            `google-bert/bert-base-uncased`.
    """
    listed = paper_hyperparameters(model, task)
    if listed is None:
        rate, size = (SETTINGS[name].default_for(is_chat) for name in ("learning_rate", "batch_size"))
        listed = (rate, size, "default")
    source = listed[2]
    if learning_rate is not None and batch_size is not None:
        source = "options"
    elif learning_rate is not None:
        source = f"learning rate: option, batch size: {source}"
    elif batch_size is not None:
        source = f"learning rate: {source}, batch size: option"
    return (
        listed[0] if learning_rate is None else learning_rate,
        listed[1] if batch_size is None else batch_size,
        source,
    )


def lora_rank(model: PreTrainedModel, is_chat: bool) -> int:
    """Returns LoRA's default rank for a model: 7, 10 from hidden size 1024 on, 32 for chat."""
    if not is_chat and getattr(model.config, "hidden_size", 0) >= LARGE_HIDDEN_SIZE:
        return LORA_RANK_LARGE
    return SETTINGS["rank"].default_for(is_chat)


def of_method(given: Given, method: str) -> dict[str, Any]:
    """Returns the settings without those that only other methods use."""
    used = get_method(method).settings
    return {n: value for n, value in given.items() if not SETTINGS[n].of_method or n in used}


def _configure(given: Given, method: str, seed: int, sources: Sources, origin: str | None) -> RunConfig:
    """Fills in what was left open; what neither method nor task uses stays off."""
    used, is_chat, task = get_method(method).settings, sources.is_chat, sources.data.task
    values: dict[str, Any] = {
        name: given.get(name, setting.default_for(is_chat))
        for name, setting in SETTINGS.items()
        if (name in used or not setting.of_method) and (is_chat or not setting.chat_only)
    }
    model, asked = values["model"], given.get("device", "auto")
    device = choose_device(asked, given.get("precision"))
    precision = given.get("precision") or ("bf16-weights" if is_chat and device == "cuda" else "fp32")
    rate, size, source = choose_hyperparameters(
        model, task.name, given.get("learning_rate"), given.get("batch_size"), is_chat
    )
    micro = CHAT_MICRO_BATCH if is_chat else size
    task_file = given["task"] if given["task"] != task.name else None
    values |= {
        "task": task.name,
        "task_file": task_file,
        "model_revision": sources.checkpoint.revision,
        "data_revision": sources.data.sha256,
        "method": method,
        "method_revision": get_method(method).revision,
        "seed": seed,
        "device": device,
        "precision": precision,
        "learning_rate": rate,
        "batch_size": size,
        "hyperparameters_from": origin or source,
        "accumulation_steps": given.get("accumulation_steps", size // math.gcd(size, micro)),
    }
    if is_chat:
        values |= {"chat_format": sources.chat_format, "padding": "longest"}  # which pads no full sequence
    else:
        values["padding"] = choose_padding(sources.model, model, given.get("padding"))
    if "kept" in used:
        families = PAPER_KEPT if is_chat and "density" not in given else {}
        listed = next((kept for family, kept in families.items() if same_model(model, family)), None)
        values["kept"] = given.get("kept", listed)
        values["density"] = None if values["kept"] else values["density"]
    values |= get_method(method).fixed
    if "rank" in used:
        values["rank"] = given.get("rank") or lora_rank(sources.model, is_chat)
    if values.get("basis") == "calibrated":
        values["basis"] = None
    if values.get("basis") is not None:
        values["basis_revision"] = _basis_revision(values["basis"])
    method_class = get_method(method)
    if issubclass(method_class, SparseMethod):
        values |= _place_and_steps(values, method_class, sources)
    return RunConfig(**values)


def _place_and_steps(values: Given, method: type[SparseMethod], sources: Sources) -> dict[str, Any]:
    """Returns where a step is taken, and the batches of the calibration where there is one."""
    given_basis, mask = values.get("basis"), values.get("mask") or method.mask
    is_file = given_basis not in (None, *get_args(BasisKind))
    basis = "calibrated" if is_file else given_basis or method.basis
    is_truncated = values.get("basis_rank") is not None
    if is_file and sources.basis is not None:
        is_truncated = sources.basis.is_truncated
    place = values.get("place") or default_place(
        basis,
        mask,
        is_truncated=is_truncated,
        accumulates=values["accumulation_steps"] > 1,
        half_weights=values["precision"] == "bf16-weights",
        device=values["device"],
    )
    calibrates = not is_file and method.calibration(MethodConfig(basis=basis, mask=mask)) is not None
    steps = values.get("calibration_steps") if calibrates else None
    return {"place": place, "calibration_steps": steps}


def _basis_revision(basis: str | None) -> str | None:
    """Returns what tells a basis from others: its kind, or the SHA-256 of its file."""
    return basis if basis in (None, *get_args(BasisKind)) else _sha256(basis)


def _sha256(path: str | None) -> str | None:
    if path is None:
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
