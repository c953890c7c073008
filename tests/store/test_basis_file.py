"""A basis is read as it was written; anything else is refused by its name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.store.basis_file import load_basis, save_basis

from ..core.models import identity_basis, tiny_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_basis(identity_basis(tiny_model()), tmp_path / "basis.safetensors")
    return tmp_path / "basis.safetensors"


def test_a_basis_is_read_as_it_was_written(path):
    written, read = identity_basis(tiny_model()), load_basis(path)
    assert read.kinds.keys() == written.kinds.keys()
    torch.testing.assert_close(read.tensors(), written.tensors(), rtol=0, atol=0)


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
