"""The paper's numbers as the package has them."""

from __future__ import annotations

import json

import pytest

from sparsegrad_cli.paper import GLUE, TABLES, paper_cells, paper_family, paper_hyperparameters, same_model


def test_every_record_is_that_of_the_source(shared):
    source = json.loads((shared / "paper" / "tables.json").read_text(encoding="utf-8"))
    mine = json.loads(TABLES.read_text(encoding="utf-8"))
    assert sorted(map(json.dumps, mine)) == sorted(map(json.dumps, source))


def test_all_the_papers_tables_are_read():
    sizes = {table: len(paper_cells(table)) for table in range(1, 17)}
    assert sum(sizes.values()) == len(json.loads(TABLES.read_text(encoding="utf-8")))
    assert [table for table, size in sizes.items() if not size] == [2, 16]


def test_the_averages_of_table_5_are_those_of_tables_9_and_10():
    averages = {(c.model, c.method): c.value for t in (9, 10) for c in paper_cells(t) if c.column == "avg"}
    assert {(c.model, c.method): c.value for c in paper_cells(5)} == averages


@pytest.mark.parametrize(("by_kept", "by_task"), [(11, 9), (12, 10)])
def test_what_keeps_all_entries_has_the_numbers_of_sparsegrad_in_the_table_of_all_tasks(by_kept, by_task):
    whole = {c.column: c.value for c in paper_cells(by_kept) if c.kept_percent == 100}
    sparsegrad = {c.column: c.value for c in paper_cells(by_task) if c.method == "sparsegrad"}
    assert whole == {column: sparsegrad[column] for column in whole}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("roberta-base", "roberta-base"),
        ("FacebookAI/roberta-base", "roberta-base"),
        ("/models/roberta-base/", "roberta-base"),
        ("google-bert/bert-base-uncased", "bert-base"),
        ("bert-base-cased", "bert-base"),
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"),
        ("FacebookAI/xlm-roberta-base", None),
        ("meta-llama/Llama-2-7b-chat-hf", None),
        ("bert-base-multilingual-cased", None),
        ("demo", None),
    ],
)
def test_a_model_is_the_papers_under_any_owner_and_no_other(name, family):
    assert paper_family(name) == family
    assert family is None or same_model(name, family)


def test_hyperparameters_are_there_for_every_model_and_task():
    for model in ("bert-base-uncased", "roberta-base", "roberta-large"):
        assert all(paper_hyperparameters(model, task) for task in GLUE)
    found = paper_hyperparameters("FacebookAI/roberta-base", "rte")
    assert found == (3.05e-5, 32, "paper table 14")
    assert paper_hyperparameters("roberta-base", "wnli") is None
    assert paper_hyperparameters("demo", "rte") is None
