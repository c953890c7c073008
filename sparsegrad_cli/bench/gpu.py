"""`sparsegrad bench gpu`: all that a GPU is to answer, in one process and a few minutes.

The most important comes first, so that a time that runs out leaves the most:

    check     every row takes three steps as on the CPU; how often the host waits in one
    kernel    the operations that an update is made of
    table 3   rows on random tokens, by model, batch size and precision
    7 and 8   rows on GLUE's lengths, with and without padding
    basis     what a calibration takes

The first two are lines of `gpu.jsonl`; the others are benchmarks like any, for `sparsegrad report`. Each is
written as it comes. On a CPU the same is tried out on tiny models: its numbers mean nothing.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product as every
from pathlib import Path
from statistics import median

import torch
from torch import nn

from ..config import Given
from ..core import SparseAdamW, find_mlp_linears
from ..core.basis import add_update, product
from ..core.topk import top_k_rows
from ..errors import WorkError
from ..models.load import float32_products, on_device
from ..progress import Progress
from ..settings import Record
from ..workers import Pool, WorkerPool
from .calibration import plan_calibration, run_calibration
from .config import BenchConfig, RowSpec, write_bench
from .measure import Stopwatch, TrainingStep, build_method
from .run import calibrate_rows, describe_machine, find_peak, plan_bench, run_bench
from .target import BASIS, LENGTHS, Job, Tell, ask

FILE = "gpu.jsonl"
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
SMALL |= {"vocab_size": 200, "max_position_embeddings": 130, "pad_token_id": 1}
FAMILIES = ("roberta", "llama")
# differences of the change of W that rounding explains
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}
CHECKED_STEPS = 3
CHECKED = ("ft", "lora", "meprop", "sift", "random-mask", "random-basis", "sparsegrad")


@dataclass(frozen=True)
class Scale:
    """How much is measured on a device."""

    models: tuple[str, ...]  # empty: the small ones
    precisions: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    length: int
    layers: int  # matrices of a kind in `time_kernels`
    shape: tuple[int, int]  # O x I of each
    steps: tuple[int, int]  # burn-in and timed, in table 3
    calls: int  # of each operation


SCALES = {
    "cuda": Scale(
        models=("roberta-base", "roberta-large"),
        precisions=("fp32", "tf32", "bf16"),
        batch_sizes=(16, 32),
        length=128,
        layers=12,
        shape=(3072, 768),
        steps=(20, 30),
        calls=50,
    ),
    "cpu": Scale((), ("fp32", "bf16"), (2,), 16, layers=2, shape=(128, 64), steps=(1, 2), calls=2),
}
ROWS = {"methods": ["ft", "lora", "sparsegrad"], "places": ["optimizer", "backward"], "masks": ["block"]}


class CheckJob(Job):
    """Take a few steps of a row on the CPU and on the device."""

    target: BenchConfig
    row: RowSpec


class Checked(Record):
    """The answer to `CheckJob`."""

    difference: float  # of the MLP weights after the steps, over their change on the CPU
    waits: dict[str, int]  # line that made the host wait for the device -> times, in one step


class KernelsJob(Record):
    """Time what an update of all matrices of a kind is made of."""

    device: str
    layers: int
    shape: tuple[int, int]
    calls: int


class Kernels(Record):
    """The answer to `KernelsJob`."""

    seconds: dict[str, float]  # the median of each operation
    triton_differs: float | None = None  # the weights that our kernels end with from torch's, over these


def run_gpu(device: str, minutes: float, results: Path, tell: Tell) -> list[str]:
    """Measure part by part until the time is over, and write each result to `results` as it comes.

    Returns:
        The parts that failed.

    Raises:
        InputError: others use the device.
        WorkError: it cannot be measured at all.
    """
    scale, ends = SCALES[device], time.monotonic() + 60 * minutes
    (results / FILE).unlink(missing_ok=True)
    failed, longest = [], 0.0
    with WorkerPool(1, device, tries=1) as pool, tempfile.TemporaryDirectory() as scratch:
        find_peak(device, "fp32", pool, tell)
        parts = list(_parts(device, scale, results, Path(scratch), pool, tell))
        for number, (name, do) in enumerate(parts):
            began = time.monotonic()
            if ends - began < longest:
                left = ", ".join(name for name, _ in parts[number:])
                tell(f"the time is over: left out {left}")
                break
            try:
                do()
            except WorkError as error:
                failed.append(f"{name}: {error}")
                _note(results, name, error=str(error))
            took = time.monotonic() - began
            longest = max(longest, took)
            tell(f"{name}: {took:.0f} s, {max(0, ends - began - took):.0f} s left")
    return failed


def _parts(
    device: str, scale: Scale, results: Path, scratch: Path, pool: Pool, tell: Tell
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields names and work, the most important first."""
    small = {family: _small_model(scratch / family, family) for family in FAMILIES}
    fixed = {"init": "random", "device": device, "calibration_steps": 2}
    for family, precision in every(FAMILIES, scale.precisions):
        of_part = {**fixed, "model": small[family], "precision": precision, "lengths": "cola"}
        of_part |= {"batch_size": 4, "length": 32, "density": 0.05, "padding": ["none", "longest"]}
        yield f"check {family} {precision}", partial(_check, of_part, results, scratch, pool, tell)
    job = KernelsJob(device=device, layers=scale.layers, shape=scale.shape, calls=scale.calls)
    yield "kernels", partial(_kernels, time_kernels, job, results, pool, tell)
    yield "masked Adam", partial(_kernels, time_masked_adam, job, results, pool, tell)

    bench = partial(_bench, results=results, pool=pool, tell=tell)
    models = scale.models or tuple(small.values())
    burn_in, steps = scale.steps
    own = {**fixed, **ROWS, "length": scale.length, "rounds": 1, "burn_in": burn_in, "steps": steps}
    for size, model, precision in every(scale.batch_sizes, models, scale.precisions):
        of_part = {**own, "model": model, "batch_size": size, "precision": precision}
        yield f"table 3: {model}, {size}, {precision}", partial(bench, of_part, scratch / Path(model).name)
    own |= {"model": models[0], "batch_size": scale.batch_sizes[0], "places": ["optimizer"]}
    own |= {"burn_in": max(1, burn_in // 2), "padding": ["max", "none"]}
    for precision, task in every(dict.fromkeys((scale.precisions[0], scale.precisions[-1])), LENGTHS):
        of_part = {**own, "precision": precision, "lengths": task}
        yield f"tables 7 and 8: {task} {precision}", partial(bench, of_part, scratch / Path(models[0]).name)
    own = {"init": "random", "device": device, "batch_size": scale.batch_sizes[0], "length": scale.length}
    for model in models:
        yield (
            f"basis of {model}",
            partial(_basis, {**own, "model": model, "stack": False}, results, pool, tell),
        )


def _small_model(folder: Path, family: str) -> str:
    """Write a model of two blocks, by its shapes alone; returns its folder."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": family, **SMALL}))
    return str(folder)


def _note(results: Path, part: str, **found: object) -> None:
    """Add a line to the file of what is no benchmark."""
    results.mkdir(parents=True, exist_ok=True)
    with (results / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"part": part, **found}) + "\n")


def _check(given: Given, results: Path, scratch: Path, pool: Pool, tell: Tell) -> None:
    rotated = {"methods": ["sparsegrad"], "places": ["optimizer", "backward", "adapter"], "basis_rank": 32}
    for choice in ({"methods": CHECKED}, rotated):
        config, found = plan_bench({**given, **choice})
        shared = found.prepare(scratch, config.calibration_steps + CHECKED_STEPS)
        (scratch / BASIS).unlink(missing_ok=True)
        calibrate_rows(config, shared, pool, tell)
        for row in config.rows:
            answer = ask(check, CheckJob(**{**shared, "target": config, "row": row}), config.device, pool)
            about: dict[str, object] = {
                "model": Path(config.model).name,
                "row": row.name,
                "padding": row.padding,
                "precision": config.precision,
                "basis_rank": config.basis_rank,
            }
            what = " ".join(map(str, about.values()))
            _note(results, "check", **about, **answer.model_dump())
            if not isinstance(answer, Checked):
                tell(f"{what}: {answer.status}: {answer.error}")
            elif answer.difference > TOLERANCE[config.precision] or answer.waits:
                tell(f"{what}: differs by {answer.difference:.1e}, waits {answer.waits}")


def check(job: CheckJob, progress: Progress) -> Checked:
    """Take the same steps on both devices without dropout, and compare the MLP weights they end with."""
    config, ends = job.target, []
    on_cpu = job.model_copy(update={"target": config.model_copy(update={"device": "cpu"})})
    batches = on_cpu.batches(config.calibration_steps, CHECKED_STEPS, job.row.padding)
    start = [place.linear.weight.detach() for place in find_mlp_linears(on_cpu.model(job.row.padding).model)]
    waits: Mapping[str, int] = {}
    for device in ("cpu", config.device):
        loaded = on_cpu.model(job.row.padding)
        on_device(loaded.model, device).eval()
        method = build_method(config, job.row, job.scratch, loaded)
        step = TrainingStep(loaded.model, method.optimizer(1e-3), device, config.precision)
        with float32_products(config.precision):
            for number, batch in enumerate(batches, 1):
                moved = {name: tensor.to(device) for name, tensor in batch.items()}
                with host_waits(device if number == CHECKED_STEPS else "cpu") as waits:
                    step(moved)
        merged = find_mlp_linears(method.merge())
        ends.append(torch.cat([place.linear.weight.detach().cpu().flatten() for place in merged]))
    change = ends[0] - torch.cat([weight.flatten() for weight in start])
    difference = (ends[1] - ends[0]).norm() / change.norm()
    return Checked(difference=difference.item(), waits=dict(waits))


@contextmanager
def host_waits(device: str) -> Iterator[Counter[str]]:
    """Counts, by the line that calls it, what makes the host wait for CUDA inside."""
    found: Counter[str] = Counter()
    if device != "cuda":
        yield found
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    lines = (
        f"{Path(w.filename).name}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message)
    )
    found.update(lines)


def _kernels(
    measure: Callable[[KernelsJob, Progress], Kernels],
    job: KernelsJob,
    results: Path,
    pool: Pool,
    tell: Tell,
) -> None:
    answer = ask(measure, job, job.device, pool)
    _note(results, "kernels", **answer.model_dump())
    if isinstance(answer, Kernels):
        for name, seconds in answer.seconds.items():
            tell(f"{name}: {1e3 * seconds:.4g} ms")
        if answer.triton_differs is not None:
            tell(f"triton's masked Adam differs from torch's by {answer.triton_differs:.1e}")
    else:
        tell(f"kernels: {answer.status}: {answer.error}")


def time_kernels(job: KernelsJob, progress: Progress) -> Kernels:
    """Time the operations of an update of `layers` matrices in a whole basis, at 1% of their entries."""
    (O, I), layers = job.shape, job.layers
    k, device = O * I // 100, job.device
    U, V = torch.randn(I, I, device=device), torch.randn(O, O, device=device)
    S = torch.randn(layers, O * I, device=device)
    weights = list(torch.zeros(layers, O, I, device=device))
    entries = top_k_rows(S, k)
    values = S.gather(1, entries)
    operations: dict[str, Callable[[], object]] = {
        "top-k of one matrix": lambda: top_k_rows(S[:1], k),
        f"top-k of {layers} matrices": lambda: top_k_rows(S, k),
        "top-k of one in bf16": lambda: top_k_rows(S[:1].bfloat16(), k),
        "sort of k entries": lambda: entries[0].sort(),
        "eigenvectors of U's side, float64": lambda: torch.linalg.eigh((U.T @ U).double()),
    }
    for precision in ("ieee", "tf32", "bf16"):
        gradients = S.view(layers, O, I)
        into = partial(product, V.T, gradients, U, precision=precision)
        update = partial(add_update, weights, values, entries, U, V, precision)
        operations |= {
            f"gradients to the basis, {precision}": into,
            f"update of weights, {precision}": update,
        }
    return Kernels(seconds={name: _seconds(job, call) for name, call in operations.items()})


def time_masked_adam(job: KernelsJob, progress: Progress) -> Kernels:
    """Time a step of `layers` matrices in the original space, by torch and, on CUDA, by our kernels."""
    (O, I), layers, device = job.shape, job.layers, job.device
    gradients = torch.randn(layers, O, I, device=device)
    seconds: dict[str, float] = {}
    ends: list[torch.Tensor] = []
    for triton in (False, True) if device == "cuda" and find_spec("triton") else (False,):
        weights = [nn.Parameter(torch.zeros(O, I, device=device)) for _ in range(layers)]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        group = {"params": weights, "k": O * I // 100, "batch": layers, "triton": triton}
        name = f"masked Adam by {'triton' if triton else 'torch'}"
        seconds[name] = _seconds(job, SparseAdamW([group], lr=1e-3).step)
        ends.append(torch.stack([weight.detach() for weight in weights]))
    differs = ((ends[1] - ends[0]).norm() / ends[0].norm()).item() if ends[1:] else None
    return Kernels(seconds=seconds, triton_differs=differs)


def _seconds(job: KernelsJob, call: Callable[[], object]) -> float:
    """Returns the median of some calls, after two that do not count."""
    watch = Stopwatch(job.device)
    watch.tick()
    for _ in range(2 + job.calls):
        call()
        watch.tick()
    return median(watch.seconds()[2:])


def _bench(given: Given, scratch: Path, results: Path, pool: Pool, tell: Tell) -> None:
    scratch.mkdir(parents=True, exist_ok=True)  # one basis does for all benchmarks of a model
    config, found = plan_bench(given)
    result = run_bench(config, found, results, profile=False, tell=tell, pool=pool, scratch=scratch)
    write_bench(results, config, result, describe_machine(config))


def _basis(given: Given, results: Path, pool: Pool, tell: Tell) -> None:
    config, found = plan_calibration(given)
    result = run_calibration(config, found, tell, pool)
    write_bench(results, config, result, describe_machine(config))
