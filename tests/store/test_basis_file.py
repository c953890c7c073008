"""A basis is read as it was written; anything else is refused by its name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sparsegrad_cli.core import Basis, calibrate, mean_squares
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.store.basis_file import FORMAT, load_basis, save_basis, to_tensors

from ..core.models import batches, identity_basis, loss_of, tiny_model


def truncated() -> Basis:
    basis = calibrate(tiny_model(), batches(6), 4, 2, loss_of=loss_of, basis_rank=3)
    return replace(basis, made_from={"model": "tiny"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_basis(identity_basis(tiny_model()), tmp_path / "basis.safetensors")
    return tmp_path / "basis.safetensors"


@pytest.mark.parametrize(
    "written",
    [
        identity_basis(tiny_model()),
        truncated(),
        mean_squares(tiny_model(), batches(2), 2, loss_of=loss_of),
    ],
    ids=["whole", "truncated", "squares"],
)
def test_a_basis_is_read_as_it_was_written(path, written):
    save_basis(written, path)
    read = load_basis(path)
    assert read.kinds.keys() == written.kinds.keys()
    assert written.made_from.items() <= read.made_from.items()
    torch.testing.assert_close(to_tensors(read), to_tensors(written), rtol=0, atol=0)
    read.check_fits(tiny_model())


def test_a_missing_file_is_named_with_the_way_to_make_it(path):
    with pytest.raises(InputError, match=r"nowhere.*sparsegrad calibrate"):
        load_basis(path.with_name("nowhere"))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _save_tensors_alone(path: Path) -> None:
    save_file({"U": torch.zeros(2)}, path)


def _pickle(path: Path) -> None:
    torch.save({"U": torch.zeros(2)}, path)


def _replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_truncate, _save_tensors_alone, _pickle, _replace_by_a_folder])
def test_another_file_is_refused(path, spoil):
    spoil(path)
    with pytest.raises(InputError, match=r"basis\.safetensors.* not a basis"):
        load_basis(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("output.dense/U"), "output.dense lacks U"),
        (lambda t: t.update({"output.dense/U": torch.zeros(3, 4)}), "U of output.dense has 4 columns of 3"),
        (
            lambda t: t.update({"output.dense/U_energy": torch.zeros(4)}),
            "U of output.dense .* and 4 energies",
        ),
        (
            lambda t: t.update({"output.dense/energy": torch.zeros(8, 20)}),
            "the energy of output.dense is not 3 x 3",
        ),
        (lambda t: t.clear(), "it holds no tensors"),
    ],
)
def test_a_basis_whose_parts_disagree_is_refused(path, spoil, message):
    tensors = {name: tensor.contiguous() for name, tensor in to_tensors(truncated()).items()}
    spoil(tensors)
    save_file(tensors, path, {"format": FORMAT})
    with pytest.raises(InputError, match=rf"not a basis \({message}"):
        load_basis(path)
