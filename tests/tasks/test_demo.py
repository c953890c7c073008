"""The demo tasks: as many rows as promised, the same everywhere, labels not to be had by counting words."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, matthews_corrcoef

from sparsegrad_cli.tasks import get_task, task_names
from sparsegrad_cli.tasks.demo import DEMO_ROWS, demo_rows

SPLITS = [(task, split) for task in DEMO_ROWS for split in DEMO_ROWS[task]]
DEV_SPLITS = [(task, split) for task, split in SPLITS if split != "train"]

PINNED = "9349158c2e03b4eecd4735599fe92087da3173d2134eef64bac8436438361bec"

DIGEST = """
import hashlib, json
from sparsegrad_cli.tasks.demo import DEMO_ROWS, demo_rows
rows = [demo_rows(task, split) for task in DEMO_ROWS for split in DEMO_ROWS[task]]
print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())
"""


def texts(task, split, seed=0):
    columns = get_task(task).text
    return [[row[column] for row in demo_rows(task, split, seed)] for column in columns]


def labels(task, split):
    return np.array([row["label"] for row in demo_rows(task, split)])


def test_every_task_has_its_splits():
    assert list(DEMO_ROWS) == task_names()
    for name in task_names():
        task = get_task(name)
        assert list(DEMO_ROWS[name]) == [task.train, *task.dev]


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_rows_are_as_promised(task, split):
    rows = demo_rows(task, split)
    assert len(rows) == DEMO_ROWS[task][split]
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
    assert max(shares.values()) < 1.35 * DEMO_ROWS[task][split] / classes


def test_similarity_covers_its_range():
    for split in DEMO_ROWS["stsb"]:
        values = labels("stsb", split)
        assert values.dtype == float
        assert 0 <= values.min() < 1
        assert 4.5 < values.max() <= 5
        assert all(((values >= low) & (values < low + 1.01)).mean() > 0.05 for low in range(5))


def test_seed_changes_the_rows():
    for task, split in SPLITS:
        assert texts(task, split, seed=0) != texts(task, split, seed=1)
        assert demo_rows(task, split) == demo_rows(task, split, seed=0)


def test_rows_do_not_depend_on_the_order_of_hashes():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_rows_are_the_same_bytes_on_every_machine():
    """Scores are compared between machines: a change of the demo data is meant to be seen here."""
    rows = [demo_rows(task, split) for task, split in SPLITS]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == PINNED


def test_counting_rows_loads_nothing_heavy():
    code = (
        "import sys; from sparsegrad_cli.tasks.demo import DEMO_ROWS, demo_rows; demo_rows('cola', 'train');"
        "print(sorted({'torch', 'numpy', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


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
