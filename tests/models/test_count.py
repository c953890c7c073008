"""Where models keep their parameters, and what is stored of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsegrad_cli.errors import UnreadableResultWarning
from sparsegrad_cli.models.count import count_parameters, store_counts
from sparsegrad_cli.paper import paper_cells, same_model
from sparsegrad_cli.report import build_report
from sparsegrad_cli.store.folder import COUNTS, read_all

from ..report.runs import write_run


@pytest.mark.parametrize(
    "model", ["bert-base-uncased", "FacebookAI/roberta-base", "meta-llama/Llama-2-7b-hf"]
)
def test_table_1_comes_back_to_the_papers_rounding(tmp_path, model):
    parts = store_counts(model, tmp_path).parts
    assert parts.mlp + parts.embeddings + parts.attention + parts.rest == parts.total
    theirs = {cell.column: cell.value for cell in paper_cells(1) if same_model(model, cell.model)}
    ours = {"full": parts.total, "mlp": parts.mlp, "embeddings": parts.embeddings}
    for column, size in {**ours, "attention": parts.attention}.items():
        assert size / 1e6 == pytest.approx(theirs[column], rel=0.03 if column != "embeddings" else 0.32)


def test_a_tensor_in_two_places_counts_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.Embedding(7, 3)
            self.layers = nn.ModuleList(
                [nn.ModuleDict({"attention": nn.Linear(3, 3), "mlp": nn.Linear(3, 5)})]
            )
            self.norm = nn.LayerNorm(3)
            self.output = nn.Linear(3, 7, bias=False)
            self.output.weight = self.embeddings.weight

    with torch.device("meta"):
        parts = count_parameters(Tied())
    assert parts.model_dump() == {"total": 59, "mlp": 20, "embeddings": 21, "attention": 12, "rest": 6}


def test_what_was_counted_is_read_again_and_is_no_run(tmp_path):
    result = store_counts("bert-base-uncased", tmp_path)
    assert store_counts("bert-base-uncased", tmp_path) == result
    (found,) = read_all(COUNTS, [tmp_path, tmp_path / "parameters" / result.id])
    assert (found.config.model, found.result) == ("bert-base-uncased", result)
    (note,) = build_report([tmp_path]).notes
    assert "table 1" in note
    write_run(tmp_path)
    assert len(build_report([tmp_path]).groups) == 1


def test_a_damaged_count_is_named(tmp_path):
    result = store_counts("bert-base-uncased", tmp_path)
    (tmp_path / "parameters" / result.id / "result.json").write_text("{}")
    with pytest.warns(UnreadableResultWarning, match=r"result\.json: .*count again"):
        assert read_all(COUNTS, [tmp_path]) == ()
