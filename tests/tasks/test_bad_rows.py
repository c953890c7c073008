"""Every way that GLUE in a directory can be wrong, and where the message says it is."""

import gzip

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import load_data

from .glue_files import rows_of, write_jsonl, write_jsonl_folder, write_tsv_folder

GOOD = '{"sentence": "a", "label": 1}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"sentence": "a"}', "no column 'label', there are sentence"),
        ('{"sentence": "a", "label": null}', "the label is missing"),
        ('{"sentence": "a", "label": ""}', "the label is missing"),
        ('{"sentence": "a", "label": NaN}', "the label is missing"),
        ('{"sentence": "a", "label": 2}', "label 2 is not one of unacceptable, acceptable, 0, 1"),
        ('{"sentence": "a", "label": -1}', "label -1 is not .*: -1 marks a label that is kept secret"),
        ('{"sentence": "a", "label": 0.5}', "label 0.5 is not one of"),
        ('{"sentence": "a", "label": true}', "label True is not one of"),
        ('{"sentence": "a", "label": "good"}', "label 'good' is not one of"),
        ('{"text": "a", "label": 1}', "no column 'sentence', there are text, label"),
        ('{"sentence": null, "label": 1}', "sentence is missing, not a text"),
        ('{"sentence": 5, "label": 1}', "sentence is 5, not a text"),
        ('{"sentence": "", "label": 1}', "no text in sentence"),
        ('{"sentence": "\\ud83d", "label": 1}', "sentence holds half a surrogate pair"),
        ('{"sentence": "a", "label": 1', "broken JSON: .* at column 2"),
        ("[1, 2]", "not a JSON object: each line is one, with sentence, label"),
    ],
)
def test_a_bad_row_is_told_with_its_file_and_line(tmp_path, line, message):
    task = get_task("cola")
    write_jsonl_folder(tmp_path, task, rows_of(task))
    with gzip.open(tmp_path / "cola" / "train.jsonl.gz", "wt") as file:
        file.write(f"{GOOD}\n\n{line}\n{GOOD}\n")
    with pytest.raises(InputError, match=rf"cola/train\.jsonl\.gz:3: {message}") as error:
        load_data(task, str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", ['"high"', "5.1", "-0.1", "true", '"nan"', "[1]"])
def test_a_score_off_the_scale_is_refused(tmp_path, label):
    task = get_task("stsb")
    write_jsonl_folder(tmp_path, task, rows_of(task))
    path = tmp_path / "stsb" / "validation.jsonl.gz"
    with gzip.open(path, "at") as file:
        file.write(f'{{"sentence1": "a", "sentence2": "b", "label": {label}}}\n')
    with pytest.raises(InputError, match=r"validation\.jsonl\.gz:6: label .* is not a number from 0 to 5"):
        load_data(task, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("rte", "5\ta\tentailment", "3 columns, not the 4 of index, sentence1, sentence2, label"),
        ("rte", "5\ta\tb\tc\tentailment", "5 columns, not the 4"),
        ("rte", "5\ta\tb\tneutral", "label 'neutral' is not one of entailment, not_entailment, 0, 1"),
        ("rte", "5\ta\tb\t", "the label is missing"),
        ("cola", "gj04\t1\tsentence", "3 columns, not the 4 of source, label, judgment, sentence"),
    ],
)
def test_a_bad_tsv_row_is_told_with_its_file_and_line(tmp_path, name, line, message):
    task = get_task(name)
    path = write_tsv_folder(tmp_path, task, rows_of(task)) / task.tsv.folder / "dev.tsv"
    with path.open("a") as file:
        file.write(line + "\n")
    number = 6 if name == "cola" else 7
    with pytest.raises(InputError, match=rf"dev\.tsv:{number}: {message}"):
        load_data(task, str(tmp_path))


def test_a_tsv_without_a_column_lists_those_it_has(tmp_path):
    task = get_task("qqp")
    path = write_tsv_folder(tmp_path, task, rows_of(task)) / "QQP" / "train.tsv"
    path.write_text(path.read_text().replace("is_duplicate", "duplicate"))
    with pytest.raises(
        InputError, match=r"train\.tsv:1: no column 'is_duplicate', there are id, .*, duplicate"
    ):
        load_data(task, str(tmp_path))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "empty: there is no row"),
        (b"\n\n", "empty: there is no row"),
        (
            GOOD.encode() + b'\n{"sentence": "\xff", "label": 1}\n',
            r"not UTF-8: invalid start byte at byte 14",
        ),
    ],
    ids=["empty", "blank", "latin-1"],
)
def test_a_file_that_holds_no_rows_or_no_utf8_is_refused(tmp_path, raw, message):
    task = get_task("cola")
    write_jsonl(tmp_path / "cola" / "validation.jsonl", rows_of(task))
    (tmp_path / "cola" / "train.jsonl").write_bytes(raw)
    with pytest.raises(InputError, match=rf"cola/train\.jsonl(:2)?: {message}"):
        load_data(task, str(tmp_path))


@pytest.mark.parametrize("text", ["", "index\tsentence1\tsentence2\tlabel\n"], ids=["nothing", "header only"])
def test_an_empty_tsv_is_refused(tmp_path, text):
    task = get_task("rte")
    write_tsv_folder(tmp_path, task, rows_of(task))
    (tmp_path / "RTE" / "train.tsv").write_text(text)
    with pytest.raises(InputError, match=r"RTE/train\.tsv: empty"):
        load_data(task, str(tmp_path))


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-30], lambda raw: b"plain text"], ids=["cut short", "no gzip"]
)
def test_a_damaged_gzip_file_is_refused(tmp_path, damage):
    task = get_task("cola")
    path = write_jsonl_folder(tmp_path, task, rows_of(task)) / "cola" / "train.jsonl.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"train\.jsonl\.gz: cannot be read: "):
        load_data(task, str(tmp_path))


def test_a_folder_without_the_task_says_what_it_looked_for_and_what_it_has(tmp_path):
    write_jsonl_folder(tmp_path, get_task("rte"), rows_of(get_task("rte")))
    write_tsv_folder(tmp_path, get_task("sst2"), rows_of(get_task("sst2")))
    looked_for = (
        r"looked for cola/train\.jsonl\.gz, cola/train\.jsonl, CoLA/train\.tsv; tasks there: sst2, rte"
    )
    with pytest.raises(InputError, match=rf"no train split of cola in .*: {looked_for}$"):
        load_data(get_task("cola"), str(tmp_path))


def test_a_folder_without_one_dev_split_is_refused(tmp_path):
    task = get_task("mnli")
    write_tsv_folder(tmp_path, task, rows_of(task))
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    with pytest.raises(
        InputError, match=r"no validation_mismatched split of mnli .* MNLI/dev_mismatched\.tsv"
    ):
        load_data(task, str(tmp_path))


def test_a_directory_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--data: no directory '.*glew': give hub, demo or a directory"):
        load_data(get_task("cola"), str(tmp_path / "glew"))


QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"


def write_qqp(folder, *lines):
    for file in ("train.tsv", "dev.tsv"):
        path = folder / "QQP" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([QQP, *lines, ""]))


def test_the_malformed_rows_of_classic_qqp_are_dropped_and_counted(tmp_path):
    """The released train.tsv has rows that end after the third column, or before the label."""
    good = ["1\t2\t3\tIs it?\tIs it so?\t1", "4\t5\t6\tWhy?\tHow?\t0"]
    write_qqp(tmp_path, good[0], "20\t21\tHow do I", good[1], "7\t8\t9\tWho?\tWhere?\t")
    data = load_data(get_task("qqp"), str(tmp_path))
    assert data.record().rows == {"train": 2, "validation": 2}
    assert data.record().left_out == {"another number of columns": 2, "no label": 2}
    assert [one.place for one in data.left_out[:2]] == [f"{tmp_path}/QQP/train.tsv:{line}" for line in (3, 5)]
    whole = tmp_path / "whole"
    write_qqp(whole, *good)
    assert load_data(get_task("qqp"), str(whole)).sha256 == data.sha256


def test_a_file_without_any_valid_row_is_refused(tmp_path):
    write_qqp(tmp_path, "1\t2\t3\tIs it?\tIs it so?\t-1", "20\t21\tHow do I")
    with pytest.raises(
        InputError, match=r"train\.tsv:2: label '-1' .* 2 of 2 rows are invalid .*no row is left"
    ):
        load_data(get_task("qqp"), str(tmp_path))
