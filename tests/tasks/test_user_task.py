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


NUMBERS = [{"text": f"row {i}", "label": "ham" if i % 2 else "spam"} for i in range(20)]
NUMBERED = "text: text\nlabels: [ham, spam]\nmetrics: f1\nfiles: {{train: a{0}, validation: b{0}}}\n"


def own_task(folder: Path, rows: list[dict], more: str = "", ending: str = ".jsonl") -> Task:
    (folder / "own.yaml").write_text(NUMBERED.format(ending) + more)
    write_mails(folder / f"a{ending}", rows)
    write_mails(folder / f"b{ending}", NUMBERS)
    return get_task(str(folder / "own.yaml"))


def spoil(rows: list[dict]) -> list[dict]:
    spoilt = [dict(row) for row in rows]
    for i in range(1, 13):
        spoilt[i]["text" if i % 2 else "label"] = ""
    return spoilt


@pytest.mark.parametrize(
    ("ending", "first", "what"), [(".jsonl", ":2", "lines 2"), (".csv", ":3", "lines 3")]
)
def test_invalid_rows_are_counted_and_named(tmp_path, ending, first, what):
    task = own_task(tmp_path, spoil(NUMBERS), ending=ending)
    with pytest.raises(InputError) as error:
        load_data(task, "hub")
    message = str(error.value)
    assert f"a{ending}{first}: no text in text; 12 of 20 rows are invalid ({what}, " in message
    assert "drop_invalid_rows: true" in message
    assert "\n" not in message


def test_invalid_rows_are_dropped_where_the_task_says_so(tmp_path):
    data = load_data(own_task(tmp_path, spoil(NUMBERS), "drop_invalid_rows: true\n"), "hub")
    assert data.record().rows == {"train": 8, "validation": 20}
    assert data.record().left_out == {"no text": 6, "no label": 6}
    assert data.left_out[0].place == f"{tmp_path}/a.jsonl:2"


def test_a_json_line_without_a_column_is_an_invalid_row(tmp_path):
    rows = [*NUMBERS[:5], {"text": "no label here"}, *NUMBERS[5:]]
    with pytest.raises(InputError, match=r"a\.jsonl:6: no column 'label', there are text"):
        load_data(own_task(tmp_path, rows), "hub")
    data = load_data(own_task(tmp_path, rows, "drop_invalid_rows: true\n"), "hub")
    assert data.record().left_out == {"no column 'label'": 1}


@pytest.mark.parametrize(("ending", "comma"), [(".csv", ","), (".tsv", "\t")])
def test_files_without_a_header_line_take_columns(tmp_path, ending, comma):
    task = own_task(tmp_path, NUMBERS, "columns: [id, label, text]\n", ending)
    lines = [comma.join((str(i), row["label"], row["text"])) for i, row in enumerate(NUMBERS)]
    for file in ("a", "b"):
        (tmp_path / f"{file}{ending}").write_text("\n".join(lines) + "\n")
    assert list(load_data(task, "hub").splits["train"]["text"]) == [row["text"] for row in NUMBERS]
    bare = own_task(tmp_path, NUMBERS, "", ending)
    (tmp_path / f"a{ending}").write_text("\n".join(lines) + "\n")
    with pytest.raises(
        InputError, match=r"no column 'text', there are 0, spam, row 0; of a file without a header"
    ):
        load_data(bare, "hub")


def test_columns_of_files_that_name_their_own_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.jsonl: its rows name their columns, .* leave it out"):
        load_data(own_task(tmp_path, NUMBERS, "columns: [label, text]\n"), "hub")


def test_a_users_task_may_read_from_the_hub_or_a_folder(tmp_path):
    path = tmp_path / "reviews.yaml"
    path.write_text("text: text\nlabels: [n, p]\nmetrics: accuracy\nhub: someone/reviews\n")
    task = get_task(str(path))
    assert (task.hub.id, task.hub.config, task.files) == ("someone/reviews", "data", None)
    for split in ("train", "validation"):
        write_jsonl(
            tmp_path / "reviews" / f"{split}.jsonl", [{"text": "a", "label": "n"}, {"text": "b", "label": 1}]
        )
    assert load_data(task, str(tmp_path)).splits["train"]["label"][:] == [0, 1]
