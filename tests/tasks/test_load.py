"""The data of the tasks from every source, in one form."""

from pathlib import Path

import pytest
from datasets import Dataset

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task, task_names
from sparsegrad_cli.tasks.load import load_data
from sparsegrad_cli.tasks.task import Task

from .glue_files import contents, rows_of, write_jsonl, write_jsonl_folder, write_tsv, write_tsv_folder

COMPLETE = ("cola", "mrpc", "stsb", "rte", "wnli")  # of the real data beside the repository


@pytest.mark.parametrize("name", [*COMPLETE, "qnli"])
def test_real_glue_has_the_official_rows_or_says_that_it_has_not(shared, name):
    task = get_task(name)
    data = load_data(task, str(shared / "glue"))
    assert list(data.splits) == [task.train, *task.dev]
    for dataset in data.splits.values():
        assert dataset.column_names == ["idx", *task.text, "label"]
        assert dataset.features["label"].dtype == ("float32" if name == "stsb" else "int64")
    record = data.record()
    assert record.origin == "folder: glue"
    if name in COMPLETE:
        assert (record.completeness, record.rows) == ("complete", task.rows)
    else:
        assert record.completeness == "partial"
        assert record.rows["train"] < task.rows["train"]
        assert all(record.rows[split] == task.rows[split] for split in task.dev)


def test_real_rows_come_with_their_own_idx_text_and_label(shared):
    row = load_data(get_task("mrpc"), str(shared / "glue")).splits["validation"][0]
    assert row["idx"] == 9
    assert row["sentence1"].startswith("He said the foodservice pie business doesn 't fit")
    assert row["label"] == 1


def test_the_majority_of_wnli_is_that_of_its_dev_split(shared):
    task = get_task("wnli")
    labels = load_data(task, str(shared / "glue")).splits["validation"]["label"]
    assert max(labels.count(0), labels.count(1)) / len(labels) == pytest.approx(task.majority, abs=5e-4)


@pytest.mark.parametrize("name", ["rte", "mrpc", "stsb"])
def test_real_rows_are_the_same_data_in_the_classic_folder(shared, tmp_path, name):
    task = get_task(name)
    real = load_data(task, str(shared / "glue"))
    few = {split: dataset.select(range(200)).to_list() for split, dataset in real.splits.items()}
    for split, file in (("train", "train.tsv"), ("validation", "dev.tsv")):
        write_tsv(tmp_path / task.tsv.folder / file, task, few[split])
        write_jsonl(tmp_path / "lines" / name / f"{split}.jsonl", few[split])
    classic, lines = load_data(task, str(tmp_path)), load_data(task, str(tmp_path / "lines"))
    assert classic.sha256 == lines.sha256
    assert contents(lines) == few


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("name", task_names())
def test_the_classic_folder_reads_as_the_json_lines_do(tmp_path, name, end):
    task = get_task(name)
    rows = rows_of(task)
    lines = load_data(task, str(write_jsonl_folder(tmp_path / "lines", task, rows)))
    classic = load_data(task, str(write_tsv_folder(tmp_path / "glue_data", task, rows, end=end)))
    assert contents(lines) == dict.fromkeys((task.train, *task.dev), rows)
    assert contents(classic) == contents(lines)
    assert classic.sha256 == lines.sha256
    assert classic.origin == "folder: glue_data"


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    task = get_task("mrpc")
    write_tsv_folder(tmp_path, task, rows_of(task))
    path = tmp_path / "MRPC" / "train.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_data(task, str(tmp_path)).splits["train"]) == 5


def test_no_file_but_the_train_and_dev_splits_is_read(tmp_path):
    task = get_task("cola")
    write_jsonl_folder(tmp_path, task, rows_of(task))
    (tmp_path / "cola" / "test.jsonl.gz").write_text("not even gzip")
    assert list(load_data(task, str(tmp_path)).splits) == ["train", "validation"]


def test_class_names_are_labels_too(tmp_path):
    task = get_task("mnli")
    rows = rows_of(task)
    named = [{**row, "label": task.labels[row["label"]]} for row in rows]
    by_id = load_data(task, str(write_jsonl_folder(tmp_path / "ids", task, rows)))
    by_name = load_data(task, str(write_jsonl_folder(tmp_path / "names", task, named)))
    assert by_name.sha256 == by_id.sha256


def test_idx_is_the_row_where_the_files_do_not_number_every_row(tmp_path):
    task = get_task("cola")
    rows = [{**row, "idx": 7} for row in rows_of(task)]
    data = load_data(task, str(write_jsonl_folder(tmp_path, task, rows)))
    assert list(data.splits["train"]["idx"]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("surplus", "completeness"), [(0, "complete"), (-1, "partial"), (1, "custom")])
def test_completeness_tells_the_official_splits_from_others(tmp_path, surplus, completeness):
    task = get_task("wnli")
    for split, count in task.rows.items():
        write_jsonl(tmp_path / "wnli" / f"{split}.jsonl", rows_of(task, count))
    write_jsonl(tmp_path / "wnli" / "validation.jsonl", rows_of(task, task.rows["validation"] + surplus))
    assert load_data(task, str(tmp_path)).completeness == completeness


def test_the_hash_is_of_texts_labels_and_order_and_of_nothing_else(tmp_path):
    task = get_task("rte")

    def digest(rows: list[dict]) -> str:
        return load_data(task, str(write_jsonl_folder(tmp_path, task, rows))).sha256

    rows = rows_of(task)
    one = digest(rows)
    assert digest([{**row, "idx": row["idx"] + 10, "note": "new"} for row in rows]) == one
    others = {
        digest([{**rows[0], "label": 1}, *rows[1:]]),
        digest([{**rows[0], "sentence2": "other"}, *rows[1:]]),
        digest([rows[1], rows[0], *rows[2:]]),
        digest(rows[:-1]),
    }
    assert len(others | {one}) == 5


@pytest.fixture
def give_hub(tmp_path, monkeypatch):
    """Gives a function that stands in for the hub: every download finds these rows."""

    def give(places: dict[str, list[dict]]) -> None:
        for place, rows in places.items():
            path = tmp_path / "abc123" / f"{place}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list(rows).to_parquet(path)
        monkeypatch.setattr("sparsegrad_cli.tasks.load.fetch", lambda *_: tmp_path / "abc123")

    return give


def test_the_hub_and_a_folder_with_the_same_rows_are_the_same_data(tmp_path, give_hub):
    task = get_task("mnli")
    rows = rows_of(task)
    give_hub({f"mnli/{split}": rows for split in (task.train, *task.dev)})
    hub = load_data(task, "hub")
    assert hub.origin == "hub: nyu-mll/glue@abc123"
    assert hub.completeness == "partial"
    assert hub.sha256 == load_data(task, str(write_jsonl_folder(tmp_path, task, rows))).sha256


def test_a_hidden_label_of_the_hub_is_refused(give_hub):
    rows = rows_of(get_task("rte"))
    give_hub({"rte/train": rows, "rte/validation": [rows[0], {**rows[1], "label": -1}]})
    with pytest.raises(InputError, match=r"nyu-mll/glue rte/validation, row 2: label -1 is not one of"):
        load_data(get_task("rte"), "hub")


def test_a_new_entry_is_read_from_its_own_place_on_the_hub(give_hub, tmp_path):
    task = Task(
        name="boolq", text=("question", "passage"), label="answer", labels=("no", "yes"), metrics="accuracy",
        hub={"id": "google/boolq", "config": "main"},
    )  # fmt: skip
    rows = [{"question": "Is it?", "passage": f"It is {i}.", "answer": i % 2} for i in range(3)]
    give_hub({"main/train": rows, "main/validation": rows[:2]})
    data = load_data(task, "hub")
    assert (data.origin, data.completeness) == ("hub: google/boolq@abc123", "custom")
    assert data.splits["train"]["label"][:] == [0, 1, 0]
    write_jsonl(tmp_path / "boolq" / "train.jsonl", rows)
    write_jsonl(tmp_path / "boolq" / "validation.jsonl", rows[:2])
    assert load_data(task, str(tmp_path)).sha256 == data.sha256
    give_hub({"main/train": [{"question": "Is it?", "label": 1}]})
    with pytest.raises(InputError, match=r"google/boolq main/train: no column 'passage', there are question"):
        load_data(task, "hub")
    with pytest.raises(InputError, match="--data demo: there is no synthetic data for boolq, only for cola"):
        load_data(task, "demo")
    nowhere = task.model_copy(update={"hub": None})
    with pytest.raises(InputError, match="--data hub: boolq names no data set on the hub"):
        load_data(nowhere, "hub")


CHANGES = [
    {"labels": ("one", "two", "three")},
    {"metrics": ("f1", "accuracy")},
    {"metrics": ("accuracy", "f1"), "version": 2},
]


def test_the_hash_is_also_of_the_definition_of_the_task(tmp_path):
    """A run with other labels or metrics, or another version, is another run."""
    rows = [{"text": f"row {i}", "label": i % 2} for i in range(4)]
    paths = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation")}
    for path in paths.values():
        write_jsonl(Path(path), rows)
    base = Task(name="own", text="text", labels=("one", "two"), metrics=("accuracy", "f1"), files=paths)
    same = base.model_copy(update={"in_average": False, "drop_invalid_rows": True})
    assert load_data(same, "hub").sha256 == load_data(base, "hub").sha256
    hashes = {load_data(base.model_copy(update=change), "hub").sha256 for change in CHANGES}
    assert len(hashes | {load_data(base, "hub").sha256}) == 1 + len(CHANGES)


@pytest.mark.parametrize("name", task_names())
def test_demo_data_says_that_it_is_synthetic(name):
    task = get_task(name)
    data = load_data(task, "demo")
    assert (data.origin, data.completeness) == ("demo", "synthetic")
    assert list(data.splits) == [task.train, *task.dev]
    assert load_data(task, "demo").sha256 == data.sha256
