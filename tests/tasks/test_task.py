"""Tasks by name and from a user's YAML."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task, task_names, text_tasks
from sparsegrad_cli.tasks.task import Task

from ..checkpoints import tiny_checkpoint
from .glue_files import write_jsonl

PLAIN = """\
text: [subject, body]
label: folder
labels: [ham, spam]
metrics: [f1, accuracy]
files:
  train: train.csv
  validation: held/dev.csv
"""


def write(folder: Path, text: str, name: str = "emails.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_nine_tasks_in_the_order_of_the_help():
    assert task_names() == ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]


@pytest.mark.parametrize("name", task_names())
def test_every_entry_of_glue_is_whole(name: str):
    task = get_task(name)
    assert task.name == name
    assert set(task.rows) == {task.train, *task.dev} == set(task.tsv.files)
    assert task.is_regression == (name == "stsb")
    assert (task.hub.id, task.hub.config) == ("nyu-mll/glue", name)
    assert (task.range is not None) == task.is_regression


@pytest.mark.parametrize(
    ("name", "metrics", "score_name"),
    [
        ("cola", ("matthews_correlation",), "matthews_correlation"),
        ("stsb", ("pearson", "spearman"), "pearson"),
        ("mrpc", ("accuracy", "f1"), "accuracy"),
        ("qqp", ("accuracy", "f1"), "accuracy"),
        ("mnli", ("accuracy",), "accuracy_m"),
        ("rte", ("accuracy",), "accuracy"),
    ],
)
def test_the_first_metric_on_the_first_dev_split_is_the_score(name, metrics, score_name):
    assert get_task(name).metrics == metrics
    assert get_task(name).score_name == score_name


def test_mnli_has_two_dev_splits_with_a_suffix_each():
    task = get_task("mnli")
    splits = dict(zip(task.dev, task.suffixes, strict=True))
    assert splits == {"validation_matched": "_m", "validation_mismatched": "_mm"}


def test_only_wnli_is_out_of_the_average_and_has_its_majority_beside_it():
    assert [name for name in task_names() if not get_task(name).in_average] == ["wnli"]
    assert get_task("wnli").majority == 0.563


def test_naming_a_task_loads_neither_torch_nor_data_sets():
    code = """if True:
        import sys
        from sparsegrad_cli.tasks import get_task, task_names
        for name in task_names():
            get_task(name)
        print(sorted({"torch", "datasets", "transformers", "scipy", "numpy", "pandas"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(
        InputError, match=r"no task 'colla', there are cola, .*wnli, oasst1; did you mean cola\?"
    ):
        get_task("colla")


def test_a_users_yaml_is_a_task_whose_files_stand_beside_it(tmp_path):
    task = get_task(write(tmp_path, PLAIN))
    assert task.name == "emails"
    assert task.text == ("subject", "body")
    assert task.labels == ("ham", "spam")
    assert task.score_name == "f1"
    assert task.files == {
        "train": str(tmp_path / "train.csv"),
        "validation": str(tmp_path / "held" / "dev.csv"),
    }
    assert task.rows is None


def test_one_column_or_metric_needs_no_brackets_and_numerals_are_class_names(tmp_path):
    text = "text: review\nlabels: [1, 2, 3]\nmetrics: accuracy\nfiles: {train: a.csv, validation: b.csv}\n"
    task = get_task(write(tmp_path, text))
    assert (task.text, task.metrics, task.labels) == (("review",), ("accuracy",), ("1", "2", "3"))


def test_a_users_regression_needs_no_range(tmp_path):
    task = get_task(write(tmp_path, "text: a\nmetrics: pearson\nfiles: {train: a.csv, validation: b.csv}\n"))
    assert task.is_regression
    assert task.range is None


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("metrics: [f1, accuracy]", "metric: f1", 4, "no key 'metric', .*did you mean metrics"),
        ("metrics: [f1, accuracy]", "metric: f1", 1, "metrics is missing"),
        ("f1, accuracy", "f1, acuracy", 4, "no metric 'acuracy', .*did you mean accuracy"),
        ("f1, accuracy", "pearson", 4, "pearson needs no labels"),
        ("f1, accuracy", "f1, f1", 4, "named twice"),
        ("labels: [ham, spam]", "range: [0, 5]", 4, "f1 needs labels"),
        ("labels: [ham, spam]", "labels: [ham, spam]\nrange: [0, 5]", 4, "give one of the two"),
        ("labels: [ham, spam]", "range: [5, 0]", 3, "the lowest label comes first, not 5, 0"),
        ("[ham, spam]", "[ham]", 3, "labels: .*at least 2"),
        ("[ham, spam]", "[ham, ham]", 3, "named twice"),
        ("[ham, spam]", "[no, yes]", 3, "write them in quotes"),
        ("[ham, spam]", "\n  - ham\n  - [spam]", 5, r"labels\.1: .*string"),
        ("[subject, body]", "[a, b, c]", 1, "one or two different text columns"),
        ("[subject, body]", "[subject, label]", 1, "cannot be called 'label'"),
        ("label: folder", "label: body", 2, "'body' is a text column already"),
        ("  train: train.csv\n", "", 5, "the splits are train, validation, not validation"),
        ("  train: train.csv", "  train: t.csv\n  test: u.csv", 5, "not train, test, validation"),
        (
            "files:",
            "dev: [a, b]\nsuffixes: [_a, _a]\nfiles:",
            6,
            "one different suffix is needed for each of a, b",
        ),
        ("files:", "rows: {train: 3}\nfiles:", 5, "rows is for the GLUE tasks"),
        ("files:", "test: []\nfiles:", 5, "test is for the GLUE tasks"),
        ("files:", "hub: a/b\nfiles:", 6, "files and hub both say where the rows are"),
        ("files:", "hub: 'a b'\nfiles:", 5, "hub.id: "),
        ("files:", "columns: [subject, body]\nfiles:", 5, "columns: 'folder' is not among them"),
        ("files:", "drop_invalid_rows: perhaps\nfiles:", 5, "drop_invalid_rows: "),
        ("files:", "metrics: [accuracy]\nfiles:", 5, "metrics is there twice"),
        ("files:", "name: cola\nfiles:", 5, "cola is a built-in task"),
        ("files:", "name: my task\nfiles:", 5, "not a plain name"),
        (PLAIN[PLAIN.index("files:") :], "", 1, "files is missing"),
    ],
)
def test_a_mistake_in_the_yaml_is_told_with_its_line_and_key(tmp_path, old, new, line, message):
    assert old in PLAIN
    with pytest.raises(InputError, match=rf"emails\.yaml:{line}: [^;]*{message}"):
        get_task(write(tmp_path, PLAIN.replace(old, new)))


def test_all_mistakes_are_told_at_once_on_one_line(tmp_path):
    path = write(tmp_path, PLAIN.replace("f1, ", "f2, ").replace("[subject, body]", "[a, b, c]"))
    with pytest.raises(InputError) as error:
        get_task(path)
    assert re.findall(r"emails\.yaml:(\d): (\w+)", str(error.value)) == [("1", "text"), ("4", "metrics")]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text: [a, b\nlabel: c\n", r"emails\.yaml:2: not YAML: "),
        ("", r"emails\.yaml: empty"),
        ("- text\n", r"emails\.yaml:1: a task is a list"),
        ("text: \x07\n", r"emails\.yaml: not YAML: "),
    ],
)
def test_what_is_no_yaml_mapping_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        get_task(write(tmp_path, text))


def test_a_yaml_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        get_task(str(tmp_path / "none.yaml"))


BOOLQ = Task(
    name="boolq", text=("question", "passage"), labels=("no", "yes"), metrics=("accuracy",), in_average=False,
    hub={"id": "google/boolq"},
)  # fmt: skip


def test_one_entry_makes_a_task(tmp_path, monkeypatch, call):
    monkeypatch.setitem(text_tasks(), "boolq", BOOLQ)
    code, out, _ = call("ls", "tasks", "--json")
    listed = {"name": "boolq", "texts": "question, passage", "kind": "2 classes", "metrics": "accuracy"}
    assert code == 0
    assert listed in json.loads(out)["tasks"]
    model, output = tiny_checkpoint(tmp_path / "model", "bert"), tmp_path / "out"
    finetune = (
        "finetune",
        "--task",
        "boolq",
        "--method",
        "ft",
        "--model",
        str(model),
        "--output",
        str(output),
    )
    code, _, err = call(*finetune, "--data", "demo")
    assert code == 2
    assert "--data demo: there is no synthetic data for boolq, only for cola" in err
    for split, size in (("train", 4), ("validation", 2)):
        rows = [{"question": "Is it?", "passage": f"It is {i}.", "label": i % 2} for i in range(size)]
        write_jsonl(tmp_path / "data" / "boolq" / f"{split}.jsonl", rows)
    code, out, err = call(*finetune, "--data", str(tmp_path / "data"), "--max-steps", "1", "--json")
    assert code == 0, err
    (run,) = json.loads(out)["runs"]
    assert (run["task"], run["status"], run["score_name"]) == ("boolq", "done", "accuracy")
