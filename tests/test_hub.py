"""Models and data from the hub: a hub of ours answers, in processes that know no other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import load_classifier
from sparsegrad_cli.tasks import get_task

from .checkpoints import tiny_checkpoint
from .hub_server import Hub, ask, glue_repository, hub
from .tasks.glue_files import rows_of, rows_without_labels
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
def read_once(
    folders: tuple[dict[str, Path], dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Hub, list[dict[str, Any]]]:
    script = "tell(find)\nfor task in ('cola', 'stsb', 'mnli'): tell(lambda: read(task))"
    with hub(tmp_path_factory.mktemp("filled"), *folders) as running:
        return running, ask(running, FIND + READ + script)


@pytest.fixture
def filled(read_once: tuple[Hub, list[dict[str, Any]]]) -> Iterator[tuple[Hub, list[dict[str, Any]]]]:
    """A hub from which the model and three tasks were read once, and what was read; it is gone now."""
    yield read_once
    read_once[0].mode = "gone"


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
huggingface_hub.utils.logging.set_verbosity_error()
datasets.disable_progress_bars()
huggingface_hub.utils.disable_progress_bars()
datasets.load_dataset("nyu-mll/glue", "cola")
for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
    huggingface_hub.hf_hub_download("org/tiny", file)
"""
    assert ask(server, fill) == []
    server.mode = "gone"
    model, data = ask(server, FIND + READ + "tell(find); tell(read)")
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
    (refused,) = ask(server, work)
    assert "log in with `hf auth login`" in refused["error"]
    (pushed,) = ask(server, work, HF_TOKEN="hf_mine")
    assert "/me/mine/commit/" in pushed["answer"]
    uploaded = server.cache / "uploads" / "me" / "mine"
    assert (uploaded / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert "# Mine" in (uploaded / "README.md").read_text()
    (named,) = ask(server, f"{PUSH}\ntell(lambda: push({str(folder)!r}, 'a b/c'))", HF_TOKEN="hf_mine")
    assert "a b/c" in named["error"]


def test_test_splits_come_at_the_commit_of_the_other_splits(tmp_path: Path) -> None:
    known = get_task("mnli")
    named = dict.fromkeys((known.train, *known.dev), rows_of(known))
    named |= dict.fromkeys(("test_matched", "test_mismatched"), rows_without_labels("mnli"))
    tasks = {
        "mnli": named,
        "ax": {"test": rows_without_labels("mnli", 2)},
        "rte": {"train": rows_of(get_task("rte"))},
    }
    code = """
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import load_data, load_test

def read():
    data = load_data(get_task("mnli"), "hub")
    test = load_test(data, "hub")
    return {split: rows.to_list() for split, rows in test.splits.items()}, data.origin, test.origin
tell(read)
"""
    with hub(
        tmp_path / "cache", datasets={"nyu-mll/glue": glue_repository(tmp_path / "glue", tasks)}
    ) as server:
        (told,) = ask(server, code)
        splits, origin, of_test = told["answer"]
        assert origin == of_test
        expected = [
            {key: row[key] for key in ("idx", "premise", "hypothesis")} for row in rows_without_labels("mnli")
        ]
        assert splits == {"test_matched": expected, "test_mismatched": expected, "ax": expected[:2]}
        server.mode = "gone"
        (again,) = ask(server, code)
        assert json.dumps(again["answer"]) == json.dumps(told["answer"])


CALL = """
import contextlib, io, shutil, sys
from huggingface_hub import constants
from sparsegrad_cli.cli.main import main

def call(*arguments):
    sys.argv = [*{command!r}, *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()

"""


def test_finetune_takes_model_and_data_from_the_hub_and_its_absence_is_one_line(
    folders: tuple[dict[str, Path], dict[str, Path]], tmp_path: Path
) -> None:
    rows = {
        split: [{"sentence": f"the {split} {i}", "label": i % 2, "idx": i} for i in range(count)]
        for split, count in {"train": 16, "validation": 4}.items()
    }
    glue = glue_repository(tmp_path / "glue", {"cola": rows})
    command = ["sparsegrad", "finetune", "--model", "org/tiny", "--task", "cola", "--method", "sparsegrad"]
    command += ["--max-steps", "2", "--calibration-steps", "1", "--json", "--quiet", "--output"]
    results, nothing = tmp_path / "results", tmp_path / "nothing"
    script = CALL.format(command=command) + (
        f"tell(lambda: call('{results}'))\n"
        "switch('503')\n"
        f"tell(lambda: call('{results}', '--seed', '1'))\n"
        "shutil.rmtree(constants.HF_HUB_CACHE)\n"
        f"tell(lambda: call('{nothing}'))\n"
    )
    with hub(tmp_path / "hf", models=folders[0], datasets={"nyu-mll/glue": glue}) as answering:
        done, cached, refused = (told["answer"] for told in ask(answering, script))
    assert done[0] == 0, done
    run = json.loads(done[1])["runs"][0]
    assert run["data"]["origin"].startswith("hub: nyu-mll/glue@")
    assert run["data"]["completeness"] == "partial"
    assert cached[0] == 0, "the cached copies serve"
    assert refused[:2] == [2, ""]
    assert "503" in refused[2]
    assert refused[2].count("\n") == 1
    assert not nothing.exists()
