"""A user's own task, from its YAML to its rows."""

import csv
import gzip
import io
from pathlib import Path

import pandas as pd
import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import load_data
from sparsegrad_cli.tasks.task import Task

from .glue_files import contents, write_jsonl

YAML = """\
text: [subject, body]
label: folder
labels: [ham, spam]
metrics: f1
files: {{train: train{ending}, validation: dev{ending}}}
"""
MAILS = [
    {"n": 1, "subject": "hi, you", "body": 'line one\n"line two"', "folder": "ham"},
    {"n": 2, "subject": "", "body": "buy", "folder": "spam"},
    {"n": 3, "subject": "re: hi", "body": "ça va", "folder": "ham"},
]


def write_mails(path: Path, rows: list[dict]) -> None:
    if ".jsonl" in path.name:
        write_jsonl(path, rows)
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        text = io.StringIO(newline="")
        how = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if ".tsv" in path.name else {}
        writer = csv.DictWriter(text, rows[0], **how)
        writer.writeheader()
        writer.writerows(rows)
        raw = text.getvalue().encode()
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def users_task(folder: Path, ending: str, rows: list[dict]) -> Task:
    folder.mkdir(exist_ok=True)
    (folder / "mails.yaml").write_text(YAML.format(ending=ending))
    write_mails(folder / f"train{ending}", rows)
    write_mails(folder / f"dev{ending}", rows[:2])
    return get_task(str(folder / "mails.yaml"))


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet"])
def test_a_users_task_reads_its_own_files(tmp_path, ending):
    data = load_data(users_task(tmp_path, ending, MAILS), "hub")
    labels = {"ham": 0, "spam": 1}
    rows = [
        {"idx": i, "subject": mail["subject"], "body": mail["body"], "label": labels[mail["folder"]]}
        for i, mail in enumerate(MAILS)
    ]
    assert contents(data) == {"train": rows, "validation": rows[:2]}
    assert data.completeness == "custom"
    assert data.origin == f"files: train{ending}, dev{ending}"


def test_a_users_tsv_is_read_without_quoting(tmp_path):
    mails = [{**mail, "body": 'say "so'} for mail in MAILS]
    data = load_data(users_task(tmp_path, ".tsv", mails), "hub")
    assert list(data.splits["train"]["body"]) == ['say "so'] * 3


def test_a_users_task_takes_no_other_data(tmp_path):
    task = users_task(tmp_path, ".csv", MAILS)
    with pytest.raises(InputError, match=r"--data: mails names its own files, 'demo' cannot replace them"):
        load_data(task, "demo")


@pytest.mark.parametrize(
    ("ending", "place"), [(".csv", r"\.csv:5"), (".jsonl", r"\.jsonl:3"), (".parquet", r"\.parquet, row 3")]
)
def test_a_users_bad_row_is_told_with_its_place(tmp_path, ending, place):
    mails = [*MAILS[:2], {**MAILS[2], "folder": "junk"}]
    with pytest.raises(InputError, match=rf"train{place}: label 'junk' is not one of ham, spam, 0, 1"):
        load_data(users_task(tmp_path, ending, mails), "hub")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_users_file_without_a_column_lists_those_it_has(tmp_path, ending):
    mails = [{"n": 1, "subject": "hi", "text": "you", "folder": "ham"}] * 2
    with pytest.raises(InputError, match=r"train.*: no column 'body', there are n, subject, text, folder"):
        load_data(users_task(tmp_path, ending, mails), "hub")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("subject,body,folder\na,b,ham\na,b\n", 3, "2 columns, not the 3 of subject, body, folder"),
        ('subject,body,folder\na,b,ham\n"a,b,ham\n', 3, "broken CSV: unexpected end of data"),
    ],
)
def test_a_broken_csv_is_told_with_its_line(tmp_path, text, line, message):
    task = users_task(tmp_path, ".csv", MAILS)
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(InputError, match=rf"train\.csv:{line}: {message}"):
        load_data(task, "hub")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("train.xlsx", "not a data file by its ending: .jsonl, .*.parquet are read"),
        ("none.csv", "cannot be read: No such file"),
        ("none.parquet", "cannot be read: .*No such file"),
        ("mails.parquet", "cannot be read: Parquet magic bytes not found"),
    ],
)
def test_a_users_file_that_is_no_data_is_refused(tmp_path, file, message):
    task = users_task(tmp_path, ".csv", MAILS)
    (tmp_path / "mails.parquet").write_text("this is no parquet file")
    yaml = (tmp_path / "mails.yaml").read_text().replace("train.csv", file)
    (tmp_path / "mails.yaml").write_text(yaml)
    task = get_task(str(tmp_path / "mails.yaml"))
    with pytest.raises(InputError, match=rf"{file}: {message}"):
        load_data(task, "hub")


def test_class_names_that_are_numbers_are_names_and_not_ids(tmp_path):
    task = Task(
        name="stars", text="t", labels=("1", "2"), metrics="accuracy",
        files={"train": str(tmp_path / "a.jsonl"), "validation": str(tmp_path / "a.jsonl")},
    )  # fmt: skip
    write_jsonl(tmp_path / "a.jsonl", [{"t": "bad", "label": 1}, {"t": "good", "label": "2"}])
    assert list(load_data(task, "hub").splits["train"]["label"]) == [0, 1]
    write_jsonl(tmp_path / "a.jsonl", [{"t": "bad", "label": 0}])
    with pytest.raises(InputError, match=r"label 0 is not one of 1, 2"):
        load_data(task, "hub")
