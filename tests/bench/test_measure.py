"""The jobs of a worker, done in this process: times, memory, FLOPs."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import torch

from sparsegrad_cli.bench.calibration import CalibrateJob, find_basis
from sparsegrad_cli.bench.config import BenchConfig, RowSpec
from sparsegrad_cli.bench.measure import Measured, TrainingStep, count_flops, measure, needs_basis
from sparsegrad_cli.bench.run import choose_rows
from sparsegrad_cli.bench.target import BASIS
from sparsegrad_cli.core import find_mlp_linears
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import MethodConfig
from sparsegrad_cli.progress import NoProgress
from sparsegrad_cli.training.memory import CPUPeak, live_bytes, storage_bytes

from ..checkpoints import tiny_checkpoint
from .targets import measure_job, prepare

Prepared = tuple[BenchConfig, dict[str, Any]]
ROWS = choose_rows()
FT = RowSpec(method="ft")
PADDINGS = ("none", "longest", "max")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A model of two blocks with batches of 4 x 16 tokens and a basis."""
    folder = tmp_path_factory.mktemp("scratch")
    model = tiny_checkpoint(folder / "model", "bert", layers=3)
    config, shared = prepare(folder, str(model), batch_size=4, length=16, layers=2)
    job = CalibrateJob(
        **shared, by="sums", steps=2, probe_steps=1, basis=str(folder / BASIS), padding="longest"
    )
    find_basis(job, NoProgress())
    return config, shared


def measured(prepared: Prepared, row: RowSpec, **how: Any) -> Measured:
    return measure(measure_job(prepared, row, **how), NoProgress())


@pytest.fixture(scope="module")
def costs(prepared: Prepared) -> dict[str, Measured]:
    """What each row costs while the rest of the model is trained too."""
    return {row.name: measured(prepared, row) for row in ROWS}


def check(found: Measured, has_basis: bool) -> None:
    assert len(found.seconds) == 2
    assert found.tokens == (64, 64)
    memory = found.memory
    assert memory.peak >= memory.weights + memory.basis + memory.optimizer
    assert memory.activations > 0
    assert (memory.basis > 0) == has_basis
    assert found.flops > 0
    assert found.parameters.trainable >= found.parameters.adapted + found.parameters.head


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_measured(costs, row):
    check(costs[row.name], needs_basis(row))


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.place != "optimizer"][::2], ids=lambda row: row.name
)
def test_rows_are_measured_beside_a_frozen_rest(prepared, row, costs):
    config = prepared[0].model_copy(update={"freeze_rest": True})
    found = measured(prepared, row, target=config)
    check(found, needs_basis(row))
    assert found.parameters.trainable < costs[row.name].parameters.trainable


def test_only_the_first_round_measures_costs(prepared):
    found = measured(prepared, FT, number=1)
    assert len(found.seconds) == 2
    assert (found.memory, found.flops, found.operations) == (None, None, ())


def test_memory_is_split_as_torch_holds_it(prepared, costs):
    memory = costs["ft"].memory
    job = measure_job(prepared, FT)
    loaded = job.model("longest")
    method = get_method("ft")(loaded.model, loaded.head, MethodConfig())
    step = TrainingStep(loaded.model, method.optimizer(1e-3), "cpu", "fp32")
    batches = job.batches(0, 3, "longest")
    for batch in batches[:2]:
        step(batch)
    parameters = storage_bytes(loaded.model.parameters())
    assert memory.weights == storage_bytes([*loaded.model.parameters(), *loaded.model.buffers()])
    assert memory.gradients == parameters
    assert 2 * parameters <= memory.optimizer < 2.01 * parameters
    meter = CPUPeak()
    meter.start(live_bytes(step.model, step.optimizer, batches[2].values()))
    step(batches[2])
    assert memory.peak == pytest.approx(meter.stop(), rel=0.02)


@pytest.mark.parametrize("place", ["optimizer", "backward"])
def test_no_gradient_of_the_matrices_is_held_where_a_batch_is_whole(costs, place):
    held = costs[f"sparsegrad {place}"].memory.gradients
    assert costs["ft"].memory.gradients - held == 4 * 2 * 2 * 32 * 64


def test_flops_of_full_fine_tuning_are_those_of_its_linears_and_attention(costs):
    T, n, H, M, blocks = 64, 16, 32, 64, 2
    linears = blocks * (4 * H * H + 2 * H * M)
    pooled = 4 * (H * H + 2 * H)  # of 4 sequences
    attention = blocks * 2 * (2 * T * n * H)
    forward = 2 * T * linears + 2 * pooled + attention
    assert costs["ft"].flops == pytest.approx(3 * forward, rel=0.02)


def test_a_basis_takes_flops_and_recomputing_more_and_lora_saves_some(costs):
    flops = {name: found.flops for name, found in costs.items()}
    assert flops["lora"] < flops["ft"] < flops["sparsegrad optimizer"]
    assert flops["meprop"] < flops["sparsegrad backward"] < flops["sparsegrad backward recompute"]
    assert flops["ft"] < flops["sparsegrad regular"]


def test_flops_count_attention_without_dropout(prepared, costs):
    job = measure_job(prepared, FT)
    loaded = job.model("longest")
    loaded.model.eval()  # then a CPU takes its fused kernel
    method = get_method("ft")(loaded.model, loaded.head, MethodConfig())
    step = TrainingStep(loaded.model, method.optimizer(1e-3), "cpu", "fp32")
    assert count_flops(step, job.batches(0, 1, "longest")[0]) >= 0.9 * costs["ft"].flops


def test_a_profile_is_a_trace_and_five_operations(prepared, tmp_path):
    path = tmp_path / "somewhere" / "trace.json.gz"
    found = measured(prepared, FT, trace=str(path))
    assert json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    shares = [operation.share for operation in found.operations]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 5
    assert 0 < sum(shares) <= 1


def test_a_step_is_measured_on_real_tokens_alone(tmp_path):
    """Lengths differ, so that padding would be computed on."""
    model = tiny_checkpoint(tmp_path / "model", "bert")
    shared = prepare(tmp_path, str(model), batch_size=8, length=64, lengths="cola")
    found = {padding: measured(shared, RowSpec(method="ft", padding=padding)) for padding in PADDINGS}
    assert len({each.tokens for each in found.values()}) == 1
    assert found["none"].flops < found["longest"].flops < found["max"].flops
    peaks = [found[padding].memory.activations for padding in PADDINGS]
    assert peaks == sorted(peaks)


def test_in_bf16_a_cpu_computes_under_autocast(prepared, costs):
    job = measure_job(prepared, FT)
    loaded = job.model("max")
    method = get_method("ft")(loaded.model, loaded.head, MethodConfig())
    seen = []
    first = find_mlp_linears(loaded.model)[0].linear
    first.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = TrainingStep(loaded.model, method.optimizer(1e-3), "cpu", "bf16")
    step(job.batches(0, 1, "max")[0])
    assert seen == [torch.bfloat16]
    assert first.weight.dtype == torch.float32
    config = prepared[0].model_copy(update={"precision": "bf16"})
    assert measured(prepared, FT, target=config).memory.activations < costs["ft"].memory.activations


def test_random_weights_are_the_same_in_every_worker(tmp_path):
    folder = tiny_checkpoint(tmp_path / "model", "roberta")
    job = measure_job(prepare(tmp_path, str(folder), init="random", layers=1), FT)
    one, other = (job.model("max").model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
