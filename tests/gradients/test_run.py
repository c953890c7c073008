"""A recording: what it holds, that it is made once, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sparsegrad_cli.errors import InputError, UnreadableResultWarning, WorkError
from sparsegrad_cli.gradients.record import run_gradients
from sparsegrad_cli.gradients.schema import GRADIENTS, Gradients, read_arrays, read_gradients
from sparsegrad_cli.store.folder import RUNS, find_results
from sparsegrad_cli.store.io import write_text

from ..planned import RecordingWatch
from .recordings import plan_small, record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Gradients:
    """A recording, to be read; who changes it takes a copy of its folder."""
    return record(tmp_path_factory.mktemp("recorded"))


def test_first_last_and_every_so_many_steps_are_recorded(tmp_path):
    shown = record(tmp_path, steps=5, every=2)
    assert sorted(shown.result.losses) == [1, 2, 4, 5]
    seen = {(place.step, place.block, place.kind) for place in shown.result.places}
    kinds = ("intermediate.dense", "output.dense")
    assert seen == {(step, b, kind) for step in (1, 2, 4, 5) for b in (0, 2, 3) for kind in kinds}
    arrays = read_arrays(shown.folder)
    assert {name.split("/")[0] for name in arrays} == {"1", "5"}
    assert arrays["5/2/output.dense/original"].shape == (32, 64)


def test_padding_and_what_the_classifier_does_not_read_have_no_gradient(tmp_path):
    shown = record(tmp_path, padding="longest")
    first = {(place.block, place.kind): place for place in shown.result.places if place.step == 1}
    padded = first[0, "output.dense"]
    assert padded.padding > 0
    assert padded.live_rows[0] == padded.rows - padded.padding
    assert first[3, "output.dense"].live_rows[0] == 8  # the first token of each example
    arrays = read_arrays(shown.folder)
    tokens, norms = arrays["1/tokens"], arrays["1/0/output.dense/rows"]
    assert np.array_equal(norms > 0, tokens == 1)

    real = record(tmp_path, padding="none")
    place = next(p for p in real.result.places if (p.step, p.block, p.kind) == (1, 0, "output.dense"))
    assert (place.padding, place.rows, place.live_rows) == (0, padded.live_rows[0], padded.live_rows)
    norms = read_arrays(real.folder)["1/0/output.dense/rows"]
    assert np.array_equal(norms > 0, tokens == 1)


def test_every_method_starts_from_the_same_gradients(tmp_path):
    methods = ("ft", "sparsegrad", "meprop", "lora", "sift")
    recorded = [record(tmp_path, method=method) for method in methods]
    first = [[place for place in shown.result.places if place.step == 1] for shown in recorded]
    for other in first[1:]:
        for one, same in zip(first[0], other, strict=True):
            assert (one.block, one.kind) == (same.block, same.kind)
            assert one.energy_rotated == pytest.approx(same.energy_rotated, rel=1e-3)
    assert len({shown.result.losses[4] for shown in recorded}) == 5


def test_a_finished_recording_is_not_made_again_and_another_seed_is_another(tmp_path):
    before = record(tmp_path)
    watch = RecordingWatch()
    assert record(tmp_path, watch=watch) == before
    assert watch.phases == []
    record(tmp_path, watch=watch, seed=1)
    assert watch.phases == ["calibrate", "train"]
    assert len(read_gradients([tmp_path / "results", before.folder])) == 2


def test_a_recording_is_no_run_even_where_runs_lie(recorded, tmp_path):
    folder = Path(shutil.copytree(recorded.folder, tmp_path / "gradients" / recorded.folder.name))
    assert GRADIENTS.owns(folder)
    assert not find_results(RUNS, [folder.parent])
    (folder / "result.json").unlink()
    assert not find_results(RUNS, [folder.parent])
    assert read_gradients([tmp_path]) == ()


def test_damaged_files_are_named(recorded, tmp_path):
    folder = Path(shutil.copytree(recorded.folder, tmp_path / recorded.folder.name))
    (folder / "arrays.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match=r"arrays\.safetensors.*record again"):
        read_arrays(folder)
    write_text(folder / "result.json", "{}")
    with pytest.warns(UnreadableResultWarning, match=r"result\.json.*record again"):
        assert read_gradients([folder]) == ()


def test_a_loss_that_is_not_finite_leaves_no_folder(tmp_path):
    config, found = plan_small(tmp_path, method="ft", learning_rate=1e30, steps=6)
    with pytest.raises(WorkError, match="smaller learning rate"):
        run_gradients(config, found, tmp_path / "results", RecordingWatch())
    assert not (tmp_path / "results" / "gradients").exists()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"every": 0}, "every must be at least 1"),
        ({"method": "ft", "density": 0.1}, "--density is not used"),
        ({"kept": 10**6}, "--kept 1000000"),
        ({"method": "sparsgrad"}, "did you mean sparsegrad"),
        ({"length": 1000}, "positions for 130"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path, how, words):
    with pytest.raises(InputError, match=words):
        plan_small(tmp_path, **how)
