"""What a task is: the record behind an entry of `glue.yaml` and behind a user's own YAML."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from ..errors import unknown
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
