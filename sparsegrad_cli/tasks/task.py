"""What a task is: the record behind an entry of `glue.yaml` and behind a user's own YAML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from ..errors import InputError, unknown
from ..store.schema import Record

CLASSIFICATION_METRICS = ("accuracy", "f1", "matthews_correlation")
REGRESSION_METRICS = ("pearson", "spearman")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_names(value: object) -> object:
    """Class names such as 1, 2, 3 need no quotes; yes and no do, YAML reads them as true and false."""
    if not isinstance(value, list | tuple):
        return value
    if any(isinstance(name, bool) for name in value):
        raise ValueError("yes, no, true and false are not names in YAML: write them in quotes")
    return [str(name) if isinstance(name, int | float) else name for name in value]


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_as_names), Field(min_length=2)]


class TsvLayout(Record):
    """Where the classic `glue_data` folder keeps a task: tab-separated files, nothing quoted."""

    folder: str
    files: dict[str, str] = Field({"train": "train.tsv", "validation": "dev.tsv"})  # split -> file
    columns: dict[str, str] = Field(default_factory=dict)  # our name of a column -> theirs, where it differs
    header: tuple[str, ...] | None = None  # the columns of files that have no header line


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
    rows: dict[str, int] | None = None  # rows of the official splits; None: a user's task
    majority: float | None = None  # accuracy of always saying the commonest class of the dev split
    in_average: bool = True  # whether the mean over tasks counts it
    version: int = 1
    tsv: TsvLayout | None = None
    files: dict[str, str] | None = None  # a user's task: split -> path

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers on a scale, not classes."""
        return self.labels is None

    @property
    def score_name(self) -> str:
        """The main metric on the dev split that selects, such as `accuracy_m`."""
        return f"{self.metrics[0]}{self.suffixes[0]}"

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(f"{name!r} is not a plain name: use letters, digits, '-', '_' and '.'")
        return name

    @field_validator("text")
    @classmethod
    def _text_is_one_or_two(cls, text: tuple[str, ...]) -> tuple[str, ...]:
        if len(text) > 2 or len(set(text)) < len(text):
            raise ValueError(f"one or two different text columns are needed, not {', '.join(text)}")
        if taken := {"idx", "label"} & set(text):
            raise ValueError(f"a text column cannot be called {taken.pop()!r}: rename it in the files")
        return text

    @field_validator("label")
    @classmethod
    def _label_is_no_text(cls, label: str, info: ValidationInfo) -> str:
        if label in info.data.get("text", ()):
            raise ValueError(f"column {label!r} is a text column already")
        return label

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels and len(set(labels)) < len(labels):
            raise ValueError(f"the same class is named twice in {', '.join(labels)}")
        return labels

    @field_validator("range")
    @classmethod
    def _range_fits(
        cls, bounds: tuple[float, float] | None, info: ValidationInfo
    ) -> tuple[float, float] | None:
        if bounds and info.data.get("labels"):
            raise ValueError("labels are for classes and range is for regression: give one of the two")
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"the lowest label comes first, not {bounds[0]:g}, {bounds[1]:g}")
        return bounds

    @field_validator("metrics")
    @classmethod
    def _metrics_fit(cls, metrics: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = CLASSIFICATION_METRICS + REGRESSION_METRICS
        for metric in metrics:
            if metric not in known:
                raise ValueError(unknown("metric", metric, known))
            if "labels" in info.data and (metric in REGRESSION_METRICS) != (info.data["labels"] is None):
                needs = "no labels" if metric in REGRESSION_METRICS else "labels, the names of the classes"
                raise ValueError(f"{metric} needs {needs}")
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"the same metric is named twice in {', '.join(metrics)}")
        return metrics

    @field_validator("suffixes")
    @classmethod
    def _suffixes_tell_splits_apart(cls, suffixes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        dev = info.data.get("dev", suffixes)
        if len(suffixes) != len(dev) or len(set(suffixes)) < len(suffixes):
            raise ValueError(f"one different suffix is needed for each of {', '.join(dev)}")
        return suffixes

    @field_validator("files")
    @classmethod
    def _files_are_the_splits(
        cls, files: dict[str, str] | None, info: ValidationInfo
    ) -> dict[str, str] | None:
        splits = [info.data.get("train", "train"), *info.data.get("dev", ())]
        if files is not None and set(files) != set(splits):
            raise ValueError(f"the splits are {', '.join(splits)}, not {', '.join(files) or 'none'}")
        return files


Mistake = tuple[tuple[str | int, ...], str]  # the keys that lead to it, what is wrong

_OFFICIAL_KEYS = ("rows", "tsv")  # they describe the releases of GLUE


def read_entry(path: Path, taken: Collection[str]) -> Task:
    """The task that a YAML file describes.

    Args:
        path: the file; `files` in it are relative to its folder, and `name` is its stem where it gives none.
        taken: names that the task may not have.

    Returns:
        The task, its `files` ready to open.

    Raises:
        InputError: the file cannot be read or describes no task; tells every mistake with its line.
    """
    root, entry = _parse(path)
    entry.setdefault("name", path.stem)
    mistakes = [*_repeated_keys(root), *_own_mistakes(entry, taken)]
    try:
        task = Task.model_validate(entry)
    except ValidationError as error:
        mistakes += [
            (found["loc"], _explain(found["type"], found["loc"], found["msg"])) for found in error.errors()
        ]
    if mistakes:
        raise InputError("; ".join(f"{path}:{_line(root, keys)}: {what}" for keys, what in mistakes))
    files = {split: str(path.parent / file) for split, file in task.files.items()}
    return task.model_copy(update={"files": files})


def _parse(path: Path) -> tuple[yaml.MappingNode, dict[str, object]]:
    """The YAML as nodes, which know their lines, and as values."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        entry = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML text: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(root, yaml.MappingNode):
        raise InputError(
            f"{path}:1: a task is a list of 'key: value' lines: text, labels, metrics, files, ..."
        )
    return root, entry


def _repeated_keys(root: yaml.MappingNode) -> Iterator[Mistake]:
    """YAML itself would keep the last value and drop the others."""
    counts = Counter(key.value for key, _ in root.value)
    for key, count in counts.items():
        if count > 1:
            yield (key,), f"{key} is given {count} times: keep one"


def _own_mistakes(entry: dict[str, object], taken: Collection[str]) -> Iterator[Mistake]:
    """What a task of GLUE may have or lack and a user's may not."""
    for key in _OFFICIAL_KEYS:
        if key in entry:
            yield (key,), f"{key} is for the GLUE tasks: leave it out"
    if entry.get("files") is None:
        yield ("files",), "files is missing: the path of each split, as in {train: a.csv, validation: b.csv}"
    if entry["name"] in taken:
        yield ("name",), f"{entry['name']} is a built-in task: give this one another name"


def _explain(kind: str, keys: tuple[str | int, ...], message: str) -> str:
    name = ".".join(str(key) for key in keys)
    if kind == "extra_forbidden":
        return unknown("key", name, [key for key in Task.model_fields if key not in _OFFICIAL_KEYS])
    if kind == "missing":
        return f"{name} is missing"
    return f"{name}: {message.removeprefix('Value error, ')}"


def _line(node: yaml.Node, keys: tuple[str | int, ...]) -> int:
    """The line, from 1, of the innermost of the keys that the file has."""
    line = node.start_mark.line
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            below = {name.value: (name, value) for name, value in node.value}.get(str(key))
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            below = (node.value[key], node.value[key])
        else:
            below = None
        if below is None:
            break
        line, node = below[0].start_mark.line, below[1]
    return line + 1


class ChatTask(Record):
    """Conversations between a user and an assistant, to be continued by a causal language model."""

    name: str
    hub: str  # the id of the data set on the hub
    train: str = "train"
    dev: tuple[str, ...] = ("validation",)  # the first selects and gives the score
    suffixes: tuple[str, ...] = ("",)  # of the metrics' names, one for each dev split
    metrics: tuple[str, ...] = ("loss",)
    in_average: bool = False  # whether the mean over tasks counts it
    version: int = 1

    @property
    def score_name(self) -> str:
        """The main metric: nats a token of the turns that count; lower is better."""
        return f"{self.metrics[0]}{self.suffixes[0]}"


@dataclass(frozen=True)
class HiddenSplit:
    """A test split, and the file of a submission that answers it."""

    name: str  # among the splits of its task
    place: str  # on the hub and in folders of JSON lines: task/split
    tsv: str  # in the classic `glue_data` folder; has a header line
    rows: int
    file: str
    optional: bool = False  # copies of GLUE often lack it
    majority: int | None = None  # the commonest class of dev, where leaving the task out is usual


LEADERBOARD: dict[str, tuple[HiddenSplit, ...]] = {
    "cola": (HiddenSplit("test", "cola/test", "CoLA/test.tsv", 1063, "CoLA.tsv"),),
    "sst2": (HiddenSplit("test", "sst2/test", "SST-2/test.tsv", 1821, "SST-2.tsv"),),
    "mrpc": (HiddenSplit("test", "mrpc/test", "MRPC/test.tsv", 1725, "MRPC.tsv"),),
    "stsb": (HiddenSplit("test", "stsb/test", "STS-B/test.tsv", 1379, "STS-B.tsv"),),
    "qqp": (HiddenSplit("test", "qqp/test", "QQP/test.tsv", 390965, "QQP.tsv"),),
    "mnli": (
        HiddenSplit("test_matched", "mnli/test_matched", "MNLI/test_matched.tsv", 9796, "MNLI-m.tsv"),
        HiddenSplit(
            "test_mismatched", "mnli/test_mismatched", "MNLI/test_mismatched.tsv", 9847, "MNLI-mm.tsv"
        ),
        HiddenSplit("ax", "ax/test", "diagnostic/diagnostic.tsv", 1104, "AX.tsv", optional=True),
    ),
    "qnli": (HiddenSplit("test", "qnli/test", "QNLI/test.tsv", 5463, "QNLI.tsv"),),
    "rte": (HiddenSplit("test", "rte/test", "RTE/test.tsv", 3000, "RTE.tsv"),),
    "wnli": (HiddenSplit("test", "wnli/test", "WNLI/test.tsv", 146, "WNLI.tsv", majority=0),),
}
IN_WORDS = ("mnli", "qnli", "rte")  # tasks whose predictions are names of classes; of others, ids


Reason = Literal[
    "message id twice",
    "missing parent",
    "two roots",
    "cycle",
    "unknown role",
    "roles do not alternate",
    "empty text",
]

# of trees that are well formed; they are only counted, as there may be thousands
OTHER_LANGUAGE = "other language"
NOT_READY = "not ready for export"
NO_ANSWER = "no answer"


@dataclass(frozen=True)
class LeftOut:
    """A malformed tree, which is left out whole."""

    tree: str  # its id
    reason: Reason
    place: str  # file, line and id of the message that shows it
