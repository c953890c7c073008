"""A finished run as other tools take it: an adapter of PEFT, or a plain model, each with a card.

An adapter is read off two sets of weights, the base model's and the run's: whatever the method was, the
update of a matrix is their difference. A truncated or block update has the basis' rank, so that LoRA holds
it exactly, as `B = V_r S` and `A = U_r^T`; any other is approximated by the nearest of a rank (Eckart-Young).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from peft import LoraConfig, PeftModel, ShiraConfig, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, set_seed

from ..config import RunConfig, Target
from ..errors import InputError
from ..methods.base import chosen_blocks, target_linears
from ..models.checkpoint import find_checkpoint, published_name
from ..models.load import LoadedModel
from ..store.folder import RunFolder
from ..store.records import Result
from ..tasks import get_task
from ..tasks.task import ChatTask
from .objectives import objective_of
from .predict_test import MODEL

To = Literal["lora", "plain", "shira"]
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that its --max-lora-rank may be
EPSILON = torch.finfo(torch.float32).eps
ADAPTER = "default"
ADAPTER_FOLDER = "adapter"  # in a run's folder


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    to: To
    folder: Path
    rank: int | None  # of an adapter
    error: float  # the largest `|update - adapter| / |update|` of a matrix, in Frobenius' norm
    whole: tuple[str, ...]  # modules that the adapter holds as a whole, since the run trained them too
    bytes: int

    def lines(self) -> list[str]:
        """Returns what a user wants to know of it, a line each."""
        size = f"{self.bytes / 1e6:.2f} MB" if self.bytes >= 1e6 else f"{self.bytes / 1e3:.0f} kB"
        if self.to == "plain":
            return [f"{self.folder}: a plain model of {size}"]
        found = [f"{self.folder}: {self.to}, rank {self.rank}, {size}, relative error {self.error:.1e}"]
        if self.whole:
            found.append(f"with it {len(self.whole)} modules that the run trained as a whole")
        return [*found, self.vllm()]

    def vllm(self) -> str:
        """Returns whether vLLM can serve it, in words."""
        if self.to != "lora":
            return "vLLM serves no adapter of this kind: export it --to lora or plain"
        if self.whole:
            return "vLLM takes no adapter with whole modules: export it --to plain"
        least = next((rank for rank in VLLM_RANKS if rank >= (self.rank or 0)), None)
        if least is None:
            return f"vLLM takes no rank above {VLLM_RANKS[-1]}: give --rank"
        return f"vLLM serves it with --enable-lora --max-lora-rank {least}"


def export_run(run: RunFolder, to: To, folder: Path, rank: int | None = None, command: str = "") -> Exported:
    """Write a finished run as an adapter of PEFT or a plain model, with a card.

    Args:
        folder: it must not exist, or be empty.
        rank: of the adapter; None: the update's own.
        command: that made the run, for the card.

    Raises:
        InputError: the run is not finished, its model was not kept, or the update does not fit the form.
    """
    result = run.result()
    if result is None or result.status != "done":
        raise InputError(f"{run.path}: the run is not finished, there is nothing to export")
    if not (run.path / MODEL).is_dir():
        raise InputError(f"{run.path}: the run kept no model: run it with --save model")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: give another folder, or delete it")
    base, trained = load_base(run.config), load_again(run.config, run.path / MODEL)
    exported = write_adapter(base, trained, run.config, to, folder, rank, result.steps or 1)
    if to == "plain":
        shutil.copytree(run.path / MODEL, folder, dirs_exist_ok=True)
    make_card(run.config, result, exported, command).save(folder / "README.md")
    return exported


def save_smallest(
    plain: PreTrainedModel, loaded: LoadedModel, config: RunConfig, folder: Path, steps: int
) -> None:
    """Keep a trained model as an exact adapter in `folder / "adapter"`; where none is smaller, as a model.

    Args:
        loaded: how the model is saved.
    """
    forms: tuple[To, ...] = ("lora", "shira")
    for to in forms:
        try:
            write_adapter(load_base(config), plain, config, to, folder / ADAPTER_FOLDER, steps=steps)
        except InputError:
            continue  # the update is of full rank, or not sparse
        return
    loaded.save(plain, folder / MODEL)


def load_base(config: RunConfig) -> LoadedModel:
    """Returns the model that a run began with, its new head too.

    Raises:
        InputError: it is not there, or no longer what it was.
    """
    checkpoint = find_checkpoint(config.model)
    if checkpoint.revision != config.model_revision:
        raise InputError(
            f"--model {config.model} is now {checkpoint.revision}, and the run began with "
            f"{config.model_revision}"
        )
    set_seed(config.seed)
    return objective_of(get_task(config.task_file or config.task)).load(config, checkpoint)


def load_again(config: RunConfig, folder: Path) -> PreTrainedModel:
    """Returns the trained model that a run kept."""
    objective = objective_of(get_task(config.task_file or config.task))
    return objective.load(config, find_checkpoint(str(folder))).model


def write_adapter(
    base: LoadedModel,
    trained: PreTrainedModel,
    config: RunConfig,
    to: To,
    folder: Path,
    rank: int | None = None,
    steps: int = 1,
) -> Exported:
    """Write what differs between two models as an adapter of PEFT; "plain" writes nothing.

    Args:
        base: it is changed.
        steps: that the update is the sum of: each may have rounded it.

    Raises:
        InputError: an adapter of this kind would be as large as the matrices themselves.
    """
    if to == "plain":
        size = sum(p.numel() * p.element_size() for p in trained.parameters())
        return Exported(to, folder, None, 0.0, (), size)
    found = difference(base, trained, config)
    model = base.model
    general: dict[str, Any] = {
        "target_modules": list(found.updates),
        "modules_to_save": list(found.whole) or None,
        "task_type": "CAUSAL_LM" if isinstance(get_task(config.task_file or config.task), ChatTask) else None,
    }
    error = 0.0
    adapter: PeftModel
    if to == "lora":
        after = dict(trained.named_parameters())
        noise = {name: noise_of(after[f"{name}.weight"], steps) for name in found.updates}
        factors = factorize(found.updates, noise, rank, config.basis_rank)
        size, error = factors.rank, factors.error
        bias: Literal["none", "lora_only"] = "lora_only" if found.biases else "none"
        adapter = get_peft_model(model, LoraConfig(r=size, lora_alpha=size, bias=bias, **general))
        for name in found.updates:
            layer: Any = model.get_submodule(name)
            layer.lora_A[ADAPTER].weight.data.copy_(factors.A[name])
            layer.lora_B[ADAPTER].weight.data.copy_(factors.B[name])
    else:
        size = shira_rank(found, rank)
        adapter = get_peft_model(model, ShiraConfig(r=size, random_seed=0, **general))
        for name, update in found.updates.items():
            layer = model.get_submodule(name)
            indices = _entries(update, size * sum(update.shape))
            layer.shira_indices[ADAPTER] = indices.int()
            layer.shira_weight[ADAPTER].data.copy_(update[indices[0], indices[1]])
    for name in found.biases:
        linear: Any = model.get_submodule(name)
        linear.get_base_layer().bias.data.copy_(trained.get_parameter(f"{name}.bias"))
    for name in found.whole:
        saved: Any = model.get_submodule(name)
        saved.modules_to_save[ADAPTER].load_state_dict(trained.get_submodule(name).state_dict())
    # PEFT names the folder that the base was loaded from, which is of this machine
    adapter.peft_config[ADAPTER].base_model_name_or_path = published_name(config.model)
    adapter.save_pretrained(str(folder), save_embedding_layers=False)
    on_disk = sum(file.stat().st_size for file in folder.iterdir() if file.suffix == ".safetensors")
    return Exported(to, folder, size, error, found.whole, on_disk)


@dataclass(frozen=True)
class Difference:
    """What a run changed in a model."""

    updates: Mapping[str, Tensor]  # float64, of each matrix that the method adapts, by its linear's name
    biases: tuple[str, ...]  # of which of these linears
    whole: tuple[str, ...]  # all other modules with a parameter that changed; a new head always


def difference(base: LoadedModel, trained: PreTrainedModel, config: RunConfig) -> Difference:
    """Returns what differs between two models; both are float32 from here on.

    Raises:
        InputError: no linear of a block does.
    """
    before, after = (dict(model.float().named_parameters()) for model in (base.model, trained))
    linears: dict[str, nn.Linear] = {}
    targets: tuple[Target, ...] = (config.target, "all")  # a file of PEFT has targets of its own
    for target in targets:
        chosen = target_linears(base.model, target, chosen_blocks(base.model, config.blocks))
        linears = {n: l for n, l in chosen.items() if not torch.equal(after[f"{n}.weight"], l.weight)}
        if linears:
            break
    if not linears:
        raise InputError("this run changed no matrix of a block, so no adapter holds it: take --to plain")
    weights = {f"{name}.weight" for name in linears}
    updates = {
        name: after[f"{name}.weight"].detach().double() - linear.weight.detach().double()
        for name, linear in linears.items()
    }
    rest = [n for n, p in after.items() if n not in weights and not torch.equal(p, before[n])]
    own = [n.removesuffix(".bias") for n in rest if n.endswith(".bias")]
    biases = [name for name in own if name in linears]
    whole = {_module_of(n, base) for n in {*rest, *base.head} if n.removesuffix(".bias") not in biases}
    return Difference(updates, tuple(biases), tuple(sorted(whole)))


def shira_rank(found: Difference, rank: int | None) -> int:
    """Returns the rank at which SHiRA has room for every entry that changed.

    Raises:
        InputError: no SHiRA holds the update, or the one of the given rank does not.
    """
    if found.biases:
        raise InputError("--to shira holds no biases, and this run trained some: take lora or plain")
    shares = [update.count_nonzero().item() / sum(update.shape) for update in found.updates.values()]
    needed = max(1, math.ceil(max(shares)))
    if rank is not None and rank < needed:
        raise InputError(f"--rank {rank}: this update has as many entries as SHiRA has at rank {needed}")
    size = rank or needed
    if any(size * sum(update.shape) > update.numel() for update in found.updates.values()):
        raise InputError("--to shira: this run changed most entries of its matrices: take lora or plain")
    return size


@dataclass(frozen=True)
class Factors:
    """`B A` for each update in float32, all of one rank: B is `O x rank`, A `rank x I`."""

    A: Mapping[str, Tensor]
    B: Mapping[str, Tensor]
    rank: int
    error: float  # the largest relative one


def noise_of(weight: Tensor, steps: int) -> float:
    """Returns the spectral norm that rounding alone gives an `O x I` update, the sum of so many steps."""
    O, I = weight.shape
    return EPSILON * weight.double().square().mean().sqrt().item() * (O**0.5 + I**0.5) * steps**0.5


def factorize(
    updates: Mapping[str, Tensor], noise: Mapping[str, float], rank: int | None, basis_rank: int | None = None
) -> Factors:
    """Returns the best factors of each update.

    Args:
        noise: singular values below it are rounding errors.
        rank: None: the largest number of singular values above the noise, at most `basis_rank`.

    Raises:
        InputError: no rank is given, and the update's own is too large for an adapter.
    """
    directions = {name: _directions(update) for name, update in updates.items()}
    if rank is None:
        rank = max(int((noise[name] < S).sum()) for name, (S, _) in directions.items())
        rank = max(1, min(rank, basis_rank or rank))
        if all(rank * sum(update.shape) >= update.numel() for update in updates.values()):
            raise InputError(
                f"this update has rank {rank}, an adapter of it would be as large as the matrices: give "
                "--rank for the nearest one, or take --to plain"
            )
    A, B, errors = {}, {}, []
    for name, update in updates.items():
        leading = directions[name][1][:, :rank]
        (O, I), size = update.shape, leading.shape[1]
        a, b = (leading.T, update @ leading) if O >= I else (leading.T @ update, leading)
        A[name], B[name] = torch.zeros(rank, I), torch.zeros(O, rank)
        A[name][:size], B[name][:, :size] = a, b
        rest = update - B[name].double() @ A[name].double()
        errors.append((rest.norm() / update.norm().clamp_min(1e-300)).item())
    return Factors(A, B, rank, max(errors))


def _directions(update: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the singular values of a float64 update, falling, and its singular vectors on the smaller side.

    They are those of the small Gram matrix: a singular value is exact to 1e-8 of the largest, which is less
    than float32 weights hold.
    """
    O, I = update.shape
    gram = update.T @ update if O >= I else update @ update.T
    squares, vectors = torch.linalg.eigh(gram)
    return squares.flip(0).clamp_min(0).sqrt(), vectors.flip(1)


def _module_of(parameter: str, base: LoadedModel) -> str:
    """Returns the module that an adapter saves for a parameter: a head's outermost, else its own."""
    is_outside = not parameter.startswith(f"{base.model.base_model_prefix}.")
    if parameter in base.head and is_outside:
        return parameter.partition(".")[0]
    return parameter.rpartition(".")[0]


def _entries(update: Tensor, count: int) -> Tensor:
    """Returns the places, `2 x count`, of all entries that are not zero and of as many others as it takes."""
    first = update.flatten().abs().topk(count).indices.sort().values
    return torch.stack([first // update.shape[1], first % update.shape[1]])


def make_card(config: RunConfig, result: Result, exported: Exported, command: str = "") -> ModelCard:
    """Returns a model card: what it is, what it was trained on, and its score with seed and protocol."""
    base = published_name(config.model)
    metrics = [
        EvalResult(
            task_type="text-generation" if config.loss_on else "text-classification",
            dataset_type=config.task,
            dataset_name=config.task,
            dataset_config=config.protocol,
            metric_type=name,
            metric_value=value,
        )
        for name, value in result.metrics.items()
        if isinstance(value, int | float)
    ]
    data = ModelCardData(
        base_model=base,
        library_name="transformers" if exported.to == "plain" else "peft",
        tags=["sparsegrad", config.method],
        model_name=f"{config.method} on {config.task}",
        eval_results=metrics or None,
    )
    score = f"{result.score_name} {result.score:.4f}" if result.score is not None else "no score"
    lines = [
        f"# {base} on {config.task} by {config.method}",
        "",
        f"Run `{result.id}`: {score}, protocol {config.protocol}, seed {config.seed}, "
        f"learning rate {config.learning_rate:g}, batch size {config.batch_size}, {result.steps} steps.",
        f"Data: {config.data_revision}. Base: {config.model_revision}.",
    ]
    if exported.to != "plain":
        lines.append(
            f"An adapter of PEFT ({exported.to}, rank {exported.rank}). Relative error of the update: "
            f"{exported.error:.1e}. {exported.vllm()}."
        )
    if command:
        lines += ["", f"    {command}"]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n")
