"""Calibrations by running sums and by the SVD of the stack."""

from __future__ import annotations

from typing import Any

import pytest

from sparsegrad_cli.bench.calibration import (
    CalibrateJob,
    check_stack_fits,
    compare,
    find_basis,
    plan_calibration,
    stack_bytes,
    svd_basis,
)
from sparsegrad_cli.bench.config import BenchConfig, RowSpec
from sparsegrad_cli.core import calibrate
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.progress import NoProgress
from sparsegrad_cli.store.basis_file import load_basis

from ..checkpoints import tiny_checkpoint
from .targets import measure_job, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchConfig, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("scratch")
    model = tiny_checkpoint(folder / "model", "bert", layers=3)
    return prepare(folder, str(model), batch_size=4, length=16, layers=2)


def test_sums_and_svd_find_the_same_leading_directions(prepared, tmp_path):
    found = {}
    for by in ("sums", "svd"):
        path = tmp_path / f"{by}.safetensors"
        job = CalibrateJob(**prepared[1], by=by, steps=4, probe_steps=0, basis=str(path), padding="longest")
        assert find_basis(job, NoProgress()).seconds > 0
        found[by] = load_basis(path)
    agreement = compare(found["sums"], found["svd"])
    assert {(a.kind, a.side) for a in agreement} == {
        (kind, side) for kind in ("intermediate.dense", "output.dense") for side in "UV"
    }
    assert all(a.cosine > 0.999 for a in agreement)


def test_agreement_ignores_signs_and_sees_other_directions(prepared):
    job = measure_job(prepared, RowSpec(method="ft"))
    model, batches = job.model("longest").model.eval(), job.batches(0, 8, "longest")
    basis = calibrate(model, batches[:4], 4, 0)
    svd, _ = svd_basis(model, batches[:4])
    assert max(a.degrees for a in compare(basis, svd)) < 1
    other, _ = svd_basis(model, batches[4:5])
    assert max(a.degrees for a in compare(basis, other)) > 5


def test_a_stack_that_does_not_fit_is_refused(prepared):
    given = {"model": prepared[0].model, "batch_size": 2, "length": 8, "calibration_steps": 100}
    config, found = plan_calibration(given)
    needed = stack_bytes([(64, 32), (32, 64)], 300)
    assert needed == 5 * 4 * 32 * 64 * 300
    check_stack_fits(config, found, needed)
    with pytest.raises(InputError, match="lower --calibration-steps or --layers"):
        check_stack_fits(config, found, needed - 1)
