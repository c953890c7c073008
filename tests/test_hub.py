"""Models and data from the hub: a hub of ours answers, in processes that know no other."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import load_classifier

from .checkpoints import tiny_checkpoint
from .hub_server import Hub, glue_repository, hub
from .tasks.chat.oasst import chain, flat, write

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

PRELUDE = """
import json, time
from sparsegrad_cli.errors import InputError

def tell(work):
    start = time.monotonic()
    try:
        answer = {"answer": work()}
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer | {"seconds": time.monotonic() - start}))
"""
FIND = """
from sparsegrad_cli.models.checkpoint import fetch_weights, find_checkpoint

def find(name="org/tiny"):
    checkpoint = find_checkpoint(name)
    fetch_weights(checkpoint)
    return checkpoint.identity
"""
READ = """
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.hub import read_hub

def read(task="cola"):
    splits, commit = read_hub(get_task(task))
    return {split: rows.to_list() for split, rows in splits.items()}, commit
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


def ask(server: Hub, script: str, **environment: str) -> list[dict[str, Any]]:
    """Run a script in a process that uses `server`; what it tells."""
    found = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        cwd=ROOT,
        env=os.environ | server.environment | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr.strip()
    return [json.loads(line) for line in found.stdout.splitlines()]


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


def test_rows_are_the_ones_that_the_hub_has(server: Hub) -> None:
    cola, stsb, mnli = ask(server, READ + "\nfor task in ('cola', 'stsb', 'mnli'): tell(lambda: read(task))")
    glue = commit(server, "datasets", "nyu-mll/glue")
    assert cola["answer"] == [{"train": COLA["train"], "validation": COLA["validation"]}, glue]
    assert stsb["answer"] == [STSB, glue]
    dev = ("train", "validation_matched", "validation_mismatched")
    assert mnli["answer"] == [{split: MNLI[split] for split in dev}, glue]
    assert not [request for request in server.requests if "/test" in request]


@pytest.fixture(scope="module")
def filled(
    folders: tuple[dict[str, Path], dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A hub from which the model and CoLA were read once."""
    with hub(tmp_path_factory.mktemp("filled"), *folders) as running:
        assert len(ask(running, FIND + READ + "tell(find); tell(read)")) == 2
        yield running


@pytest.mark.parametrize("mode", ["503", "gone", "offline"])
def test_what_was_read_once_is_read_again_without_the_hub(filled: Hub, mode: str) -> None:
    filled.mode = "normal" if mode == "offline" else mode
    filled.requests.clear()
    environment = {"HF_HUB_OFFLINE": "1"} if mode == "offline" else {}
    model, data = ask(filled, FIND + READ + "tell(find); tell(read)", **environment)
    assert model["answer"] == f"hub:org/tiny@{commit(filled, 'models', 'org/tiny')}"
    assert data["answer"][0] == {"train": COLA["train"], "validation": COLA["validation"]}
    assert data["answer"][1] == commit(filled, "datasets", "nyu-mll/glue")
    assert mode == "503" or not filled.requests


def test_a_task_that_is_not_in_the_cache_is_not_made_up(filled: Hub) -> None:
    (told,) = ask(filled, READ + "tell(lambda: read('stsb'))", HF_DATASETS_OFFLINE="1")
    assert "of split train of nyu-mll/glue stsb" in told["error"]
    assert "take a directory of GLUE files or --data demo" in told["error"]


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


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("503", "answers 503 Service Unavailable"),
        ("404", "shows no"),
        ("gated", "gated; accept its terms at"),
        ("portal", "is not the hub: check HF_ENDPOINT"),
        ("silent", "cannot be reached: ReadTimeout"),
        ("gone", "cannot be reached: ConnectError"),
        ("offline", "offline mode is on (HF_HUB_OFFLINE)"),
    ],
)
def test_without_hub_or_cache_one_line_says_why_and_what_to_do(server: Hub, mode: str, reason: str) -> None:
    impatient = "from sparsegrad_cli.models import hub; hub.TIMEOUT = 0.3\n"
    if mode != "offline":
        server.mode = mode
    environment = {"HF_HUB_OFFLINE": "1"} if mode == "offline" else {}
    told = ask(server, impatient + FIND + READ + "tell(find); tell(read)", **environment)
    for answer, asked, instead in zip(
        told,
        ("--model org/tiny (no such directory): ", "--data hub: "),
        ("take a local directory or --model demo", "take a directory of GLUE files or --data demo"),
        strict=True,
    ):
        line = answer["error"]
        assert line.startswith(asked)
        assert reason in line
        assert instead in line
        assert "\n" not in line
        assert answer["seconds"] < 8  # the libraries' own retries take 23 seconds and more


def test_a_model_that_has_only_a_pickle_is_refused(server: Hub) -> None:
    (told,) = ask(server, FIND + "tell(lambda: find('org/pickled'))")
    assert "no model.safetensors, and nothing is loaded by pickle" in told["error"]
    assert not [request for request in server.requests if request.endswith("pytorch_model.bin")]


def test_the_hub_may_come_back(server: Hub) -> None:
    server.mode = "gone"
    assert "error" in ask(server, FIND + "tell(find)")[0]
    server.mode = "normal"
    assert "answer" in ask(server, FIND + "tell(find)")[0]


def test_conversations_are_the_ones_that_the_hub_has(tmp_path: Path) -> None:
    chats = {split: chain(split, f"{split}, answered") for split in ("train", "validation")}
    for split, hashed in (("train", "b42a775f407cee45"), ("validation", "134b8fd0c89408b6")):
        write(tmp_path / "oasst1" / "data" / f"{split}-00000-of-00001-{hashed}.parquet", flat(chats[split]))
    (tmp_path / "oasst1" / "README.md").write_text("Conversations\n")
    with hub(tmp_path / "cache", datasets={"OpenAssistant/oasst1": tmp_path / "oasst1"}) as server:
        (told,) = ask(server, READ_CHAT + "tell(read_chat)")
        server.mode = "gone"
        (nothing,) = ask(server, READ_CHAT + "tell(read_chat)", HF_HOME=str(tmp_path / "new"))
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
    assert "or take a file with OpenAssistant's trees or messages (.jsonl, " in nothing["error"]
