"""What a task is: the records behind the entries of `glue.yaml` and `chat.yaml`, and a user's own YAML."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from ..errors import InputError, unknown
from ..settings import Record
from ..yaml_lines import Keys, read_yaml

CLASSIFICATION_METRICS = ("accuracy", "f1", "matthews_correlation")
REGRESSION_METRICS = ("pearson", "spearman")
BUILT_IN_KEYS = ("rows", "tsv", "test")  # they describe the releases of GLUE

# the keys that decide what a run learns and how it is scored, whatever the rows
DEFINITION = {"text", "label", "labels", "range", "train", "dev", "suffixes", "metrics", "version"}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_names(value: object) -> object:
    """Class names such as 1, 2, 3 need no quotes; yes and no do: YAML reads them as true and false."""
    if not isinstance(value, list | tuple):
        return value
    if any(isinstance(name, bool) for name in value):
        raise ValueError("yes, no, true and false are not names in YAML: write them in quotes")
    return [str(name) if isinstance(name, int | float) else name for name in value]


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_as_names), Field(min_length=2)]


class HubData(Record):
    """A data set on the Hugging Face hub: parquet files such as `<config>/train-00000-of-00001.parquet`."""

    id: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")  # such as nyu-mll/glue
    config: str = Field("data", pattern=r"^[\w.-]+(/[\w.-]+)*$")  # the folder of its files


Hub = Annotated[HubData, BeforeValidator(lambda value: {"id": value} if isinstance(value, str) else value)]


class TsvLayout(Record):
    """Where the classic `glue_data` folder keeps a task: tab-separated files, nothing quoted."""

    folder: str
    files: dict[str, str] = Field({"train": "train.tsv", "validation": "dev.tsv"})  # split -> file
    names: dict[str, str] = Field(default_factory=dict)  # our name of a column -> theirs, where it differs
    columns: tuple[str, ...] | None = None  # all columns of files that have no header line


class TestSplit(Record):
    """A test split, whose labels only GLUE's leaderboard has, and the file that the leaderboard takes."""

    name: str  # among the splits of its task
    path: str  # folder/split on the hub and in folders of JSON lines
    tsv: str  # in the classic `glue_data` folder; has a header line
    rows: int
    file: str  # in a submission: `index`, from 0, and `prediction`
    class_names: bool = False  # whether predictions are names of classes there, not ids
    optional: bool = False  # copies of GLUE often lack it
    majority: int | None = None  # the commonest class of dev, where leaving the task out is usual


class ChatTask(Record):
    """Conversations between a user and an assistant, to be continued by a causal language model."""

    name: str
    hub: Hub
    train: str = "train"
    dev: tuple[str, ...] = ("validation",)  # the first selects and gives the score
    suffixes: tuple[str, ...] = ("",)  # of the metrics' names, one for each dev split
    metrics: tuple[str, ...] = ("loss",)  # in nats a token of the turns that count
    in_average: bool = False  # whether the mean over tasks counts it
    version: int = 1  # raise it to tell runs of a changed task from earlier ones

    @property
    def score_name(self) -> str:
        """The main metric on the dev split that selects; lower is better."""
        return f"{self.metrics[0]}{self.suffixes[0]}"


class Task(Record):
    """A text classification or regression task."""

    name: str
    text: Names  # one or two text columns
    label: str = "label"  # the label column
    labels: ClassNames | None = None  # class names in id order; None: regression
    range: tuple[float, float] | None = None  # regression: lowest and highest label
    metrics: Names  # the first is the main metric
    train: str = "train"
    dev: Names = ("validation",)  # the first selects and gives the score
    suffixes: Names = Field(("",), validate_default=True)  # of the metrics' names, one for each dev split
    in_average: bool = True  # whether the mean over tasks counts it
    version: int = 1  # raise it to tell runs of a changed task from earlier ones
    majority: float | None = None  # accuracy of always saying the commonest class of the dev split
    drop_invalid_rows: bool = False  # leave rows without text or label out and count them, not refuse them
    hub: Hub | None = None  # where --data hub reads
    files: dict[str, str] | None = None  # a user's task: split -> path
    columns: Names | None = None  # a user's task: all columns of .tsv or .csv files without a header line
    rows: dict[str, int] | None = None  # rows of the official splits; None: a user's task
    tsv: TsvLayout | None = None
    test: tuple[TestSplit, ...] = ()

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers on a scale, not classes."""
        return self.labels is None

    @property
    def score_name(self) -> str:
        """The main metric on the dev split that selects, such as `accuracy_m`."""
        return f"{self.metrics[0]}{self.suffixes[0]}"

    @field_validator("*")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Any:
        """Check a value alone, and beside those of the fields before it."""
        assert info.field_name is not None
        problem = _problem(info.field_name, value, info.data)
        if problem:
            raise ValueError(problem)
        return value


def _problem(field: str, value: Any, others: Mapping[str, Any]) -> str | None:
    """Returns what is wrong with a value of `Task`, beside the valid values of the fields before it."""
    if value is None:
        return None
    match field:
        case "name":
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
                return f"{value!r} is not a plain name: use letters, digits, '-', '_' and '.'"
        case "text":
            if len(value) > 2 or len(set(value)) < len(value):
                return f"one or two different text columns are needed, not {', '.join(value)}"
            if taken := {"idx", "label"} & set(value):
                return f"a text column cannot be called {taken.pop()!r}: rename it in the files"
        case "label":
            if value in others.get("text", ()):
                return f"column {value!r} is a text column already"
        case "labels":
            if len(set(value)) < len(value):
                return f"the same class is named twice in {', '.join(value)}"
        case "range":
            if others.get("labels"):
                return "labels are for classes and range is for regression: give one of the two"
            if not value[0] < value[1]:
                return f"the lowest label comes first, not {value[0]:g}, {value[1]:g}"
        case "metrics":
            known = CLASSIFICATION_METRICS + REGRESSION_METRICS
            for metric in value:
                if metric not in known:
                    return unknown("metric", metric, known)
                if "labels" in others and (metric in REGRESSION_METRICS) != (others["labels"] is None):
                    needs = (
                        "no labels" if metric in REGRESSION_METRICS else "labels, the names of the classes"
                    )
                    return f"{metric} needs {needs}"
            if len(set(value)) < len(value):
                return f"the same metric is named twice in {', '.join(value)}"
        case "suffixes":
            dev = others.get("dev", value)
            if len(value) != len(dev) or len(set(value)) < len(value):
                return f"one different suffix is needed for each of {', '.join(dev)}"
        case "files":
            splits = [others.get("train", "train"), *others.get("dev", ())]
            if set(value) != set(splits):
                return f"the splits are {', '.join(splits)}, not {', '.join(value) or 'none'}"
            if others.get("hub") is not None:
                return "files and hub both say where the rows are: give one of the two"
        case "columns":
            if others.get("files") is None:
                return "it describes the task's files, and there are none"
            if len(set(value)) < len(value):
                return f"the same column is named twice in {', '.join(value)}"
            for needed in (*others.get("text", ()), others.get("label", value[0])):
                if needed not in value:
                    return f"{needed!r} is not among them"
    return None


def read_task(path: Path, taken: Collection[str]) -> Task:
    """Read a user's task from YAML.

    Args:
        path: the file; `files` in it are relative to its folder, and `name` is its stem where it gives none.
        taken: names that the task may not have.

    Returns:
        The task, its `files` ready to open.

    Raises:
        InputError: the file cannot be read or describes no task; names every mistake with its line.
    """
    entry, lines = read_yaml(path)
    if not isinstance(entry, dict):
        raise InputError(
            f"{lines.at(())}: a task is a list of 'key: value' lines: text, labels, metrics, ..."
        )
    entry.setdefault("name", path.stem)
    # what a built-in task may have or lack and a user's may not
    mistakes: list[tuple[Keys, str]] = [
        ((key,), f"{key} is for the GLUE tasks: leave it out") for key in BUILT_IN_KEYS if key in entry
    ]
    if entry.get("files") is None and entry.get("hub") is None:
        missing = (
            "files is missing: the path of each split, as in {train: a.csv, validation: b.csv}; "
            "or hub, the id of a data set on the Hugging Face hub"
        )
        mistakes.append((("files",), missing))
    if entry["name"] in taken:
        mistakes.append((("name",), f"{entry['name']} is a built-in task: give this one another name"))
    try:
        task = Task.model_validate(entry)
    except ValidationError as error:
        mistakes += [
            (each["loc"], _explain(each["type"], each["loc"], each["msg"])) for each in error.errors()
        ]
    if mistakes:
        raise InputError("; ".join(f"{lines.at(keys)}: {what}" for keys, what in mistakes))
    files = {split: str(path.parent / file) for split, file in (task.files or {}).items()}
    return task.model_copy(update={"files": files or None})


def _explain(kind: str, keys: tuple[str | int, ...], message: str) -> str:
    name = ".".join(str(key) for key in keys)
    if kind == "extra_forbidden":
        return unknown("key", name, [key for key in Task.model_fields if key not in BUILT_IN_KEYS])
    if kind == "missing":
        return f"{name} is missing"
    return f"{name}: {message.removeprefix('Value error, ')}"
