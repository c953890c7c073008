"""Reading an experiment: every mistake is told with the file and the line, all of them at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.grid.experiment import (
    Experiment,
    experiment_files,
    find_experiment,
    read_experiment,
)
from sparsegrad_cli.grid.kinds import KINDS
from sparsegrad_cli.store.folder import ResultKind

HEAD = """\
title: a grid
models: [a-model]
tasks: [cola, rte]
methods: [ft, sparsegrad]
"""
OF_THE_PAPER = {f"table {n}" for n in (1, *range(3, 16))} | {"figure 2", "figure 3"}


def mistakes(folder: Path, text: str) -> str:
    """What is said of a YAML, its own path left out."""
    path = folder / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_experiment(path)
    assert "\n" not in str(refused.value)
    return str(refused.value).replace(f"{path}", "x.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "metods: [ft]\n", "x.yaml:5: no key 'metods', .*did you mean methods"),
        (HEAD + "metods:\n- ft\n", "x.yaml:5: no key 'metods'"),
        (HEAD + "1: 2\n", "x.yaml:5: a key must be a word"),
        (HEAD + "? [a, b]\n: 2\n", "x.yaml:5: a key must be a word"),
        (HEAD + "settings:\n  epochs: 3\n  lenght: 9\n", "x.yaml:7: no option .*'lenght', .*mean length"),
        (HEAD + "settings: {seeds: [1]}\n", "x.yaml:5: no option of finetune 'seeds'"),
        (HEAD + "vary:\n  densty: [0.1]\n", "x.yaml:6: no option .*'densty', .*did you mean density"),
        (HEAD + "vary:\n  epochs: 3\n", "x.yaml:6: .*epochs: .*list"),
        (HEAD + "vary:\n  epochs: []\n", "x.yaml:6: .*epochs: .*at least 1"),
        (HEAD + "vary:\n  epochs:\n  - 1\n  - two\n", "x.yaml:8: epochs: .*number.* got 'two'"),
        (HEAD + "settings: {epochs: 1}\nvary: {epochs: [1, 2]}\n", "x.yaml:6: epochs is in settings too"),
        (HEAD + "cases: []\n", "x.yaml:5: cases: .*at least 1"),
        (HEAD + "cases:\n- {}\n- {epoch: 1}\n", "x.yaml:7: no option .*'epoch', .*did you mean epochs"),
        (HEAD + "cases:\n- {}\n- {epochs: x}\n", "x.yaml:7: epochs: .*number.* got 'x'"),
        (HEAD + "cases:\n- {rank: 3}\n", "x.yaml:6: rank is not used by ft, sparsegrad"),
        (HEAD + "settings:\n  epochs: many\n", "x.yaml:6: epochs: .*number.* got 'many'"),
        (HEAD + "settings:\n  batch_size: 16.5\n", "x.yaml:6: batch_size: .*whole number, got 16.5"),
        (HEAD + "settings:\n  batch_size: [16]\n", r"x.yaml:6: batch_size: .*whole number, got \[16\]"),
        (HEAD + "settings:\n  batch_size: 0\n", "x.yaml:6: batch_size: .*at least 1, got 0"),
        (HEAD + "settings:\n  patience: -1\n", "x.yaml:6: patience: .*at least 0, got -1"),
        (HEAD + "settings: {protocol: papr}\n", "x.yaml:5: protocol: .*paper or heldout, got 'papr'"),
        (HEAD + "settings:\n", "x.yaml:5: settings: .*mapping"),
        (HEAD + "seeds: three\n", "x.yaml:5: seeds: .*list"),
        (HEAD + "seeds: []\n", "x.yaml:5: seeds: .*at least 1"),
        (HEAD + "seeds:\n- 0\n- -1\n", "x.yaml:7: a seed is 0 or more, got -1"),
        (HEAD + "seeds:\n- 0\n- 0.5\n", "x.yaml:7: seeds: .*integer"),
        (HEAD + "kind: finetun\n", "x.yaml:5: kind: no kind 'finetun', .*did you mean finetune"),
        (HEAD + "kind: bench\nseeds: [1]\n", "x.yaml:6: bench has no use for seeds"),
        (HEAD + "settings:\n  rank: 4\n", "x.yaml:6: rank is not used by ft, sparsegrad"),
        (HEAD + "seeds: [0]\nseeds: [1]\n", "x.yaml:6: seeds is there twice"),
        (HEAD + "settings:\n  epochs: 1\n  epochs: 2\n", "x.yaml:7: epochs is there twice"),
        (HEAD.replace("rte", "coal"), "x.yaml:3: no task 'coal', .*did you mean cola"),
        (HEAD.replace("ft", "lroa"), "x.yaml:4: no method 'lroa', .*lora, .*did you mean road"),
        (HEAD.replace("a-model", ""), "x.yaml:2: models: .*at least 1"),
        (HEAD.replace("[a-model]", "a-model"), "x.yaml:2: models: .*list"),
        (HEAD.replace("title", "# title"), "x.yaml:2: title: field required"),
        (HEAD.replace("tasks", "# tasks"), "x.yaml:1: finetune needs tasks"),
        (HEAD + "seeds: [0\n", "x.yaml:6: not YAML"),
        (HEAD + "\tseeds: [0]\n", "x.yaml:5: not YAML: .*'.t'"),
        (HEAD + "seeds: !!python/object:os.system [0]\n", "x.yaml:5: not YAML: .*os.system"),
        (HEAD + "settings: &it {epochs: *it}\n", "x.yaml.*itself"),
        (HEAD + "---\n" + HEAD, "x.yaml:5: not YAML"),
        ("- a\n- b\n", "x.yaml:1: an experiment is a mapping"),
        ("a grid\n", "x.yaml:1: an experiment is a mapping"),
        ("", "x.yaml: empty"),
        ("# to be written\n", "x.yaml: empty"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, says, tmp_path):
    assert re.match(says, mistakes(tmp_path, text))


OVERRIDE = HEAD + "settings: {epochs: 1}\noverrides:\n- when: {task: cola}\n  set: {epochs: 2}\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cola}", "mnli}"), "x.yaml:7: no task of this experiment 'mnli', there are cola, rte"),
        (("task:", "method:"), "x.yaml:7: no method of this experiment 'cola'"),
        (("task:", "model:"), "x.yaml:7: no model of this experiment 'cola'"),
        (("task:", "tsk:"), "x.yaml:7: .*tsk"),
        (("settings: {epochs: 1}", "vary: {epochs: [1]}"), "x.yaml:8: epochs is in vary too"),
        (("{epochs: 2}", "{epochs: 2}\n  vary: {epochs: [1]}"), "x.yaml:8: epochs is in vary too"),
        (("set: {epochs: 2}", "vary: {epochs: [1, x]}"), "x.yaml:8: epochs: .*number.* got 'x'"),
        (("  set: {epochs: 2}\n", ""), "x.yaml:7: an override has a set or a vary"),
        (("epochs: 2", "epoch: 2"), "x.yaml:8: no option of finetune 'epoch', .*did you mean epochs"),
        (("epochs: 2", "epochs: x"), "x.yaml:8: epochs: .*number.* got 'x'"),
        (("epochs: 2", "rank: 2"), "x.yaml:8: rank is not used by ft, sparsegrad"),
        (("task: cola}\n  set: {epochs", "method: ft}\n  set: {kept"), "x.yaml:8: kept is not used by ft:"),
        (("- when: {task: cola}\n  set", "- set"), "x.yaml:7: .*when: field required"),
    ],
)
def test_an_override_that_fits_nothing_or_sets_nothing_is_told(change, says, tmp_path):
    assert re.match(says, mistakes(tmp_path, OVERRIDE.replace(*change)))


def test_an_override_of_what_a_cell_is_not_of_is_told(tmp_path):
    text = HEAD + "kind: bench\noverrides:\n- when: {method: ft}\n  set: {steps: 2}\n"
    assert "x.yaml:7: a cell of bench is of no single method" in mistakes(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path):
    text = "title: t\nmodels: [m]\ntasks: [coal]\nmethods: [lroa]\nseeds: [-1]\nsettings:\n  epoch: 3\n"
    said = mistakes(tmp_path, text).split("; x.yaml")
    assert [part.removeprefix("x.yaml").split(":")[1] for part in said] == ["5", "4", "3", "7"]


def test_a_file_that_is_not_text_is_told(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"title: \xff\xfe\n")
    with pytest.raises(InputError, match=r"x\.yaml: not YAML"):
        read_experiment(path)


words = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Experiment.model_fields]) | words, values))
def test_whatever_a_file_says_is_read_or_refused_in_words(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("any") / "x.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    refused = None
    try:
        read_experiment(path)
    except InputError as error:
        refused = error
    assert refused is None or str(refused).startswith(f"{path}:")


@settings(max_examples=20)
@given(st.integers(0, 30), st.sampled_from(["metods", "setings", "seed"]))
def test_the_line_is_that_of_the_mistake_wherever_it_stands(tmp_path_factory, blanks, name):
    text = HEAD + "\n" * blanks + f"{name}: 1\n"
    said = mistakes(tmp_path_factory.mktemp("any"), text)
    assert said.startswith(f"x.yaml:{text.splitlines().index(f'{name}: 1') + 1}: no key '{name}'")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_settings_and_a_kind_of_result(name):
    kind = KINDS[name]
    assert kind.name == name
    assert isinstance(kind.results, ResultKind)
    assert kind.settings or name == "parameters"


@pytest.mark.parametrize("path", experiment_files(), ids=lambda path: path.stem)
def test_every_experiment_of_ours_is_valid_and_found_by_its_name(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = read_experiment(path)
    assert find_experiment(path.stem) == find_experiment(f"experiments/{path.name}") == path
    assert read.experiment.reproduces is None or read.experiment.reproduces in OF_THE_PAPER


def test_each_table_and_figure_of_the_paper_has_an_experiment():
    read = [read_experiment(path).experiment for path in experiment_files()]
    reproduced = [experiment.reproduces for experiment in read if experiment.reproduces]
    assert sorted(reproduced) == sorted(OF_THE_PAPER)


@pytest.mark.parametrize("name", ["table-10-roberta-base", "tabel10-roberta-base.yaml"])
def test_a_misspelt_experiment_is_told_with_the_nearest(name):
    with pytest.raises(InputError, match="did you mean table10-roberta-base"):
        find_experiment(name)
