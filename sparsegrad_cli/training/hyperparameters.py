"""Learning rate and batch size where the user gives none."""

from __future__ import annotations

from dataclasses import dataclass

from ..paper import paper_cells, same_model
from .recipe import Recipe

HYPERPARAMETER_TABLES = (13, 14, 15)


@dataclass(frozen=True)
class Hyperparameters:
    """The two numbers of a run that the paper searched for, and where they came from."""

    learning_rate: float
    batch_size: int
    source: str


def choose_hyperparameters(
    model: str, task: str | None, learning_rate: float | None, batch_size: int | None, recipe: Recipe
) -> Hyperparameters:
    """What the user gave; else the paper's for this model and task (tables 13-15); else the recipe's.

    Args:
        model: as typed; `roberta-base` is found in `FacebookAI/roberta-base` too, `bert-base` in
            `google-bert/bert-base-uncased`.
    """
    default = Hyperparameters(recipe.learning_rate, recipe.batch_size, "default")
    listed = (paper_hyperparameters(model, task) if task else None) or default
    if learning_rate is not None and batch_size is not None:
        source = "options"
    elif learning_rate is not None:
        source = f"learning rate: option, batch size: {listed.source}"
    elif batch_size is not None:
        source = f"learning rate: {listed.source}, batch size: option"
    else:
        source = listed.source
    return Hyperparameters(
        listed.learning_rate if learning_rate is None else learning_rate,
        listed.batch_size if batch_size is None else batch_size,
        source,
    )


def paper_hyperparameters(model: str, task: str) -> Hyperparameters | None:
    """The paper's best for a model and task, the same for all methods (tables 13-15)."""
    for table in HYPERPARAMETER_TABLES:
        for cell in paper_cells(table):
            if cell.column == task and cell.batch_size and same_model(model, cell.model):
                return Hyperparameters(cell.value, cell.batch_size, f"paper table {table}")
    return None
