"""Models and data from the hub: a hub of ours answers, in processes that know no other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import load_classifier

from .checkpoints import tiny_checkpoint
from .hub_server import Hub, ask, glue_repository, hub
from .tasks.oasst import chain, flat, write

ROOT = Path(__file__).resolve().parents[1]
COLA = {
    split: [{"sentence": f"{split} {i}", "label": i % 2, "idx": i} for i in range(rows)]
    for split, rows in {"train": 8, "validation": 4, "test": 3}.items()
}
STSB = {
    split: [{"sentence1": "A dog.", "sentence2": "A cat.", "label": score, "idx": i} for i, score in scores]
    for split, scores in {"train": [(0, 1.25), (1, 5.0)], "validation": [(0, 2.5)]}.items()
}
MNLI = {
    split: [{"premise": split, "hypothesis": "Yes.", "label": 2, "idx": 7}]
    for split in ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
}

FIND = """
from sparsegrad_cli.models.checkpoint import fetch_weights, find_checkpoint

def find(name="org/tiny"):
    checkpoint = find_checkpoint(name)
    fetch_weights(checkpoint)
    return checkpoint.identity
"""
READ = """
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import load_data

def read(task="cola"):
    data = load_data(get_task(task), "hub")
    return {split: rows.to_list() for split, rows in data.splits.items()}, data.origin.rpartition("@")[2]
"""
LOAD = """
import hashlib, torch
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import load_classifier

def load():
    torch.manual_seed(3)
    model = load_classifier(find_checkpoint("org/tiny"), 2, False).model
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()
"""


READ_CHAT = """
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.oasst import load_chat

def read_chat():
    data = load_chat(get_task("oasst1"), "hub", ["all"])
    messages = {split: list(rows["messages"]) for split, rows in data.splits.items()}
    return data.origin, data.completeness, messages
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[str, Path]]:
    """Models and data sets: id -> folder."""
    root = tmp_path_factory.mktemp("repositories")
    tiny, pickled = (tiny_checkpoint(root / name, "bert") for name in ("tiny", "pickled"))
    (tiny / "pytorch_model.bin").write_bytes(b"a pickle")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    glue = glue_repository(root / "glue", {"cola": COLA, "stsb": STSB, "mnli": MNLI})
    return {"org/tiny": tiny, "org/pickled": pickled}, {"nyu-mll/glue": glue}


@pytest.fixture
def server(folders: tuple[dict[str, Path], dict[str, Path]], tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "cache", *folders) as running:
        yield running


def commit(server: Hub, kind: str, id: str) -> str:
    return server.repositories[kind, id].commit


def test_a_model_is_the_one_that_the_hub_has(
    server: Hub, folders: tuple[dict[str, Path], dict[str, Path]]
) -> None:
    (told,) = ask(server, LOAD + "tell(load)")
    torch.manual_seed(3)
    model = load_classifier(find_checkpoint(str(folders[0]["org/tiny"])), 2, False).model
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    assert told["answer"] == digest.hexdigest()
    wanted = {request.rpartition("/")[2] for request in server.requests if "/resolve/" in request}
    assert wanted == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def filled(
    folders: tuple[dict[str, Path], dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hub, list[dict[str, Any]]]]:
    """A hub from which the model and three tasks were read once, and what was read."""
    script = "tell(find)\nfor task in ('cola', 'stsb', 'mnli'): tell(lambda: read(task))"
    with hub(tmp_path_factory.mktemp("filled"), *folders) as running:
        yield running, ask(running, FIND + READ + script)


def test_rows_are_the_ones_that_the_hub_has(filled: tuple[Hub, list[dict[str, Any]]]) -> None:
    server, (_, cola, stsb, mnli) = filled
    glue = commit(server, "datasets", "nyu-mll/glue")
    assert cola["answer"] == [{"train": COLA["train"], "validation": COLA["validation"]}, glue]
    assert stsb["answer"] == [STSB, glue]
    dev = ("train", "validation_matched", "validation_mismatched")
    assert mnli["answer"] == [{split: MNLI[split] for split in dev}, glue]
    assert not [request for request in server.requests if "/test" in request]


def test_what_was_read_once_is_read_again_without_the_hub(filled: tuple[Hub, list[dict[str, Any]]]) -> None:
    server, (model, cola, *_) = filled
    script = "for mode in '503', 'gone':\n    switch(mode); tell(find); tell(read)"
    assert ask(server, FIND + READ + script) == [model, cola, model, cola]
    assert model["answer"] == f"hub:org/tiny@{commit(server, 'models', 'org/tiny')}"


def test_offline_the_cache_is_read_and_nothing_is_made_up(filled: tuple[Hub, list[dict[str, Any]]]) -> None:
    server, (model, cola, *_) = filled
    server.mode = "normal"
    server.requests.clear()
    script = "tell(find); tell(read); tell(lambda: find('org/pickled')); tell(lambda: read('rte'))"
    *read, pickled, rte = ask(server, FIND + READ + script, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    assert read == [model, cola]
    assert not server.requests
    assert "offline mode is on (HF_HUB_OFFLINE), and the cache" in pickled["error"]
    assert "of split rte/train of nyu-mll/glue" in rte["error"]
    assert "take a directory with the files of rte or --data demo" in rte["error"]


def test_what_other_programs_cached_is_read_without_the_hub(server: Hub) -> None:
    fill = """
import datasets, huggingface_hub
datasets.disable_progress_bars()
huggingface_hub.utils.disable_progress_bars()
datasets.load_dataset("nyu-mll/glue", "cola")
for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
    huggingface_hub.hf_hub_download("org/tiny", file)
"""
    assert ask(server, fill, HF_HUB_VERBOSITY="error") == []
    server.mode = "gone"
    model, data = ask(server, FIND + READ + "tell(find); tell(read)", HF_HUB_OFFLINE="1")
    assert model["answer"] == f"hub:org/tiny@{commit(server, 'models', 'org/tiny')}"
    assert data["answer"][0]["train"] == COLA["train"]


REASONS = {
    "gone": "cannot be reached: ConnectError",  # first: later there would be open connections
    "503": "answers 503 Service Unavailable",
    "404": "shows no",
    "gated": "gated; accept its terms at",
    "portal": "is not the hub: check HF_ENDPOINT",
    "silent": "cannot be reached: ReadTimeout",
}


def check_refusals(model: dict[str, str], data: dict[str, str], reason: str) -> None:
    """What is asked for, why it cannot be had and what would do, in one line each."""
    assert model["error"].startswith("--model org/tiny (no such directory): ")
    assert "take a local directory or --model demo" in model["error"]
    assert data["error"].startswith("--data hub: ")
    assert "take a directory with the files of cola or --data demo" in data["error"]
    for line in (model["error"], data["error"]):
        assert reason in line
        assert "\n" not in line


def test_without_hub_or_cache_one_line_says_why_and_what_to_do(server: Hub) -> None:
    script = f"""
from sparsegrad_cli.models import hub
for mode in {list(REASONS)}:
    switch(mode)
    hub.TIMEOUT = 0.3 if mode == "silent" else 10
    tell(find)
    tell(read)
"""
    told = ask(server, FIND + READ + script)
    for model, data, reason in zip(told[::2], told[1::2], REASONS.values(), strict=True):
        check_refusals(model, data, reason)
    assert len(server.requests) <= 2 * 2 * len(REASONS)  # nothing is asked for again and again


def test_the_hub_may_come_back_and_nothing_is_loaded_by_pickle(server: Hub) -> None:
    script = "switch('gone'); tell(find); switch('normal'); tell(find); tell(lambda: find('org/pickled'))"
    before, after, pickled = ask(server, FIND + script)
    assert "error" in before
    assert "answer" in after
    assert "no model.safetensors, and nothing is loaded by pickle" in pickled["error"]
    assert not [request for request in server.requests if request.endswith("pytorch_model.bin")]


def test_conversations_are_the_ones_that_the_hub_has(tmp_path: Path) -> None:
    chats = {split: chain(split, f"{split}, answered") for split in ("train", "validation")}
    for split, hashed in (("train", "b42a775f407cee45"), ("validation", "134b8fd0c89408b6")):
        write(tmp_path / "oasst1" / "data" / f"{split}-00000-of-00001-{hashed}.parquet", flat(chats[split]))
    (tmp_path / "oasst1" / "README.md").write_text("Conversations\n")
    with hub(tmp_path / "cache", datasets={"OpenAssistant/oasst1": tmp_path / "oasst1"}) as server:
        script = "switch('gone'); tell(read_chat); switch('normal'); tell(read_chat)"
        nothing, told = ask(server, READ_CHAT + script)
    origin, completeness, messages = told["answer"]
    assert origin == f"hub: OpenAssistant/oasst1@{commit(server, 'datasets', 'OpenAssistant/oasst1')} (all)"
    assert completeness == "complete"
    assert messages["validation"] == [
        [
            {"role": "user", "content": "text of validation"},
            {"role": "assistant", "content": "text of validation, answered"},
        ]
    ]
    assert "README.md" not in " ".join(server.requests)
    assert nothing["error"].startswith("--data hub: the hub ")
    assert "or take a directory with the files of oasst1 or --data demo" in nothing["error"]


PUSH = """
from pathlib import Path
from sparsegrad_cli.training.push import push_folder

def push(folder, name="me/mine"):
    return push_folder(Path(folder), name, "org/tiny")
"""


def test_a_folder_is_pushed_with_its_card_and_only_by_who_may(server: Hub, tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "mine", "bert")
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# Mine\n")
    work = f"{PUSH}\ntell(lambda: push({str(folder)!r}))"
    (refused,) = ask(server, work, HF_HUB_OFFLINE="0")
    assert "log in with `hf auth login`" in refused["error"]
    (pushed,) = ask(server, work, HF_TOKEN="hf_mine", HF_HUB_OFFLINE="0")
    assert "/me/mine/commit/" in pushed["answer"]
    uploaded = server.cache / "uploads" / "me" / "mine"
    assert (uploaded / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert "# Mine" in (uploaded / "README.md").read_text()
    (named,) = ask(
        server,
        f"{PUSH}\ntell(lambda: push({str(folder)!r}, 'a b/c'))",
        HF_TOKEN="hf_mine",
        HF_HUB_OFFLINE="0",
    )
    assert "a b/c" in named["error"]
