"""The synthetic data: the rows that scores are compared on, labels that counting words does not give away."""

import gzip
import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, matthews_corrcoef

import sparsegrad_cli.tasks
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import chat_task_names, get_task, task_names
from sparsegrad_cli.tasks.load import load_data
from sparsegrad_cli.tasks.oasst import load_chat

DEMO = Path(sparsegrad_cli.tasks.__file__).parent / "demo"
TASKS = task_names()
SPLITS = [(task, split) for task in TASKS for split in (get_task(task).train, *get_task(task).dev)]
DEV_SPLITS = [(task, split) for task, split in SPLITS if split != "train"]
ROWS = {
    "cola": {"train": 1600, "validation": 400},
    "sst2": {"train": 1200},
    "wnli": {"train": 1200, "validation": 200},
}

# SHA-256 of the rows of all GLUE tasks, and of oasst1, as JSON
GLUE = "9349158c2e03b4eecd4735599fe92087da3173d2134eef64bac8436438361bec"
OASST1 = "f09faffcd0df39ec688b61749ef92f0e05dd901cace44dc1a67d3d5d7290435b"


@cache
def read(task, split):
    lines = gzip.decompress((DEMO / task / f"{split}.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in lines.splitlines()]


def texts(task, split):
    return [[row[column] for row in read(task, split)] for column in get_task(task).text]


def labels(task, split):
    return np.array([row["label"] for row in read(task, split)])


def size(task, split):
    return ROWS.get(task, {}).get(split, 1600 if split == "train" else 300)


def test_every_built_in_task_has_demo_data():
    assert sorted(path.name for path in DEMO.iterdir()) == sorted(TASKS + chat_task_names())


def test_a_task_without_demo_data_is_refused():
    task = get_task("cola").model_copy(update={"name": "newtask"})
    with pytest.raises(
        InputError, match="--data demo: there is no synthetic data for newtask, only for cola"
    ):
        load_data(task, "demo")
    chat = get_task("oasst1").model_copy(update={"name": "newchat"})
    with pytest.raises(InputError, match="--data demo: there is no synthetic data for newchat"):
        load_chat(chat, "demo")


def test_glue_rows_are_the_pinned_ones():
    rows = [read(task, split) for task, split in SPLITS]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == GLUE


def test_conversations_are_the_pinned_ones():
    rows = [read("oasst1", split) for split in ("train", "validation")]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == OASST1


@pytest.mark.parametrize("task", TASKS)
def test_all_rows_are_loaded(task):
    for split, dataset in load_data(get_task(task), "demo").splits.items():
        assert dataset["idx"][:] == list(range(size(task, split)))
        assert dataset["label"][:] == pytest.approx(labels(task, split).tolist())


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_rows_are_as_promised(task, split):
    rows = read(task, split)
    assert len(rows) == size(task, split)
    assert [row["idx"] for row in rows] == list(range(len(rows)))
    assert all(list(row) == ["idx", *get_task(task).text, "label"] for row in rows)
    assert len(set(zip(*texts(task, split), strict=True))) == len(rows)


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_texts_read_as_sentences(task, split):
    for column in texts(task, split):
        for text in column:
            assert text[0].isupper() or text[0].isdigit(), text
            assert text[-1] in ".?", text
            assert "  " not in text, text
            assert "{" not in text, text
            assert len(text.split()) <= 30, text


@pytest.mark.parametrize(("task", "split"), DEV_SPLITS)
def test_no_text_of_dev_is_in_train(task, split):
    train = {text for column in texts(task, "train") for text in column}
    dev = {text for column in texts(task, split) for text in column}
    assert not train & dev


@pytest.mark.parametrize(("task", "split"), [s for s in SPLITS if s[0] != "stsb"])
def test_classes_are_balanced(task, split):
    classes = len(get_task(task).labels)
    shares = Counter(labels(task, split).tolist())
    assert sorted(shares) == list(range(classes))
    assert max(shares.values()) < 1.35 * size(task, split) / classes


def test_similarity_covers_its_range():
    for split in ("train", "validation"):
        values = labels("stsb", split)
        assert values.dtype == float
        assert 0 <= values.min() < 1
        assert 4.5 < values.max() <= 5
        assert all(((values >= low) & (values < low + 1.01)).mean() > 0.05 for low in range(5))


def guess(task, features):
    """Predictions for the first dev split of a linear model on `features` of the texts."""
    train, dev = "train", get_task(task).dev[0]
    inputs = features(texts(task, train), texts(task, dev))
    model = LogisticRegression(C=0.3, max_iter=500).fit(inputs[0], labels(task, train))
    return labels(task, dev), model.predict(inputs[1])


def words(train, dev):
    counters = [CountVectorizer(token_pattern=r"\S+").fit(column) for column in train]
    return [
        hstack([counter.transform(column) for counter, column in zip(counters, split, strict=True)])
        for split in (train, dev)
    ]


def lengths(train, dev):
    def sizes(row):
        return [size for text in row for size in (len(text), len(text.split()))]

    return [np.array([sizes(row) for row in zip(*split, strict=True)]) for split in (train, dev)]


@pytest.mark.parametrize("features", [words, lengths])
def test_acceptability_is_not_in_the_words(features):
    assert matthews_corrcoef(*guess("cola", features)) < 0.3


LIMITS = {"mnli": 0.6, "rte": 0.65, "mrpc": 0.72, "qnli": 0.65, "qqp": 0.65, "wnli": 0.6}


@pytest.mark.parametrize("features", [words, lengths])
@pytest.mark.parametrize("task", LIMITS)
def test_labels_are_not_in_the_words(task, features):
    assert accuracy_score(*guess(task, features)) < LIMITS[task]
