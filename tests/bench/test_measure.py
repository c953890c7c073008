"""A worker's jobs, done in this process: times, memory, the basis by both ways."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from sparsegrad_cli.bench import calibration as basis_module
from sparsegrad_cli.bench.calibration import check_stack_fits, compare, find_basis, svd_basis
from sparsegrad_cli.bench.jobs import CalibrateJob, Setup
from sparsegrad_cli.bench.measure import measure, storage_bytes
from sparsegrad_cli.bench.plan import choose_rows, plan_calibration
from sparsegrad_cli.bench.schema import RowSpec
from sparsegrad_cli.bench.step import TrainingStep, build_model, load_batches
from sparsegrad_cli.core import calibrate
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import MethodConfig
from sparsegrad_cli.store.basis_file import load_basis
from sparsegrad_cli.training.memory import CPUPeak, live_bytes

from ..checkpoints import tiny_checkpoint
from .workers import make_setup, measure_job, small

ROWS = choose_rows((), (), ())


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("setup")
    model = tiny_checkpoint(folder / "model", "bert", layers=3)
    return make_setup(str(model), folder, batch_size=4, length=16, layers=2)


@pytest.fixture(scope="module")
def basis(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("basis") / "basis.safetensors"
    find_basis(CalibrateJob(setup=setup, by="sums", steps=3, probe_steps=1, basis=str(path)))
    return path


@pytest.mark.parametrize("freeze_rest", [False, True])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_measured_in_both_regimes(setup, basis, row, freeze_rest):
    needed = basis if row.method == "sparsegrad" else None
    found = measure(measure_job(setup, row, needed, freeze_rest=freeze_rest))
    assert len(found.seconds) == 2
    assert found.tokens == (64, 64)
    memory = found.memory
    assert memory.peak >= memory.weights + memory.basis + memory.optimizer
    assert memory.activations > 0
    assert (memory.basis > 0) == (row.method == "sparsegrad")
    assert found.work.operations > 0
    assert found.parameters.trainable >= found.parameters.adapted + found.parameters.head


def test_memory_is_split_as_torch_holds_it(setup):
    memory = measure(measure_job(setup, RowSpec(method="ft"))).memory
    loaded = build_model(setup)
    method = get_method("ft")(loaded.model, loaded.head, MethodConfig())
    step = TrainingStep(loaded.model, method.optimizer(1e-3), "cpu", "fp32")
    batches = load_batches(setup.batches, 0, 3, "cpu")
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


def test_in_backward_no_gradient_of_the_matrices_is_held(setup, basis):
    rows = {row.place: row for row in ROWS if row.place in ("backward", "optimizer")}
    backward, optimizer = (
        measure(measure_job(setup, rows[place], basis)).memory for place in ("backward", "optimizer")
    )
    assert optimizer.gradients - backward.gradients == 4 * 2 * 2 * 32 * 64


def test_a_profile_is_a_trace_and_five_operations(setup, tmp_path):
    path = tmp_path / "somewhere" / "trace.json.gz"
    found = measure(measure_job(setup, RowSpec(method="ft"), trace=str(path)))
    assert json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    shares = [operation.share for operation in found.operations]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 5
    assert 0 < sum(shares) <= 1


def test_random_weights_are_the_same_in_every_worker(setup, tmp_path):
    folder = tiny_checkpoint(tmp_path / "model", "roberta")
    setup = make_setup(str(folder), tmp_path, init="random", layers=1)
    one, other = (build_model(setup).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_sums_and_svd_find_the_same_leading_directions(setup, tmp_path):
    found = {}
    for by in ("sums", "svd"):
        path = tmp_path / f"{by}.safetensors"
        answer = find_basis(CalibrateJob(setup=setup, by=by, steps=4, probe_steps=0, basis=str(path)))
        assert answer.seconds > 0
        found[by] = load_basis(path)
    agreement = compare(found["sums"], found["svd"])
    assert {(a.kind, a.side) for a in agreement} == {
        (kind, side) for kind in ("intermediate.dense", "output.dense") for side in "UV"
    }
    assert all(a.cosine > 0.999 for a in agreement)


def test_agreement_ignores_signs_and_sees_other_directions(setup):
    model = build_model(setup).model.eval()
    batches = load_batches(setup.batches, 0, 8, "cpu")
    basis = calibrate(model, batches[:4], 4, 0).basis
    svd, _ = svd_basis(model, batches[:4])
    assert max(a.degrees for a in compare(basis, svd)) < 1
    other, _ = svd_basis(model, batches[4:5])
    assert max(a.degrees for a in compare(basis, other)) > 5


def test_a_stack_that_does_not_fit_is_refused(setup):
    config, found = plan_calibration(small(setup.subject.model), steps=100)
    needed = basis_module.stack_bytes([(64, 32), (32, 64)], 300)
    assert needed == 5 * 4 * 32 * 64 * 300
    check_stack_fits(config, found, needed)
    with pytest.raises(InputError, match="lower --calibration-steps or --layers"):
        check_stack_fits(config, found, needed - 1)
