"""A chat task's splits: from where, of which trees, in which languages."""

import json
from collections import Counter
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import chat_task_names, get_task, task_names
from sparsegrad_cli.tasks.load import TaskData, load_data, load_test
from sparsegrad_cli.tasks.oasst import load_chat
from sparsegrad_cli.tasks.splits import hold_out

from .glue_files import rows_of, write_jsonl_folder
from .oasst import chain, flat, in_tree, write

OASST = get_task("oasst1")
TREES = [chain(f"tree {number:02}", f"answer {number:02}") for number in range(25)]


def trees(data: TaskData) -> dict[str, set[str]]:
    return {split: set(dataset["tree"]) for split, dataset in data.splits.items()}


def test_there_is_one_chat_task_and_it_is_none_of_glue() -> None:
    assert chat_task_names() == ["oasst1"]
    assert "oasst1" not in task_names()
    assert (OASST.name, OASST.hub.id, OASST.score_name, OASST.dev) == (
        "oasst1",
        "OpenAssistant/oasst1",
        "loss",
        ("validation",),
    )
    with pytest.raises(InputError, match="did you mean oasst1"):
        get_task("oasst")


@pytest.mark.parametrize("form", ["tree", "message"])
def test_the_real_sample(shared: Path, form: str) -> None:
    """100 trees, 626 leaves, 400 of them the assistant's; the counts are made here in another way."""
    path = shared / "oasst" / f"en_100_{form}.jsonl"
    expected: Counter[tuple[str, ...]] = Counter()

    def visit(message: dict, above: tuple[str, ...]) -> None:
        path = (*above, message["text"])
        for reply in message["replies"]:
            visit(reply, path)
        if not message["replies"]:
            expected[path if message["role"] == "assistant" else path[:-1]] += 1

    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        visit(row.get("prompt", row), ())
    assert sum(expected.values()) == 626
    data = load_chat(OASST, str(path))
    found = Counter(
        tuple(message["content"] for message in row["messages"])
        for dataset in data.splits.values()
        for row in dataset
    )
    assert set(found) == set(expected) - {()}
    assert set(found.values()) == {1}
    assert data.origin == f"file: {path.name} (en), 54 of 564 threads for validation"
    assert data.record().rows == {"train": 510, "validation": 54}
    assert data.record().left_out == {}
    found_trees = trees(data)
    assert len(found_trees["train"] | found_trees["validation"]) == 100
    assert not found_trees["train"] & found_trees["validation"]


def test_the_forms_of_the_real_sample_are_the_same_data(shared: Path) -> None:
    forms = [load_chat(OASST, str(shared / "oasst" / f"en_100_{form}.jsonl")) for form in ("tree", "message")]
    assert forms[0].sha256 == forms[1].sha256


def test_a_thread_is_a_row(tmp_path: Path) -> None:
    data = load_chat(OASST, str(write(tmp_path / "a.jsonl", [in_tree(tree) for tree in TREES])))
    assert data.completeness == "custom"
    for dataset in data.splits.values():
        assert dataset["idx"] == list(range(len(dataset)))
        assert dataset[0] == {
            "idx": 0,
            "tree": dataset[0]["tree"],
            "messages": [
                {"role": "user", "content": f"text of {dataset[0]['tree']}"},
                {"role": "assistant", "content": f"text of {dataset[0]['tree'].replace('tree', 'answer')}"},
            ],
        }


def test_a_tenth_of_the_trees_of_one_file_is_validation(tmp_path: Path) -> None:
    rows = [row for tree in TREES for row in flat(tree)]
    found = trees(load_chat(OASST, str(write(tmp_path / "a.jsonl", rows))))
    assert {split: len(ids) for split, ids in found.items()} == {"train": 23, "validation": 2}
    assert not found["train"] & found["validation"]
    again = trees(load_chat(OASST, str(write(tmp_path / "b.parquet", rows[::-1]))))
    assert again == found
    fewer = trees(load_chat(OASST, str(write(tmp_path / "c.jsonl", rows[:4]))))
    assert {split: len(ids) for split, ids in fewer.items()} == {"train": 1, "validation": 1}
    with pytest.raises(InputError, match="one tree of messages cannot be split"):
        load_chat(OASST, str(write(tmp_path / "d.jsonl", rows[:2])))


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train.jsonl", "validation": "validation.trees.jsonl.gz"},
        {"train": "data/train-00000-of-00001-b42a775f407cee45.parquet", "validation": "validation.parquet"},
    ],
)
def test_a_directory_has_a_file_for_each_split(tmp_path: Path, names: dict[str, str]) -> None:
    split_trees = {"train": TREES[:20], "validation": TREES[20:]}
    for split, name in names.items():
        made = split_trees[split]
        rows = [in_tree(tree) for tree in made] if "trees" in name else [r for t in made for r in flat(t)]
        write(tmp_path / "chats" / name, rows)
    data = load_chat(OASST, str(tmp_path / "chats"))
    assert data.origin == "folder: chats (en)"
    assert data.record().rows == {"train": 20, "validation": 5}


def test_all_parts_of_a_split_are_read(tmp_path: Path) -> None:
    for part in range(2):
        rows = [row for tree in TREES[part * 10 : part * 10 + 10] for row in flat(tree)]
        write(tmp_path / "data" / f"train-0000{part}-of-00002.parquet", rows)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", flat(TREES[20]))
    assert load_chat(OASST, str(tmp_path)).record().rows == {"train": 20, "validation": 1}


def test_what_was_left_out_is_told_with_the_data(tmp_path: Path) -> None:
    bad = flat(chain("bad", "bad 1"))
    bad[1]["parent_id"] = "gone"
    rows = [row for tree in TREES for row in flat(tree)] + bad
    rows += [row for number in range(3) for row in flat(chain(f"de {number}", f"de {number}.", lang="de"))]
    rows += flat(chain("alone"))
    path = write(tmp_path / "chats.jsonl", rows)
    data = load_chat(OASST, str(path))
    assert [(tree.name, tree.reason, tree.place) for tree in data.left_out] == [
        ("tree bad", "missing parent", f"{path}:52, message bad 1")
    ]
    assert data.record().left_out == {"missing parent": 1, "other language": 3, "no answer": 1}
    assert sum(data.record().left_out.values()) + sum(len(ids) for ids in trees(data).values()) == 30


def test_languages(tmp_path: Path) -> None:
    rows = [row for tree in TREES for row in flat(tree)]
    rows += [row for number in range(3) for row in flat(chain(f"de {number}", f"de {number}.", lang="de"))]
    path = str(write(tmp_path / "chats.jsonl", rows))
    english, german = load_chat(OASST, path), load_chat(OASST, path, ("de",))
    assert german.origin == "file: chats.jsonl (de), 1 of 3 threads for validation"
    assert {tree for ids in trees(german).values() for tree in ids} == {"de 0", "de 1", "de 2"}
    assert sum(load_chat(OASST, path, ("all",)).record().rows.values()) == 28
    both = load_chat(OASST, path, ("en", "de", "en"))
    assert sum(both.record().rows.values()) == 28
    assert "(en, de)" in both.origin
    assert len({english.sha256, german.sha256, both.sha256}) == 3
    with pytest.raises(InputError) as error:
        load_chat(OASST, path, ("eng",))
    assert str(error.value) == (
        "--language: no conversation in 'eng'; file: chats.jsonl has (trees): en (25), de (3); or all"
    )


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data: no file or directory 'nowhere': give hub, demo, a file"):
        load_chat(OASST, "nowhere")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match=r"oasst1 is read from files with OpenAssistant's trees or messages"):
        load_chat(OASST, str(tmp_path / "a.txt"))
    write(tmp_path / "train.jsonl", flat(TREES[0]))
    with pytest.raises(InputError, match=r"no validation split of oasst1 in .*: looked for validation with"):
        load_chat(OASST, str(tmp_path))
    write(tmp_path / "train.parquet", flat(TREES[0]))
    with pytest.raises(InputError, match=r"train\.jsonl and train\.parquet in .* are both for train"):
        load_chat(OASST, str(tmp_path))
    write(tmp_path / "empty.jsonl", [])
    with pytest.raises(InputError, match=r"file: empty\.jsonl: empty: there is no message"):
        load_chat(OASST, str(tmp_path / "empty.jsonl"))


def test_a_directory_of_glue_is_told(tmp_path: Path) -> None:
    glue = write_jsonl_folder(tmp_path, get_task("cola"), rows_of(get_task("cola")))
    with pytest.raises(InputError, match=r"it holds GLUE \(cola\), which oasst1 is no part of"):
        load_chat(OASST, str(glue))


def test_nothing_is_left_of_a_split(tmp_path: Path) -> None:
    rows = flat(chain("a", "b")) + flat(chain("alone"))
    rows[1]["text"] = ""
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError) as error:
        load_chat(OASST, str(path))
    assert str(error.value) == (
        f"--data {path}: no conversation is left for train: trees by what is wrong: empty text: 1, "
        f"no answer: 1; the first malformed tree: {path}:2, message b"
    )


def test_conversations_are_held_out_by_tree(tmp_path: Path) -> None:
    data = load_chat(OASST, "demo")
    held = hold_out(data)
    before, after = trees(data), trees(held)
    assert list(held.splits) == ["train", "holdout"]
    assert after["train"] | after["holdout"] == before["train"]
    assert not after["train"] & after["holdout"]
    size = len(held.splits["holdout"])
    assert size == 20  # a tenth of 201 threads
    assert held.origin == f"demo (en), {size} rows held out of train"
    assert (held.task.dev, held.task.score_name) == (("holdout",), "loss")
    assert held.sha256 != data.sha256
    two = write(tmp_path / "a.jsonl", flat(TREES[0]) + flat(TREES[1]))
    with pytest.raises(InputError, match="--select-on holdout"):
        hold_out(load_chat(OASST, str(two)))


def test_what_only_texts_to_classify_have() -> None:
    with pytest.raises(InputError, match="--predict-test: oasst1 has no test split"):
        load_test(load_chat(OASST, "demo"), "demo")
    with pytest.raises(InputError, match="--task oasst1: conversations, where texts to classify are needed"):
        load_data(OASST, "demo")


def test_the_synthetic_conversations() -> None:
    data = load_chat(OASST, "demo")
    assert data.record().model_dump() == {
        "origin": "demo (en)",
        "completeness": "synthetic",
        "rows": {"train": 201, "validation": 39},
        "left_out": {},
    }
    assert data.sha256 == load_chat(OASST, "demo").sha256
    first = {
        dataset[i]["messages"][0]["content"] for dataset in data.splits.values() for i in range(len(dataset))
    }
    assert len(first) == 144
    assert {len(messages) for messages in data.splits["train"]["messages"]} == {2, 4}
    for row in data.splits["train"]:
        question, answer = (message["content"] for message in row["messages"][:2])
        if question.startswith("What is "):
            one, two = (int(word) for word in question.removeprefix("What is ").rstrip("?").split(" plus "))
            assert f" {one + two}." in answer
